"""The state of all lines, looked up once for whoever watches."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from db import alarms, clock, flow, live
from db.engine import one_by_one
from db.ids import uuid7_time
from db.live import Part, Waiting
from db.tables import Alarm
from db.trends import Figures, add
from web.live.counts import MinuteCounts
from web.site import Site

NO_LINE: Final = "(no line)"  # of stations that stand on none
PARTS: Final = 6  # newest ones of a station
REJECTED: Final = 8  # of a line
ALARMS: Final = 200
_REJECTED_SINCE: Final = timedelta(hours=8)
_STILL_AFTER: Final = timedelta(hours=1)
_RATE_OF: Final = timedelta(seconds=60)
_AGAIN_EVERY_S: Final = 30.0  # clocks, and stations that were still
_PARTS_KEPT_S: Final = 10.0  # of a station that captures nothing: for its spool may bring older ones
_COUNTING_S: Final = 0.1  # of a look, for minutes that are over
_AFRESH_S: Final = 30.0  # without a look for so long, rejected parts are looked up as at the first


class UnknownLineError(Exception):
    """There is no such line."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(known) or "none yet, since nothing was captured"
        super().__init__(f"There is no line {name!r} (those there are: {names}).")


@dataclass(frozen=True)
class StationNow:
    """`last_captured_at` is by the database's clock; a station is up that captured lately.

    `parts`, newest first, are those of a line that is watched. `oldest_received_at` is of what waits.
    """

    name: str
    last_captured_at: datetime | None
    is_up: bool
    clock_ahead_s: float
    images_per_s: float
    waiting: int
    oldest_received_at: datetime | None
    holds: bool  # an alarm makes its verdicts inconclusive
    parts: Sequence[Part]


@dataclass(frozen=True)
class LineNow:
    name: str
    stations: Sequence[StationNow]
    rejected: Sequence[Part]  # newest first
    alarms: Sequence[Alarm]

    @property
    def images_per_s(self) -> float:
        return sum(station.images_per_s for station in self.stations)

    @property
    def waiting(self) -> int:
        return sum(station.waiting for station in self.stations)

    @property
    def oldest_received_at(self) -> datetime | None:
        known = (station.oldest_received_at for station in self.stations)
        return min((one for one in known if one is not None), default=None)

    @property
    def down(self) -> Sequence[StationNow]:
        return [station for station in self.stations if not station.is_up]


@dataclass(frozen=True)
class State:
    """All lines at one moment by the database's clock.

    `counts` holds, by window in minutes, what each station's parts became; None while it is being counted.
    """

    at: datetime
    lines: dict[str, LineNow]
    alarms: Sequence[Alarm]  # open ones, newest first
    waiting: Waiting
    counts: dict[int, dict[str, Figures] | None] = field(default_factory=dict)

    @property
    def stations(self) -> Sequence[StationNow]:
        return [station for line in self.lines.values() for station in line.stations]

    def line(self, name: str) -> LineNow:
        """Give a line; raises UnknownLineError."""
        if name not in self.lines:
            raise UnknownLineError(name, self.lines)
        return self.lines[name]

    def figures(self, stations: Iterable[StationNow], window: int) -> Figures | None:
        """Sum up what these stations' parts became within the window; None while it is being counted."""
        counts = self.counts.get(window)
        return None if counts is None else add(counts.get(one.name, Figures()) for one in stations)


