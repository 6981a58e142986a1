"""What walls ask of the database, on both kinds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from db import live, results
from db.trends import Figures

Accepted = Callable[..., list[UUID]]
Sessions = sessionmaker[Session]
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def judge(
    sessions: Sessions, new_result: Callable[..., Any], model: str, ids: list[UUID], verdict: str
) -> None:
    scored: dict[str, Any] = {"score": 0.7, "threshold": 0.5, "model_version": model, "error": None}
    failed: dict[str, Any] = {"error": "unreadable"}
    with sessions.begin() as session:
        new = [new_result(id_, verdict=verdict, **(failed if verdict == "error" else scored)) for id_ in ids]
        results.record(session, new)


def test_what_stations_do(
    sessions: Sessions, accepted: Accepted, new_result: Callable[..., Any], model_version: str
) -> None:
    left = accepted(3, station="left", line="A", captured_at=at(5), received_at=at(4))
    old = accepted(1, station="left", line="A", captured_at=at(500), received_at=at(2))
    right = accepted(2, station="right", captured_at=at(90), received_at=at(80))
    judge(sessions, new_result, model_version, left[:1], "ng")
    judge(sessions, new_result, model_version, right[:1], "ok")
    judge(sessions, new_result, model_version, right[1:], "error")
    with sessions() as session:
        newest = {name: (line, last) for name, line, last in live.stations(session)}
        assert newest == {"left": ("A", max(left)), "right": (None, max(right))}
        assert live.stations(session, at(60)) == [("left", "A", max(left)), ("right", None, None)]
        waiting = live.waiting(session)
        assert (waiting.total, waiting.complete) == (3, True)
        assert waiting.stations == {"left": (3, at(4))}
        some = live.waiting(session, most=1)
        assert (some.total, some.complete) == (3, False)
        assert some.stations == {"left": (1, at(2))}  # the oldest by its capture
        parts = live.newest(session, dict.fromkeys(["left", "right", "none"]), 3)
        assert [part.id for part in parts["left"]] == sorted(left, reverse=True)
        assert {part.id: part.verdict for part in parts["right"]} == {right[0]: "ok", right[1]: "error"}
        assert parts["none"] == []
        assert live.newest(session, {"left": left[1], "right": right[0]}, 3) == {
            "left": [part for part in parts["left"] if part.id >= left[1]],
            "right": [part for part in parts["right"] if part.id >= right[0]],
        }
        assert [part.id for part in live.rejected(session, at(3600), 9)] == [left[0], right[1]]
        assert [part.id for part in live.rejected(session, at(60), 9)] == [left[0]]
        assert live.rates(session, at(60), NOW) == {"left": 3 / 60}
        by_minute = live.by_minute(session, at(120), NOW)
        minute = int(NOW.timestamp()) // 60
        assert by_minute == {
            minute - 1: {"left": Figures(captured=3, ng=1, pending=2)},
            minute - 2: {"right": Figures(captured=2, ok=1, error=1)},
        }
        found = {one.id: one for one in live.pictures(session, [*left, *right, *old])}
        assert set(found) == {left[0], *right}  # what is judged
        assert found[right[1]].map is None
