"""A user's mistake or a missing service is answered with a sentence and an exit code, not a traceback."""

import sys
from typing import Final

from sqlalchemy.exc import DBAPIError

from capture.folder import NoFolderError
from capture.spool import SpoolError
from db.history import UnknownInspectionError
from db.imagestore import ImageStoreError
from db.inspections import UnknownProductError
from db.migrate import OutdatedDatabaseError
from db.models import UnknownModelError
from db.settings import SettingsError
from workers.queue import BrokerUnavailableError
from workers.settings import NoBrokerError

FAILED: Final = 1
INTERRUPTED: Final = 130  # as a shell says it of Ctrl-C


class UserError(Exception):
    """Something that a person can cure; the message says how."""


_ALWAYS: tuple[type[Exception], ...] = (
    UserError,
    SpoolError,
    NoFolderError,
    SettingsError,
    OutdatedDatabaseError,
    ImageStoreError,
    UnknownProductError,
    UnknownModelError,
    UnknownInspectionError,
    NoBrokerError,
    BrokerUnavailableError,
    DBAPIError,
)
# Where these live imports torch or a web framework: they can only have been raised where it is loaded.
_WHERE_LOADED = (
    ("model.dataset", "TooFewImagesError"),
    ("model.images", "UnreadableImageError"),
    ("model.config", "TrainingStoppedError"),
    ("model.bundle", "BundleError"),
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
        return f"the database said: {first}. Check PYRAMIDION_DATABASE_URL with `pyramidion doctor`"
    return str(error)
