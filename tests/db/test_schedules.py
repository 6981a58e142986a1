"""Schedules: due times through summer time, missed ones once, and each served once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import models, results, runs, schedules
from db.schedules import ScheduleError, latest_due, next_due
from db.tables import Event, Schedule

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "after", "now", "due"),
    [
        ("0 2 * * *", "2026-01-10 01:00", "2026-01-10 02:00", None),  # 3 o'clock there: served already
        ("0 2 * * *", "2026-01-09 12:00", "2026-01-10 00:59:59", None),
        ("0 2 * * *", "2026-01-09 12:00", "2026-01-10 01:00", "2026-01-10 01:00"),
        ("0 2 * * *", "2026-01-01 12:00", "2026-01-10 09:00", "2026-01-10 01:00"),  # nine were missed
        ("0 2 * * *", "2026-07-09 12:00", "2026-07-10 00:00", "2026-07-10 00:00"),  # summer
        # Clocks go from 2 to 3 on 2026-03-29, at 01:00 UTC ...
        ("30 2 * * *", "2026-03-28 12:00", "2026-03-29 00:59", None),
        ("30 2 * * *", "2026-03-28 12:00", "2026-03-29 01:00", "2026-03-29 01:00"),
        ("30 2 * * *", "2026-03-29 01:00", "2026-03-29 12:00", None),
        # ... and from 3 to 2 on 2026-10-25, at 01:00 UTC.
        ("30 2 * * *", "2026-10-24 12:00", "2026-10-25 00:30", "2026-10-25 00:30"),
        ("30 2 * * *", "2026-10-25 00:30", "2026-10-25 01:30", None),
        ("30 2 * * *", "2026-10-25 00:30", "2026-10-25 23:00", None),
        ("*/10 * * * *", "2026-10-25 00:55", "2026-10-25 01:07", "2026-10-25 01:00"),
    ],
)
def test_what_is_due(cron: str, after: str, now: str, due: str | None) -> None:
    assert latest_due(cron, BERLIN, at(after), at(now)) == (None if due is None else at(due))


def test_the_next_due_time_is_that_of_the_zone() -> None:
    assert next_due("0 6 * * 1", BERLIN, at("2026-03-27 12:00")) == at("2026-03-30 04:00")
    assert next_due("0 6 * * 1", "Asia/Kolkata", at("2026-03-27 12:00")) == at("2026-03-30 00:30")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cron": "0 2 * *"}, "'0 2 \\* \\*' makes no sense"),
        ({"cron": "0 25 * * *"}, "Bad hour"),
        ({"cron": "@daily"}, "such as"),
        ({"cron": "0 0 31 2 *"}, "day-of-month"),
        ({"cron": "0 2 * * *", "time_zone": "Mars/Base"}, "no time zone 'Mars/Base'"),
        ({"cron": "0 2 * * *", "time_zone": "../etc"}, "no time zone"),
        ({"time_zone": "UTC"}, "no schedule yet"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_schedule_that_makes_no_sense_changes_nothing(
    sessions: sessionmaker[Session], change: dict[str, Any], said: str
) -> None:
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
    with pytest.raises(ScheduleError, match=said), sessions.begin() as session:
        schedules.change(session, "tile", "ada", **change)
    with sessions() as session:
        assert not schedules.every(session)


@pytest.fixture
def good(
    sessions: sessionmaker[Session],
    accepted: Callable[..., list[UUID]],
    new_result: Callable[..., results.NewResult],
    model_version: str,
) -> None:
    """Three parts of the product `tile` that were judged ok."""
    ids = accepted(3)
    with sessions.begin() as session:
        ok = {"verdict": "ok", "score": 0.1, "threshold": 0.5, "model_version": model_version, "error": None}
        results.record(session, [new_result(id_, **ok) for id_ in ids])


def due_now(sessions: sessionmaker[Session], min_new: int) -> None:
    with sessions.begin() as session:
        made = schedules.change(session, "tile", "ada", cron="*/5 * * * *", min_new=min_new)
        made.last_due -= timedelta(hours=1)


def test_however_many_clocks_tick_one_run_is_asked_for(sessions: sessionmaker[Session], good: None) -> None:
    due_now(sessions, 3)

    def tick(_: int) -> UUID | None:
        with sessions.begin() as session:
            return schedules.serve(session, "tile")

    with ThreadPoolExecutor(4) as threads:
        asked = [run for run in threads.map(tick, range(8)) if run is not None]
    with sessions() as session:
        found = runs.newest(session)
    assert [(run.id, run.why, run.state) for run in found] == [(asked[0], "schedule", "requested")]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_without_enough_new_images_it_says_so_and_waits_for_the_next_time(
    sessions: sessionmaker[Session], good: None
) -> None:
    due_now(sessions, 4)
    with sessions.begin() as session:
        assert schedules.serve(session, "tile") is None
    with sessions() as session:
        schedule = session.get_one(Schedule, "tile")
        assert schedule.last_skipped is not None
        assert "3 good images since the last run, 4 are needed" in schedule.last_skipped
        assert schedule.last_due > datetime.now(UTC) - timedelta(minutes=6)
        assert not runs.newest(session)
    with sessions.begin() as session:  # the rest of the change is none of the due times' business
        schedules.change(session, "tile", "ada", min_new=3)
        assert schedules.serve(session, "tile") is None
        kinds = [event.kind for event in session.query(Event).order_by(Event.id)]
    assert kinds.count("schedule.changed") == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_was_due_while_it_was_off_is_not_caught_up(sessions: sessionmaker[Session], good: None) -> None:
    due_now(sessions, 0)
    with sessions.begin() as session:
        schedules.change(session, "tile", "ada", enabled=False).last_due -= timedelta(hours=1)
        assert schedules.serve(session, "tile") is None
        schedules.change(session, "tile", "ada", enabled=True)
        assert schedules.serve(session, "tile") is None
