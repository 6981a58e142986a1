"""A user's mistake or a missing service is answered with a sentence and an exit code, not a traceback."""

import sys
from typing import Final

FAILED: Final = 1
INTERRUPTED: Final = 130  # as a shell says it of Ctrl-C


class UserError(Exception):
    """Something that a person can cure; the message says how."""


class StoppedError(Exception):
    """Someone asked to stop (Ctrl-C, SIGTERM) before there was anything to report."""


# None of them was raised where its module isn't loaded, and loading all takes a second.
_KNOWN: Final = (
    ("sqlalchemy.exc", "DBAPIError"),
    ("sqlalchemy.exc", "TimeoutError"),
    ("capture.spool", "SpoolError"),
    ("capture.folder", "NoFolderError"),
    ("capture.server", "UploadRefusedError"),
    ("db.settings", "SettingsError"),
    ("db.migrate", "OutdatedDatabaseError"),
    ("db.imagestore", "ImageStoreError"),
    ("db.inspections", "UnknownProductError"),
    ("db.models", "UnknownModelError"),
    ("db.models", "ChampionChangedError"),
    ("db.models", "NoFormerChampionError"),
    ("db.models", "NoChallengerError"),
    ("db.bundles", "AlteredModelError"),
    ("db.history", "UnknownInspectionError"),
    ("db.ids", "UnknownIdError"),
    ("db.beside", "NothingToCompareError"),
    ("db.retraining", "TooFewGoodError"),
    ("db.runs", "UnknownRunError"),
    ("db.runs", "RunThereError"),
    ("db.runs", "RunOverError"),
    ("db.schedules", "ScheduleError"),
    ("db.golden", "GoldenError"),
    ("db.alarms", "UnknownAlarmError"),
    ("db.alarms", "AlarmClosedError"),
    ("db.text", "UnkeepableNameError"),
    ("workers.settings", "NoBrokerError"),
    ("workers.queue", "BrokerUnavailableError"),
    ("db.ledger.signers", "LedgerKeyError"),
    ("db.ledger.seal", "SealingError"),
    ("db.ledger.proofs", "NotAsSealedError"),
    ("db.ledger.told", "HeadsFileError"),
    ("db.evidence.collect", "NothingThereError"),
    ("db.evidence.collect", "UnsettledError"),
    ("db.retention.policy", "RetentionError"),
    ("db.roles", "UnknownRoleError"),
    ("db.tokens", "TokenError"),
    ("db.users", "AccountError"),
    ("db.users", "WrongCredentialsError"),
    ("db.approvals", "SignatureRequiredError"),
    ("db.reviews", "ReviewError"),
    ("db.rescorings", "RescoringError"),
    ("model.dataset", "TooFewImagesError"),
    ("model.training", "UselessModelError"),
    ("model.images", "UnreadableImageError"),
    ("model.bundle", "BundleError"),
    ("model.weights", "WeightsError"),
    ("workers.runtime", "DeviceError"),
)


def known_errors() -> tuple[type[Exception], ...]:
    """The errors whose message is meant for a person."""
    loaded = ((sys.modules.get(module), name) for module, name in _KNOWN)
    return (UserError, *(getattr(module, name) for module, name in loaded if module is not None))


def sentence(error: BaseException) -> str:
    """What a person needs to read of an error."""
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    from db.again import BUSY, sqlstate

    if isinstance(error, DBAPIError):
        first = str(error.orig).strip().split("\n", 1)[0]
        if sqlstate(error) in BUSY:
            return (
                f"the database is busy with what takes whole tables, such as retention ({first}): try again"
            )
        return f"the database said: {first}. Check PYRAMIDION_DATABASE_URL with `pyramidion doctor`"
    if isinstance(error, PoolTimeoutError):
        return f"the database gave no connection in time: {error}. Set PYRAMIDION_DATABASE_POOL_SIZE higher"
    return str(error)
