"""What the database or the image store raise while they are away: it passes, and waiting is the cure."""

from typing import Final

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.imagestore import ImageStoreUnavailableError

# InternalError: a PostgreSQL standby that is not yet promoted says "read-only transaction" so.
UNAVAILABLE: Final = (
    ImageStoreUnavailableError,
    OperationalError,
    InterfaceError,
    InternalError,
    PoolTimeoutError,
)
