"""A request with an Idempotency-Key is done once: its mark goes into the first transaction that acts for it.

`web.idempotency` says which request that is; `web.site` sets the mark, so routes need know nothing of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.orm import Session

from db import answered

T = TypeVar("T")


class DoneBeforeError(Exception):
    """The same request was done meanwhile; this one did nothing."""


@dataclass
class Doing:
    """A request that is to be done once; `is_marked` once a transaction with its mark was committed."""

    request: answered.Request
    is_marked: bool = False


_doing: ContextVar[Doing | None] = ContextVar("doing", default=None)


@contextmanager
def doing(request: answered.Request) -> Iterator[Doing]:
    """Have what acts in here, and in threads that are started from here, done once."""
    state = Doing(request)
    token = _doing.set(state)
    try:
        yield state
    finally:
        _doing.reset(token)


def marked(work: Callable[[Session], T]) -> Callable[[Session], T]:
    """Have `work` set the mark in its transaction. Raises DoneBeforeError there."""

    def with_mark(session: Session) -> T:
        mark(session)
        return work(session)

    return with_mark


def mark(session: Session) -> None:
    """Set the mark in a transaction that acts. Raises DoneBeforeError."""
    state = _doing.get()
    if state is not None and not state.is_marked and not answered.claim(session, state.request):
        raise DoneBeforeError


def committed() -> None:
    """Note that a transaction with the mark was committed."""
    state = _doing.get()
    if state is not None:
        state.is_marked = True
