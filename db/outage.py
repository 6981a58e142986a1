"""What the database or the image store raise while they are away: it passes, and waiting is the cure."""

from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
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


def sentence(error: Exception) -> str:
    """Say in one line what is away: database drivers tell it in several, with the statement below."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return f"the database can't be used: {lines[0]}" if isinstance(error, DBAPIError) else lines[0]
