"""Stations whose clock is off are found and told of; no order of anything depends on their clocks."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from db import events, flow

_TOLERATED_S: Final = 2.0


class StationClocks:
    """Leaves an event when a station's clock goes wrong, changes while it is wrong, or is right again."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def tell(
        self, session: Session, stations: Collection[str], at: datetime, ahead_s: float
    ) -> dict[str, float]:
        """Record what is news: `ahead_s` is by how much the clock of these is ahead of the database's, `at`.

        Gives what to remember() once the transaction is committed.
        """
        off = round(ahead_s, 3) if abs(ahead_s) > _TOLERATED_S else 0.0
        news: dict[str, float] = {}
        for station in stations:
            before = self._told.get(station)
            if before is None:
                before = flow.clock_ahead_s(session, station)
            news[station] = before  # a slow drift is news once it has come far
            if abs(off - before) > _TOLERATED_S or bool(off) != bool(before):
                news[station] = off
                actor = f"station {station}"[:255]
                events.record(session, flow.CLOCK, actor, station, {"ahead_s": off}, at)
        return news

    def remember(self, told: dict[str, float]) -> None:
        self._told.update(told)
