"""Lists of inspections that people want to see again: one's own, and those that others share."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from db import events
from db.tables import SavedFilter, User
from db.text import require_name

MOST: Final = 200  # of a person


class UnknownFilterError(Exception):
    """Somebody has no saved filter of that name."""

    def __init__(self, owner: str, name: str) -> None:
        super().__init__(f"{owner} has no saved filter {name!r}")


class TooManyFiltersError(Exception):
    """Somebody keeps as many filters as one may."""

    def __init__(self) -> None:
        super().__init__(f"you keep {MOST} filters, the most there can be: delete one first")


def seen_by(session: Session, user: str) -> Sequence[SavedFilter]:
    """Give somebody's own filters, then those that others share, each by name."""
    theirs = or_(SavedFilter.owner == user, SavedFilter.is_shared)
    order = (SavedFilter.owner != user, SavedFilter.name, SavedFilter.owner)
    return session.scalars(select(SavedFilter).where(theirs).order_by(*order)).all()


def save(session: Session, owner: str, name: str, query: str, *, is_shared: bool) -> SavedFilter:
    """Keep a query under a name, in the place of one that has it.

    Raises UnkeepableNameError and TooManyFiltersError.
    """
    require_name("filter", name)
    session.get(User, owner, with_for_update=True)  # one at a time: a button may be pressed twice
    found = session.get(SavedFilter, (owner, name))
    if found is None:
        own = select(func.count()).select_from(SavedFilter).where(SavedFilter.owner == owner)
        if (session.scalar(own) or 0) >= MOST:
            raise TooManyFiltersError
        found = SavedFilter(owner=owner, name=name)
        session.add(found)
    found.query, found.is_shared, found.saved_at = query, is_shared, datetime.now(UTC)
    events.record(session, "filter.saved", owner, name, {"query": query, "is_shared": is_shared})
    return found


def remove(session: Session, owner: str, name: str) -> None:
    """Forget one's own filter; raises UnknownFilterError."""
    mine = SavedFilter.owner == owner, SavedFilter.name == name
    if session.execute(delete(SavedFilter).where(*mine)).rowcount == 0:  # type: ignore[attr-defined]
        raise UnknownFilterError(owner, name)
    events.record(session, "filter.removed", owner, name)
