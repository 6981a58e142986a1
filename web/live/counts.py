"""Counts by minute, kept up to date a little at each look: hours cost no more than the newest minutes.

The running minute is counted at each look, the one before every few seconds; older ones once, and again ever
more rarely, since verdicts and parts come late: from a spool, after an outage.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.orm import Session

from db.live import MINUTE_S, by_minute
from db.trends import Figures, add
from web.live.spent import Spent

WINDOWS: Final = (10, 60, 480)  # minutes, of which a page shows the yield
_RUNNING: Final = 2  # minutes that are not over for sure
_BEFORE_AGAIN_S: Final = 5.0  # the one before the running one
_AGAIN_S: Final = 60.0  # at the earliest; later for what is old: a tenth of its age
_PENDING_AGAIN_S: Final = 15.0
_ENOUGH_S: Final = 0.04  # for one question, if it is of more than _LEAST
_LEAST, _MOST = 10, 120  # minutes of one question


@dataclass
class _Minute:
    counted_at: float  # by the monotonic clock
    is_whole: bool  # it was over when it was counted
    stations: dict[str, Figures]


class MinuteCounts:
    """Verdicts by minute and station, for as long as the longest of WINDOWS."""

    def __init__(self) -> None:
        self._minutes: dict[int, _Minute] = {}
        self._at_once = _LEAST  # minutes of a question, as many as are answered quickly

    def count(self, session: Session, now: datetime, budget_s: float) -> None:
        """Count the newest minutes, then of those that need it as many as fit into the budget."""
        spent = Spent()
        newest = int(now.timestamp()) // MINUTE_S
        for old in [one for one in self._minutes if one < newest - WINDOWS[-1]]:
            del self._minutes[old]
        before = self._minutes.get(newest - 1)
        is_fresh = before is not None and spent.begun - before.counted_at < _BEFORE_AGAIN_S
        self._ask(session, newest if is_fresh else newest - 1, newest, newest)
        wanted = self._wanted(newest)
        for first, last in _runs(wanted):
            until = last
            while until >= first:
                if spent.seconds() > budget_s:
                    return
                since = max(first, until - self._at_once + 1)
                self._ask(session, since, until, newest)
                until = since - 1

    def window(self, now: datetime, minutes: int) -> dict[str, Figures] | None:
        """Sum up each station's last minutes and the running one; None while not all are counted."""
        newest = int(now.timestamp()) // MINUTE_S
        parts: dict[str, list[Figures]] = defaultdict(list)
        for number in range(newest - minutes, newest + 1):
            minute = self._minutes.get(number)
            if minute is None:
                return None
            for station, figures in minute.stations.items():
                parts[station].append(figures)
        return {station: add(figures) for station, figures in parts.items()}

    def _ask(self, session: Session, first: int, last: int, newest: int) -> None:
        spent = Spent()
        found = by_minute(session, _time(first), _time(last + 1))
        for number in range(first, last + 1):
            self._minutes[number] = _Minute(spent.begun, number <= newest - _RUNNING, found.get(number, {}))
        if last - first + 1 >= self._at_once:
            more = self._at_once * 2 if spent.seconds() < _ENOUGH_S else self._at_once // 2
            self._at_once = max(_LEAST, min(_MOST, more))

    def _wanted(self, newest: int) -> list[int]:
        """Give the minutes that need to be counted, those that never were whole first, the newest first."""
        uncounted, again = [], []
        now = time.monotonic()
        for number in range(newest - _RUNNING, newest - WINDOWS[-1] - 1, -1):
            minute = self._minutes.get(number)
            if minute is None or not minute.is_whole:
                uncounted.append(number)
                continue
            after_s = max(_AGAIN_S, (newest - number) * MINUTE_S / 10)
            if any(one.pending for one in minute.stations.values()):
                after_s = _PENDING_AGAIN_S
            if now - minute.counted_at > after_s:
                again.append(number)
        return uncounted + again


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give (first, last) of each stretch of falling numbers."""
    last = before = None
    for number in numbers:
        if before is None or last is None:
            last = number
        elif number != before - 1:
            yield before, last
            last = number
        before = number
    if before is not None and last is not None:
        yield before, last


def _time(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * MINUTE_S, UTC)
