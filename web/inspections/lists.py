"""A page of a list, and the places before and after it."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from db.history import Row, search
from db.matching import Filter


@dataclass(frozen=True)
class Part:
    """Rows, newest first, and whether there are newer and older ones."""

    rows: list[Row]
    is_newer: bool
    is_older: bool


def part(session: Session, asked: Filter, rows: int, after: UUID | None, before: UUID | None) -> Part:
    """Give up to `rows` after one inspection or before another; at the newest where no page is before it."""
    if before is not None:
        found = search(session, asked, rows + 1, before=before)
        if len(found) > rows:
            return Part(found[1:], is_newer=True, is_older=True)
        after = None  # the first page is full, however few came before
    found = search(session, asked, rows + 1, after)
    return Part(found[:rows], is_newer=after is not None, is_older=len(found) > rows)
