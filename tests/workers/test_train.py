"""Training on what the line has produced: a candidate, not a champion."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import inspections, models, runs
from db.ids import uuid7
from db.imagestore import ImageStore, ImageStoreUnavailableError
from db.settings import DatabaseSettings
from db.tables import Event, Inspection, Review, TrainingRun
from model import bundle, training
from model.bundle import BundlePaths
from model.config import Progress
from workers import candidate, train
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
        yield made


def request(state: Runtime) -> UUID:
    with state.sessions.begin() as session:
        return runs.request(session, "plate", "on demand", "ada")


def retrain(state: Runtime) -> TrainingRun:
    """Ask for a run, train it, and give it as it ended."""
    run = request(state)
    assert train.train_next(state, threading.Event()) == run
    with state.sessions() as session:
        return runs.find(session, run)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real training, of a network that takes a second or two."""
    config = training.TrainConfig(size=(64, 64), epochs=4, options={"width": 4})
    monkeypatch.setattr(train, "config_of", lambda _state, _product: config)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_candidate_is_trained_on_ok_parts_and_does_not_judge(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    ids = accept([make_picture(seed) for seed in range(200, 212)] + [make_picture(300, defect=True)])
    judge(runtime, Delivery(ids, datetime.now(UTC)))
    run = retrain(runtime)
    with runtime.sessions() as session:
        versions = models.versions(session, "plate")
        judging = models.champion(session, "plate")
        good = inspections.count_ok(session, "plate", 100)
    assert judging is not None
    assert judging.id == champion
    candidate = next(one for one in versions if one.id != champion)
    assert candidate.training_images == good <= 12, "a part that was judged ng is not learnt from"
    assert runtime.scorer(candidate).version == candidate.id
    assert (run.state, run.model_version) == ("succeeded", candidate.id)
    assert "epoch 4 of 4: loss" in run.log
    assert run.gate_passed is False
    assert run.gate_said is not None
    assert "the hold-out has 0 good parts" in run.gate_said[0]
    assert list(train.checkpoints().iterdir()) == [], "a model that is registered needs no checkpoint"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nothing_is_promoted_by_itself_where_that_takes_a_signature(
    runtime: Runtime, trained: BundlePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "promotion")
    monkeypatch.setattr(bundle, "save", lambda *_, **__: trained)  # a training takes seconds
    made: Any = SimpleNamespace(facts=SimpleNamespace(images=48), checkpoint=None)
    kept = candidate.keep(runtime, made, "plate", actor="ada", note="new", promote=True)
    assert not kept.promoted
    with runtime.sessions() as session:
        assert [one.id for one in models.versions(session, "plate")] == [kept.version]
        assert models.champion(session, "plate") is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_too_few_parts_leave_an_event_and_no_model(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    run = retrain(runtime)
    with runtime.sessions() as session:
        events = list(session.scalars(select(Event).where(Event.kind == "training.failed")))
        assert len(models.versions(session, "plate")) == 1
    assert len(events) == 1
    assert events[0].detail == {"run": str(run.id), "reason": run.reason}
    assert run.reason is not None
    assert run.reason.startswith("0 distinct good images are too few")


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
    retrain(runtime)
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
def test_a_worker_that_is_told_to_stop_gives_its_run_back_and_the_next_goes_on(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(runtime, Delivery(accept([make_picture(seed) for seed in range(200, 212)]), datetime.now(UTC)))
    seen: list[int] = []
    stopping = threading.Event()
    whole = training.train

    def watched(*images: Any, progress: Any, **words: Any) -> Any:
        def note(at: Progress) -> None:
            seen.append(at.epoch)
            if at.epoch == 2 and len(seen) < 4:
                stopping.set()
            progress(at)

        return whole(*images, **words, progress=note)

    monkeypatch.setattr(training, "train", watched)
    run = request(runtime)
    train.train_next(runtime, stopping)
    with runtime.sessions() as session:
        assert (runs.find(session, run).state, runs.find(session, run).attempt) == ("requested", 0)
    before = len(seen)
    # The line went on meanwhile: the run's images are still those that it began with.
    judge(runtime, Delivery(accept([make_picture(seed) for seed in range(220, 224)]), datetime.now(UTC)))
    train.train_next(runtime, threading.Event())
    assert seen[before:][:2] == [0, 2]  # reading, then from where it was
    with runtime.sessions() as session:
        assert runs.find(session, run).state == "succeeded"
        assert len(models.versions(session, "plate")) == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_run_that_is_cancelled_while_it_trains_leaves_no_model(
    runtime: Runtime, accept: Any, champion: str, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(runtime, Delivery(accept([make_picture(seed) for seed in range(200, 212)]), datetime.now(UTC)))
    whole = training.train

    def cancelled(*images: Any, **words: Any) -> Any:
        made = whole(*images, **words)
        with runtime.sessions.begin() as session:  # at the last moment
            runs.cancel(session, run, "ada")
        return made

    monkeypatch.setattr(training, "train", cancelled)
    run = request(runtime)
    train.train_next(runtime, threading.Event())
    with runtime.sessions() as session:
        assert runs.find(session, run).state == "cancelled"
        assert len(list(train.checkpoints().iterdir())) == 1, "what is not registered may be wanted again"
        assert [one.id for one in models.versions(session, "plate")] == [champion]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_nobody_foresaw_fails_the_run_with_its_traceback(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(runtime, Delivery(accept([make_picture(seed) for seed in range(200, 212)]), datetime.now(UTC)))

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(training, "train", broken)
    run = request(runtime)
    with pytest.raises(RuntimeError):
        train.train_next(runtime, threading.Event())
    with runtime.sessions() as session:
        found = runs.find(session, run)
    assert (found.state, found.reason) == ("failed", "RuntimeError: CUDA error: an illegal memory access")
    assert "in broken" in found.log


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_image_store_that_is_away_costs_no_attempt(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    judge(runtime, Delivery(accept([make_picture(seed) for seed in range(200, 212)]), datetime.now(UTC)))
    images = runtime.bundles.parent / "images"
    images.rename(images.with_name("away"))
    run = retrain(runtime)
    assert (run.state, run.attempt) == ("requested", 0)
    assert "it is tried again" in run.log


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "error", [ImageStoreUnavailableError("s3://images", "refused"), training.UselessModelError(0)]
)
def test_what_goes_wrong_in_a_run_that_was_cancelled_ends_no_trainer(
    error: Exception,
    runtime: Runtime,
    champion: str,
    accept: Any,
    make_picture: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge(runtime, Delivery(accept([make_picture(seed) for seed in range(200, 212)]), datetime.now(UTC)))
    progress: list[None] = []

    def broken(*_: Any, stop: Any, stepped: Any, **__: Any) -> Any:
        before = len(progress)
        assert not stop()
        assert len(progress) == before, "who asks whether to stop has made no progress"
        stepped()
        assert len(progress) == before + 1
        with runtime.sessions.begin() as session:
            runs.cancel(session, run, "ada")
        raise error

    monkeypatch.setattr(training, "train", broken)
    run = request(runtime)
    assert train.train_next(runtime, threading.Event(), lambda: progress.append(None)) == run
    with runtime.sessions() as session:
        assert (runs.find(session, run).state, runs.find(session, run).reason) == ("cancelled", None)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_counting_escapes_ends_when_the_training_is_to_stop(
    runtime: Runtime,
    champion: str,
    trained: BundlePaths,
    accept: Any,
    make_picture: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = accept([make_picture(300, defect=True)])
    judge(runtime, Delivery(bad, datetime.now(UTC)))
    now = datetime.now(UTC)
    with runtime.sessions.begin() as session:
        words = {"verdict": "confirm", "reviewer": "ada", "created_at": now}
        session.add(Review(id=uuid7(now), inspection_id=bad[0], **words))
    stopping: Any = SimpleNamespace(must_stop=lambda: True)
    made: Any = SimpleNamespace(checkpoint=None)
    monkeypatch.setattr(bundle, "save", lambda *_, **__: trained)  # a training takes seconds
    with pytest.raises(training.TrainingStoppedError):
        candidate.keep(runtime, made, "plate", actor="trainer", note="new", pulse=stopping)
