"""A user's mistake or a missing service is answered with a sentence and an exit code, not a traceback."""

import sys
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from capture.folder import NoFolderError
from capture.spool import SpoolError
from db.again import BUSY, sqlstate
from db.golden import GoldenError
from db.history import UnknownInspectionError
from db.imagestore import ImageStoreError
from db.inspections import UnknownProductError
from db.migrate import OutdatedDatabaseError
from db.models import ChampionChangedError, NoFormerChampionError, UnknownModelError
from db.runs import RunOverError, RunThereError, UnknownRunError
from db.schedules import ScheduleError
from db.settings import SettingsError
from db.text import UnkeepableNameError
from workers.queue import BrokerUnavailableError
from workers.settings import NoBrokerError

FAILED: Final = 1
INTERRUPTED: Final = 130  # as a shell says it of Ctrl-C


class UserError(Exception):
    """Something that a person can cure; the message says how."""


class StoppedError(Exception):
    """Someone asked to stop (Ctrl-C, SIGTERM) before there was anything to report."""


_ALWAYS: tuple[type[Exception], ...] = (
    UserError,
    SpoolError,
    NoFolderError,
    SettingsError,
    OutdatedDatabaseError,
    ImageStoreError,
    UnknownProductError,
    UnknownModelError,
    ChampionChangedError,
    NoFormerChampionError,
    UnknownInspectionError,
    UnknownRunError,
    RunThereError,
    RunOverError,
    ScheduleError,
    GoldenError,
    NoBrokerError,
    BrokerUnavailableError,
    DBAPIError,
    PoolTimeoutError,
    UnkeepableNameError,
)
# Where these live imports torch, a web framework or cryptography: none was raised where it isn't loaded.
_WHERE_LOADED = (
    ("db.ledger.signers", "LedgerKeyError"),
    ("db.ledger.seal", "SealingError"),
    ("db.ledger.proofs", "NotAsSealedError"),
    ("db.ledger.told", "HeadsFileError"),
    ("db.retention.policy", "RetentionError"),
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
    loaded = ((sys.modules.get(module), name) for module, name in _WHERE_LOADED)
    return _ALWAYS + tuple(getattr(module, name) for module, name in loaded if module is not None)


def sentence(error: BaseException) -> str:
    """What a person needs to read of an error."""
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
