"""What golden samples are to the rest of the history: no production, and images that stay."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import alarms, golden, golden_trials, holdings, models, results, trends
from db.golden import StoredImage
from db.matching import Filter
from db.tables import GoldenTrial


@pytest.fixture
def sample(sessions: sessionmaker[Session], model_version: str, accepted: Callable[..., list[UUID]]) -> UUID:
    """A golden sample of `tile` at s1, where one part is judged ok."""
    (part,) = accepted()
    with sessions.begin() as session:
        models.set_champion(session, "tile", model_version, actor="test", why="test")
        session.add(GoldenTrial(inspection_id=part, sample=_add(session), sent_at=datetime.now(UTC)))
    return part


def _add(session: Session) -> UUID:
    return golden.add(session, "tile", "s1", "fine", "ok", StoredImage("c" * 64, 7, 8, 8, "PNG"), "ada").id


def test_trends_count_the_line_alone(
    sample: UUID,
    sessions: sessionmaker[Session],
    accepted: Callable[..., list[UUID]],
    new_result: Any,
    model_version: str,
) -> None:
    parts = accepted(2)
    with sessions.begin() as session:
        said = {
            "verdict": "ok",
            "score": 0.5,
            "threshold": 1.0,
            "model_version": model_version,
            "error": None,
        }
        results.record(session, [new_result(id_, **said) for id_ in (sample, *parts)])
        (period,) = trends.trend(session, Filter(product="tile"), "day")
    assert (period.figures.captured, period.figures.ok) == (2, 2)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_backup_has_the_images_of_samples_in_use(sample: UUID, sessions: sessionmaker[Session]) -> None:
    assert ("c" * 64, 7, False) in list(holdings.blobs(sessions))
    with sessions.begin() as session:
        golden.retire(session, "tile", "s1", "fine", "ada", "worn")
    assert "c" * 64 not in [one.sha256 for one in holdings.blobs(sessions)]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_two_trials_of_one_sample_are_told_apart_by_time(
    sample: UUID, sessions: sessionmaker[Session], model_version: str, new_result: Any
) -> None:
    """An older trial that passes late does not close the alarm of a newer one that failed."""
    said = {"score": 0.5, "threshold": 1.0, "model_version": model_version, "error": None}
    with sessions.begin() as session:
        (older,) = golden_trials.send(session, "tile", "ada")
        (newer,) = golden_trials.send(session, "tile", "ada")
        session.get_one(GoldenTrial, older).sent_at -= timedelta(seconds=1)
        results.record(session, [new_result(newer, verdict="ng", **said | {"score": 2.0})])
        assert [one.passed for one in golden_trials.check(session)] == [False]
        results.record(session, [new_result(older, verdict="ok", **said)])
        assert [one.passed for one in golden_trials.check(session)] == [True]
        assert golden.last_sent(session) != {}
        alarm = alarms.is_open(session, "tile", "s1", "golden:fine")
    assert alarm is not None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("verdict", ["ok", "error", None])
def test_an_older_trial_neither_replaces_nor_closes_the_alarm_of_a_wrong_newer_one(
    sample: UUID, sessions: sessionmaker[Session], model_version: str, new_result: Any, verdict: str | None
) -> None:
    said = {"score": 0.5, "threshold": 1.0, "model_version": model_version, "error": None}
    failed = {"score": None, "threshold": None, "error": "its image is gone"}
    with sessions.begin() as session:
        (older,) = golden_trials.send(session, "tile", "ada")
        (newer,) = golden_trials.send(session, "tile", "ada")
        session.get_one(GoldenTrial, older).sent_at -= timedelta(minutes=11)  # it has no verdict yet
        golden_trials.check(session)
        results.record(session, [new_result(newer, verdict="ng", **said | {"score": 2.0})])
        golden_trials.check(session)
        wrong = alarms.is_open(session, "tile", "s1", "golden:fine")
        golden_trials.check(session)
        if verdict is not None:
            said |= failed if verdict == "error" else {}
            results.record(session, [new_result(older, verdict=verdict, **said)])
            golden_trials.check(session)
        after = alarms.is_open(session, "tile", "s1", "golden:fine")
    assert wrong is not None
    assert wrong.detail["failure"] == "wrong"
    assert after is wrong


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_trial_that_passes_closes_no_alarm_of_one_that_was_sent_later_and_failed(
    sample: UUID, sessions: sessionmaker[Session], model_version: str, new_result: Any
) -> None:
    """Though the alarm is about another, that failed first."""
    said = {"threshold": 1.0, "model_version": model_version, "error": None}
    with sessions.begin() as session:
        sent = [golden_trials.send(session, "tile", "ada")[0] for _ in range(3)]
        for number, one in enumerate(sent):
            session.get_one(GoldenTrial, one).sent_at -= timedelta(seconds=3 - number)
        for one in (sent[0], sent[2]):
            results.record(session, [new_result(one, verdict="ng", score=2.0, **said)])
            golden_trials.check(session)
        results.record(session, [new_result(sent[1], verdict="ok", score=0.5, **said)])
        assert [one.passed for one in golden_trials.check(session)] == [True]
        assert alarms.is_open(session, "tile", "s1", "golden:fine") is not None
