"""How inspections flow just now: what was captured lately, what became of it, and what waits."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.ids import first_id
from db.tables import Attempt, Event, Inspection, Result

CLOCK: Final = "station.clock"  # the kind of the event that tells of a clock that is off, or right again
_TIMED = 5_000  # of the newest verdicts: as many as a percentile needs


@dataclass(frozen=True)
class StationFlow:
    """What a station captured within the window: accepted = judged + error + pending.

    `late` are those of them whose verdict missed its product's deadline. `images_per_s` is accepted over the
    window. `last_captured_at` is by the station's clock, which is ahead
    of the database's by `clock_ahead_s`: 0 for one that is right within two seconds, negative for one behind.
    """

    station: str
    accepted: int
    judged: int
    error: int
    pending: int
    late: int
    images_per_s: float
    last_captured_at: datetime
    clock_ahead_s: float


@dataclass(frozen=True)
class WorkerFlow:
    """What a worker judged of the window; `batch_images` is the mean size of the batches they came in."""

    worker: str
    judged: int
    images_per_s: float
    batch_images: float | None


@dataclass(frozen=True)
class Flow:
    """`since` is the start of the window.

    `waiting` counts all that is accepted and unjudged, however old; `oldest_waiting_s` is the time since the
    oldest of it was received, None where nothing waits. `latency_ms` holds p50, p95 and p99 from capture to
    verdict, of the window's newest verdicts; empty where there are none.
    """

    since: datetime
    stations: Sequence[StationFlow]
    workers: Sequence[WorkerFlow]
    waiting: int
    oldest_waiting_s: float | None
    latency_ms: dict[str, float]


def look(session: Session, now: datetime, window: timedelta) -> Flow:
    """Look at what was captured in the window before `now`; costs as much as that and the backlog hold."""
    since = now - window
    number, oldest = session.execute(
        select(func.count(), func.min(Inspection.received_at))
        .select_from(Attempt)
        .join(Inspection, Inspection.id == Attempt.inspection_id)
    ).one()
    return Flow(
        since=since,
        stations=_stations(session, since, window.total_seconds()),
        workers=_workers(session, since, window.total_seconds()),
        waiting=number,
        oldest_waiting_s=max(0.0, (now - oldest).total_seconds()) if number else None,
        latency_ms=_latencies(session, since),
    )


def _stations(session: Session, since: datetime, seconds: float) -> list[StationFlow]:
    query = (
        select(
            Inspection.station,
            Result.verdict,
            func.count().label("number"),
            func.count(Result.timings["late_ms"].as_float()).label("late"),
            func.max(Inspection.captured_at).label("last"),
        )
        .outerjoin(Result, Result.inspection_id == Inspection.id)
        .where(Inspection.id >= first_id(since))
        .group_by(Inspection.station, Result.verdict)
    )
    numbers: dict[str, dict[str, int]] = {}
    last: dict[str, datetime] = {}
    late: dict[str, int] = defaultdict(int)
    for station, verdict, number, missed, captured_at in session.execute(query):
        late[station] += missed
        numbers.setdefault(station, {})[verdict or "pending"] = number
        last[station] = max(last.get(station, captured_at), captured_at)
    found = []
    for station, counted in sorted(numbers.items()):
        accepted, pending, error = sum(counted.values()), counted.get("pending", 0), counted.get("error", 0)
        judged = accepted - pending - error
        rate, ahead_s = accepted / seconds, clock_ahead_s(session, station)
        found.append(
            StationFlow(
                station, accepted, judged, error, pending, late[station], rate, last[station], ahead_s
            )
        )
    return found


def clock_ahead_s(session: Session, station: str) -> float:
    """Give by how much a station's clock was ahead of the database's when that was last told."""
    detail = session.scalar(
        select(Event.detail)
        .where(Event.kind == CLOCK, Event.subject == station)
        .order_by(Event.id.desc())
        .limit(1)
    )
    return 0.0 if detail is None else float(detail["ahead_s"])


def _workers(session: Session, since: datetime, seconds: float) -> list[WorkerFlow]:
    query = (
        select(Result.worker, func.count(), func.avg(Result.timings["batch_images"].as_float()))
        .where(Result.inspection_id >= first_id(since))
        .group_by(Result.worker)
        .order_by(Result.worker)
    )
    return [
        WorkerFlow(worker, number, number / seconds, None if batch is None else float(batch))
        for worker, number, batch in session.execute(query)
    ]


def _latencies(session: Session, since: datetime) -> dict[str, float]:
    query = (
        select(Inspection.captured_at, Result.judged_at)
        .join(Result, Result.inspection_id == Inspection.id)
        .where(Inspection.id >= first_id(since))
        .order_by(Inspection.id.desc())
        .limit(_TIMED)
    )
    found = sorted((judged - captured).total_seconds() * 1000 for captured, judged in session.execute(query))
    if not found:
        return {}
    return {
        f"p{q}": round(found[min(len(found) - 1, math.ceil(q / 100 * len(found)) - 1)], 1)
        for q in (50, 95, 99)
    }