class Board:
    """Looks at the database and remembers what needs not be asked again."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = Lock()
        self._counts = MinuteCounts()
        self._rejected: dict[str, list[Part]] = {}  # by station
        self._clocks: dict[str, float] = {}
        self._last: dict[str, UUID] = {}  # inspection of each station
        self._parts: dict[str, tuple[float, list[Part]]] = {}  # the newest, and when they were looked up
        self._again_at = self._looked_at = float("-inf")
        self._state: State | None = None
        self._covered: frozenset[str] = frozenset()

    def look(self, lines: Collection[str], windows: Collection[int], max_age_s: float = 0.0) -> State:
        """Give the state, with the newest parts of these lines; one that is younger than `max_age_s` will do.

        Raises what the database raises.
        """
        with self._lock:
            state, age_s = self._state, time.monotonic() - self._looked_at
            if state is not None and max_age_s:
                if age_s <= max_age_s and self._covered >= {*lines} and state.counts.keys() >= {*windows}:
                    return state
                if age_s <= _AFRESH_S:  # others ask for those: the next of them shall find them
                    lines, windows = {*lines, *self._covered}, {*windows, *state.counts}
            with self._site.reading() as session:
                state = self._look(session, lines, windows)
            self._state, self._covered, self._looked_at = state, frozenset(lines), time.monotonic()
            return state

    def _look(self, session: Session, lines: Collection[str], windows: Collection[int]) -> State:
        now = clock.now(session)
        found = self._stations(session, now)
        by_line: dict[str, list[str]] = defaultdict(list)
        for name, line, _ in found:
            by_line[line or NO_LINE].append(name)
        watched = {name for line in lines for name in by_line.get(line, [])}
        with one_by_one(session):  # not what counts: that reads all of some minutes
            self._look_for_rejected(session, now)
            waiting = live.waiting(session)
            parts = self._newest(session, {name: last for name, _, last in found if name in watched})
        self._counts.count(session, now, _COUNTING_S)
        rates = live.rates(session, now - _RATE_OF, now)
        opened = alarms.newest(session, only_open=True, limit=ALARMS)
        holding = {alarm.station for alarm in opened if alarm.holds}
        stations = {
            name: self._station(name, last, now, waiting, rates, name in holding, parts.get(name, []))
            for name, _, last in found
        }
        named = {
            line: LineNow(
                line,
                [stations[name] for name in names],
                self._rejected_of(names),
                [alarm for alarm in opened if alarm.station in names],
            )
            for line, names in sorted(by_line.items(), key=lambda one: (one[0] == NO_LINE, one[0]))
        }
        counts = {window: self._counts.window(now, window) for window in windows}
        return State(now, named, opened, waiting, counts)

    def _station(
        self,
        name: str,
        last: UUID | None,
        now: datetime,
        waiting: Waiting,
        rates: dict[str, float],
        holds: bool,
        parts: Sequence[Part],
    ) -> StationNow:
        ahead_s = self._clocks.get(name, 0.0)
        captured_at = None if last is None else uuid7_time(last) - timedelta(seconds=ahead_s)
        number, oldest = waiting.stations.get(name, (0, None))
        down_after = timedelta(seconds=self._site.settings.web_station_down_s)
        return StationNow(
            name=name,
            last_captured_at=captured_at,
            is_up=captured_at is not None and now - captured_at <= down_after,
            clock_ahead_s=ahead_s,
            images_per_s=rates.get(name, 0.0),
            waiting=number,
            oldest_received_at=oldest,
            holds=holds,
            parts=parts,
        )

    def _stations(self, session: Session, now: datetime) -> list[tuple[str, str | None, UUID | None]]:
        """Give each station's name, line and newest inspection; now and then of those that were still too."""
        is_all = time.monotonic() - self._again_at >= _AGAIN_EVERY_S
        slowest = timedelta(seconds=min(0.0, 0.0, *self._clocks.values()))  # ids carry the stations' clocks
        found = live.stations(session, None if is_all else now - _STILL_AFTER + slowest)
        self._last.update({name: last for name, _, last in found if last is not None})
        if is_all:
            self._last = {name: last for name, _, last in found if last is not None}
            self._clocks = {name: flow.clock_ahead_s(session, name) for name, _, _ in found}
            self._again_at = time.monotonic()
        return [(name, line, self._last.get(name)) for name, line, _ in found]

    def _newest(self, session: Session, last: dict[str, UUID | None]) -> dict[str, list[Part]]:
        """Give the newest parts of stations that have these last ones."""
        now = time.monotonic()
        asked = {}
        for name, newest in last.items():
            at, parts = self._parts.get(name, (float("-inf"), []))
            is_still = newest == (parts[0].id if parts else None) and all(part.verdict for part in parts)
            if not is_still or now - at > _PARTS_KEPT_S:
                asked[name] = parts[-1].id if len(parts) == PARTS and now - at < _AFRESH_S else None
        self._parts.update({name: (now, parts) for name, parts in live.newest(session, asked, PARTS).items()})
        return {name: self._parts[name][1] for name in last}

    def _look_for_rejected(self, session: Session, now: datetime) -> None:
        number = 2000 if time.monotonic() - self._looked_at > _AFRESH_S else 30
        since = now - _REJECTED_SINCE
        newest: dict[str, dict[UUID, Part]] = defaultdict(dict)
        for part in (*live.rejected(session, since, number), *_all(self._rejected)):
            if uuid7_time(part.id) >= since:
                newest[part.station][part.id] = part
        self._rejected = {
            station: sorted(parts.values(), key=_id, reverse=True)[:REJECTED]
            for station, parts in newest.items()
        }

    def _rejected_of(self, stations: Iterable[str]) -> list[Part]:
        found = [part for station in stations for part in self._rejected.get(station, [])]
        return sorted(found, key=_id, reverse=True)[:REJECTED]


def pictured(lines: Iterable[LineNow]) -> list[UUID]:
    """Give the parts of which a wall shows pictures, the most important first."""
    lines = list(lines)
    rejected = [part.id for line in lines for part in line.rejected]
    stations = [station for line in lines for station in line.stations]
    newest = [
        station.parts[place].id
        for place in range(PARTS)
        for station in stations
        if place < len(station.parts) and station.parts[place].verdict is not None
    ]
    return list(dict.fromkeys([*rejected, *newest]))


def _all(parts: dict[str, list[Part]]) -> Iterable[Part]:
    return (part for some in parts.values() for part in some)


def _id(part: Part) -> UUID:
    return part.id
