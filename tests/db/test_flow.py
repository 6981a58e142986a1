from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from db import flow, results

Accepted = Callable[..., list[UUID]]
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
WINDOW = timedelta(minutes=10)


def at(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_what_was_captured_is_judged_error_or_pending_by_station(
    sessions: sessionmaker[Session], accepted: Accepted, new_result: Callable[..., Any], model_version: str
) -> None:
    left = accepted(6, station="left", captured_at=at(60), received_at=at(59))
    accepted(2, station="right", captured_at=at(120), received_at=at(119))
    old = accepted(
        1, station="left", captured_at=at(3600), received_at=at(3599)
    )  # not of the window, but waits
    good = {
        "verdict": "ok", "score": 0.1, "threshold": 1.0, "model_version": model_version, "error": None,
    }  # fmt: skip
    with sessions.begin() as session:
        timings = [{"batch_images": 2.0, "late_ms": 0.5}, {"batch_images": 4.0}, {"late_ms": 9.0}]
        new = [
            new_result(id_, judged_at=at(59 - n), worker="w1", timings=timings[n], **good)
            for n, id_ in enumerate(left[:3])
        ]
        results.record(session, [*new, new_result(left[3], judged_at=at(50), worker="w2")])
    with sessions() as session:
        found = flow.look(session, NOW, WINDOW)
    said = [(one.station, one.accepted, one.judged, one.error, one.pending) for one in found.stations]
    assert said == [("left", 6, 3, 1, 2), ("right", 2, 0, 0, 2)]
    assert [one.late for one in found.stations] == [2, 0]
    assert found.stations[0].images_per_s == 6 / 600
    assert found.stations[0].last_captured_at == at(60)
    workers = [(one.worker, one.judged, one.batch_images) for one in found.workers]
    assert workers == [("w1", 3, 3.0), ("w2", 1, None)]
    assert (found.waiting, found.oldest_waiting_s) == (5, 3599.0)
    assert found.latency_ms == {"p50": 2000.0, "p95": 10000.0, "p99": 10000.0}
    assert old


def test_a_line_that_stands_still_says_so(sessions: sessionmaker[Session]) -> None:
    with sessions() as session:
        found = flow.look(session, NOW, WINDOW)
    assert (found.stations, found.workers, found.waiting) == ([], [], 0)
    assert (found.oldest_waiting_s, found.latency_ms) == (None, {})
