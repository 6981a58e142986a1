"""Doing a transaction again that the database ended for the sake of another."""

from collections.abc import Callable
from typing import Final, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

T = TypeVar("T")

BUSY: Final = {"55P03", "40P01"}  # PostgreSQL's lock_not_available and deadlock_detected
_GONE: Final = "23503"  # what it refers to went while it waited: looked at again, it is told for what it is
_TIMES: Final = 3


def again(sessions: sessionmaker[Session], work: Callable[[Session], T]) -> T:
    """Give what `work` gives, in a transaction of its own, which is tried up to 3 times.

    Raises what `work` and the database raise.
    """
    for _ in range(_TIMES - 1):
        try:
            with sessions.begin() as session:
                return work(session)
        except DBAPIError as error:
            if sqlstate(error) not in BUSY | {_GONE}:
                raise
    with sessions.begin() as session:
        return work(session)


def sqlstate(error: DBAPIError) -> str | None:
    """Give PostgreSQL's code of an error; None for SQLite, which has none."""
    return getattr(error.orig, "sqlstate", None)
