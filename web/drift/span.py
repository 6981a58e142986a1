"""Which time a chart or a table is of, in its address: the last so many days, or from one until another."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from web.asked import given

DAYS: Final = (1, 7, 30, 90)
USUAL_DAYS: Final = 7
LONGEST_DAYS: Final = 3660


class InvalidSpanError(Exception):
    """A time that is none, or a range that ends before it begins."""


@dataclass(frozen=True)
class Span:
    """From `since` until before `until`; `days` where it is the last so many."""

    since: datetime
    until: datetime
    days: int | None

    def query(self, **others: str | None) -> str:
        """Give the address's query of this range, with other parameters before it."""
        times = (
            {"since": plain(self.since), "until": plain(self.until)}
            if self.days is None
            else {"days": str(self.days)}
        )
        return urlencode({name: value for name, value in {**others, **times}.items() if value})


def read(since: str | None, until: str | None, days: int | None, usual: int = USUAL_DAYS) -> Span:
    """Read a range, the last `usual` days where none is given; times are UTC unless they say otherwise.

    Raises InvalidSpanError.
    """
    now = datetime.now(UTC)
    begin, end = _time(since), _time(until)
    if begin is None and end is None:
        last = days or usual
        return Span(now - timedelta(days=last), now, last)
    end = end or now
    try:
        begin = begin or end - timedelta(days=days or usual)
    except OverflowError:
        raise InvalidSpanError(f"nothing was before {plain(end)}") from None
    if begin >= end:
        raise InvalidSpanError(
            f"the range ends at {plain(end)}, before it begins at {plain(begin)}: exchange the two"
        )
    if end - begin > timedelta(days=LONGEST_DAYS):
        raise InvalidSpanError(f"a range has at most {LONGEST_DAYS} days: choose a shorter one")
    return Span(begin, end, None)


def plain(at: datetime) -> str:
    """Write a time as a form's field takes it, to the minute."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")


def _time(text: str | None) -> datetime | None:
    written = given(text)
    if written is None:
        return None
    try:
        at = datetime.fromisoformat(written)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidSpanError(f"{written!r} is no time: give one such as 2026-03-01T06:00") from None
