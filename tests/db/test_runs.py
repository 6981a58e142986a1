"""Training runs: one open run a product, held by a lease, ended once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from db import clock, runs
from db.ids import uuid7
from db.runs import Held, Standing
from db.tables import Event, TrainingRun


@pytest.fixture
def run(sessions: sessionmaker[Session], model_version: str) -> UUID:
    with sessions.begin() as session:
        return runs.request(session, "tile", "on demand", "ada")


def take(sessions: sessionmaker[Session], attempts: int = 5) -> Held | None:
    with sessions.begin() as session:
        return runs.take(session, 30, attempts)


def lapse(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        past = clock.now(session) - timedelta(seconds=1)
        session.execute(update(TrainingRun).values(lease_until=past))


def held(found: Held | None) -> Held:
    assert found is not None
    return found


def test_a_product_has_one_open_run(sessions: sessionmaker[Session], run: UUID) -> None:
    with pytest.raises(runs.RunThereError, match=str(run)), sessions.begin() as session:
        runs.request(session, "tile", "schedule", "schedule")
    row: dict[str, Any] = {"product": "tile", "why": "drift", "requested_by": "x", "attempt": 0, "log": ""}
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.add(TrainingRun(id=uuid7(), requested_at=clock.now(session), state="requested", **row))
    with sessions.begin() as session:
        runs.cancel(session, run, "ada")
        assert runs.request(session, "tile", "schedule", "schedule") != run


def test_of_many_trainers_one_takes_a_run_and_the_next_when_its_lease_has_lapsed(
    sessions: sessionmaker[Session], run: UUID
) -> None:
    with ThreadPoolExecutor(4) as threads:
        (first,) = [one for one in threads.map(lambda _: take(sessions), range(4)) if one is not None]
    with sessions.begin() as session:
        assert runs.beat(session, first, 30, Standing(2, 8, 0.5, 12.0), "epoch 2")
    assert take(sessions) is None
    lapse(sessions)
    second = held(take(sessions))
    assert (second.id, second.attempt, second.log) == (run, 2, "epoch 2")
    with sessions.begin() as session:
        assert not runs.beat(session, first, 30, None, "still here")
    with pytest.raises(runs.RunLostError), sessions.begin() as session:
        runs.fail(session, first, "late", "")
    with sessions() as session:
        found = runs.find(session, run)
    assert (found.state, found.holder, found.epoch, found.loss) == ("running", second.holder, 2, 0.5)


def test_a_run_ends_once_with_its_model(
    sessions: sessionmaker[Session], run: UUID, model_version: str
) -> None:
    mine = held(take(sessions))
    with sessions.begin() as session:
        runs.succeed(session, mine, model_version, "done")
    with pytest.raises(runs.RunOverError, match="succeeded already"), sessions.begin() as session:
        runs.cancel(session, run, "ada")
    with sessions() as session:
        found = runs.find(session, run)
        kinds = [event.kind for event in session.query(Event).order_by(Event.id)]
    assert (found.state, found.model_version, found.log) == ("succeeded", model_version, "done")
    assert kinds == ["training.requested", "training.started", "training.succeeded"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_cancelled_run_is_lost_to_its_trainer(
    sessions: sessionmaker[Session], run: UUID, model_version: str
) -> None:
    mine = held(take(sessions))
    with sessions.begin() as session:
        runs.cancel(session, run, "ada")
    with sessions.begin() as session:
        assert not runs.beat(session, mine, 30, None, "")
    with pytest.raises(runs.RunLostError), sessions.begin() as session:
        runs.succeed(session, mine, model_version, "")
    with sessions() as session:
        assert runs.find(session, run).state == "cancelled"
    assert take(sessions) is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_attempts_are_bounded_and_a_stop_in_order_is_none(sessions: sessionmaker[Session], run: UUID) -> None:
    for _ in range(3):
        with sessions.begin() as session:
            runs.give_back(session, held(runs.take(session, 30, 2)), "", counts=False)
    for attempt in (1, 2):
        assert held(take(sessions, attempts=2)).attempt == attempt
        lapse(sessions)
    assert take(sessions, attempts=2) is None
    with sessions() as session:
        found = runs.find(session, run)
    assert found.state == "failed"
    assert "PYRAMIDION_TRAINING_ATTEMPTS" in (found.reason or "")
