"""Training on what the line has produced: a candidate, not a champion."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import models
from db.ids import uuid7
from db.imagestore import ImageStore
from db.settings import DatabaseSettings
from db.tables import Event, Inspection, Review
from model import training
from model.bundle import BundlePaths
from model.config import Progress, TrainingStoppedError
from workers import train
from workers.judge import Delivery, judge
from workers.runtime import Runtime
from workers.settings import WorkerSettings


@pytest.fixture
def runtime(
    database: DatabaseSettings,
    sessions: sessionmaker[Session],
    store: ImageStore,
    use_broker: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Runtime]:
    with ThreadPoolExecutor(2) as threads:
        made = Runtime(WorkerSettings(), sessions, sessions, store, database.home / "bundles", "cpu", threads)
        monkeypatch.setattr(train, "runtime", lambda: made)
        yield made


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real training, of a network that takes a second or two."""
    config = training.TrainConfig(size=(64, 64), epochs=4, options={"width": 4})
    monkeypatch.setattr(training, "train", functools.partial(training.train, config=config))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_candidate_is_trained_on_ok_parts_and_does_not_judge(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    ids = accept([make_picture(seed) for seed in range(200, 212)] + [make_picture(300, defect=True)])
    judge(runtime, Delivery(ids, datetime.now(UTC)))
    train.train("plate")
    with runtime.sessions() as session:
        versions = models.versions(session, "plate")
        judging = models.champion(session, "plate")
    assert judging is not None
    assert judging.id == champion
    candidate = next(one for one in versions if one.id != champion)
    assert candidate.training_images == 12, "the part that was judged ng is not learnt from"
    assert runtime.scorer(candidate).version == candidate.id


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nothing_is_promoted_by_itself_where_that_takes_a_signature(
    runtime: Runtime, trained: BundlePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "promotion")
    monkeypatch.setattr(train.bundle, "save", lambda *_, **__: trained)  # a training takes seconds
    made: Any = SimpleNamespace(facts=SimpleNamespace(images=48))
    kept = train.keep(runtime, made, "plate", actor="ada", note="new", promote=True)
    assert not kept.promoted
    with runtime.sessions() as session:
        assert [one.id for one in models.versions(session, "plate")] == [kept.version]
        assert models.champion(session, "plate") is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_too_few_parts_leave_an_event_and_no_model(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    train.train("plate")
    with runtime.sessions() as session:
        events = list(session.scalars(select(Event).where(Event.kind == "training.failed")))
        assert len(models.versions(session, "plate")) == 1
    assert len(events) == 1
    assert "0" in events[0].detail["reason"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_reviewed_defects_that_escape_the_candidate_stand_in_its_note_and_an_event(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    good = accept([make_picture(seed) for seed in range(200, 212)])
    bad = accept([make_picture(300 + seed, defect=True) for seed in range(3)])
    judge(runtime, Delivery([*good, *bad], datetime.now(UTC)))
    now = datetime.now(UTC)
    with runtime.sessions.begin() as session:
        for id_, verdict in [(good[0], "overrule"), *((id_, "confirm") for id_ in bad)]:
            review = Review(id=uuid7(now), inspection_id=id_, verdict=verdict, reviewer="ada", created_at=now)
            session.add(review)
    with runtime.sessions() as session:
        gone = session.get_one(Inspection, bad[2]).image_key
    (runtime.bundles.parent / "images" / gone).unlink()
    train.train("plate")
    with runtime.sessions() as session:
        candidate = next(one for one in models.versions(session, "plate") if one.id != champion)
        event = session.scalars(select(Event).where(Event.kind == "model.measured")).one()
    scorer = runtime.scorer(candidate)
    pictures = {
        good[0]: make_picture(200),
        bad[0]: make_picture(300, defect=True),
        bad[1]: make_picture(301, defect=True),
    }
    scores = [one.score for one in scorer.score([scorer.decode(data).array for data in pictures.values()])]
    escaped = [str(id_) for id_, score in zip(pictures, scores, strict=True) if score <= scorer.threshold]
    assert candidate.note is not None
    assert f"{len(escaped)} of 3 reviewed defects escape" in candidate.note
    assert "(1 more could not be read)" in candidate.note
    assert sorted(event.detail["newest"]) == sorted(escaped)
    assert event.detail["model"] == candidate.id


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_training_that_was_killed_goes_on_when_it_is_asked_for_again(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = accept([make_picture(seed) for seed in range(200, 212)])
    judge(runtime, Delivery(ids, datetime.now(UTC)))
    seen: list[int] = []
    whole = training.train

    def killed(*images: Any, **words: Any) -> Any:
        def note(progress: Progress) -> None:
            seen.append(progress.epoch)

        stop = (lambda: 2 in seen) if not seen else None
        return whole(*images, **words, progress=note, stop=stop)

    monkeypatch.setattr(training, "train", killed)
    with pytest.raises(TrainingStoppedError):
        train.train("plate")
    before = len(seen)
    train.train("plate")
    assert seen[before:][:2] == [0, 2]  # reading, then from where it was
    with runtime.sessions() as session:
        assert len(models.versions(session, "plate")) == 2
