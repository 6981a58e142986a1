"""What waits for a verdict: which is overdue, how often it was tried, and what it costs to ask."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import attempts, inspections, models, results

Accept = Callable[..., list[UUID]]
NewInspection = Callable[..., inspections.NewInspection]
NewResult = Callable[..., results.NewResult]
SECOND = timedelta(seconds=1)


def test_overdue_counts_from_the_last_time_in_the_queue(
    sessions: sessionmaker[Session],
    accepted: Accept,
    new_inspection: NewInspection,
    new_result: NewResult,
    model_version: str,
) -> None:
    with sessions.begin() as session:
        models.set_champion(session, "tile", model_version, "tester", "test")
    start = new_inspection().received_at
    (late,) = accepted(received_at=start + 2 * SECOND)
    (early,) = accepted(received_at=start)
    (judged,) = accepted(received_at=start)
    (queued,) = accepted(received_at=start)
    with sessions.begin() as session:
        results.record(session, [new_result(judged)])
        attempts.mark_enqueued(session, [queued, judged, uuid4()], start + SECOND)

    def overdue(after: timedelta, limit: int = 10) -> list[UUID]:
        with sessions() as session:
            return attempts.overdue(session, start + after, limit)

    assert overdue(0 * SECOND) == []  # strictly before
    assert overdue(SECOND) == [early]
    assert overdue(2 * SECOND) == [early, queued]
    assert overdue(3 * SECOND) == [early, queued, late]
    assert overdue(3 * SECOND, limit=2) == [early, queued]


def test_what_no_champion_can_judge_is_not_overdue(sessions: sessionmaker[Session], accepted: Accept) -> None:
    accepted(product="gear")
    with sessions() as session:
        assert attempts.overdue(session, datetime.max.replace(tzinfo=UTC), 10) == []


def test_attempts_are_counted_until_the_verdict(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult
) -> None:
    (id_,) = accepted()
    for expected, reason in enumerate([None, "worker died \0 \ud800", None], start=1):
        with sessions.begin() as session:
            assert attempts.begin(session, id_, reason) == expected
    with sessions.begin() as session:
        (waiting,) = attempts.waiting(session, [id_])
        assert (waiting.attempts, waiting.last_error) == (3, "worker died \ufffd \ufffd")
        results.record(session, [new_result(id_, attempts=3)])
    with sessions.begin() as session:
        assert attempts.begin(session, id_, None) == 0
        assert attempts.begin(session, uuid4(), None) == 0
        assert attempts.waiting(session, [id_]) == []


def test_competing_attempts_are_each_counted(sessions: sessionmaker[Session], accepted: Accept) -> None:
    (id_,) = accepted()

    def attempt(_: int) -> int:
        with sessions.begin() as session:
            return attempts.begin(session, id_, None)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(12))) == list(range(1, 13))


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
def test_other_months_are_left_out_whatever_the_plan(
    sessions: sessionmaker[Session], accepted: Accept, plans: str
) -> None:
    """Workers ask this for each batch, and a plant has a partition for each month of years."""
    ids = sorted(accepted(3))
    asked = attempts._waiting_among("postgresql")
    with sessions() as session:
        connection = session.connection()
        connection.exec_driver_sql(f"SET plan_cache_mode = {plans}")
        sql = str(asked.compile(dialect=connection.dialect))
        for number, name in enumerate(("ids", "first", "last"), start=1):
            sql = sql.replace(f"%({name})s", f"${number}")
        connection.exec_driver_sql(f"PREPARE asked (uuid[], uuid, uuid) AS {sql}")
        given = f"'{{{','.join(map(str, ids))}}}', '{ids[0]}', '{ids[-1]}'"
        explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, COSTS OFF) EXECUTE asked ({given})")
        plan = "\n".join(row[0] for row in explained)
        connection.exec_driver_sql("DEALLOCATE asked")
        there = connection.exec_driver_sql("SELECT count(*) FROM pg_inherits").scalar_one()
    assert there > 3
    assert ("Subplans Removed" in plan) == (plans == "force_generic_plan"), plan
    assert len(set(re.findall(r" on (inspections_\w+)", plan))) == 1, plan
