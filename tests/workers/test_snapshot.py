"""What a run trains on: frozen by its first trainer, the same for the next, named in the model's manifest."""

import hashlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.orm import Session, sessionmaker

from db import clock, datasets, inspections, models, results, reviews, runs
from db.ids import uuid7
from db.imagestore import ImageStore
from db.inspections import NewInspection
from db.results import NewResult
from db.settings import DatabaseSettings
from db.tables import Dataset, GoldenSample, Inspection, TrainingRun
from model import dataset, training
from workers import snapshot, train
from workers.pulse import Pulse
from workers.runtime import Runtime
from workers.settings import WorkerSettings

Judged = Callable[..., list[UUID]]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def part(number: int, seed: int = 0) -> bytes:
    """A part of its own, far from all others; another seed is another shot of it, where it lies."""
    scene = np.random.default_rng(number).normal(120, 30, (16, 16)).repeat(4, 0).repeat(4, 1)
    noisy = scene + np.random.default_rng([number, seed]).normal(0, 1, scene.shape)
    out = BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, "PNG", compress_level=1)
    return out.getvalue()


@pytest.fixture
def runtime(
    database: DatabaseSettings, sessions: sessionmaker[Session], store: ImageStore
) -> Iterator[Runtime]:
    with ThreadPoolExecutor(2) as threads:
        yield Runtime(WorkerSettings(), sessions, sessions, store, database.home / "bundles", "cpu", threads)


@pytest.fixture
def judged(runtime: Runtime, champion: str) -> Judged:
    """Accept pictures, in their order, and judge them, ok with a score of 0.1 unless told otherwise."""
    count = 0

    def judge(
        pictures: list[bytes],
        scores: list[float] | None = None,
        *,
        serials: list[str] | None = None,
        verdict: str = "ok",
    ) -> list[UUID]:
        nonlocal count
        new, judged = [], []
        keys = runtime.store.put_many(pictures)
        for data, key, serial in zip(
            pictures, keys, serials or itertools.repeat(None, len(keys)), strict=True
        ):
            count += 1
            at = NOON + timedelta(seconds=count)
            new.append(
                NewInspection(
                    id=uuid7(at),
                    product="plate",
                    station="s1",
                    line=None,
                    serial=serial,
                    lot=None,
                    captured_at=at,
                    received_at=at,
                    image_sha256=Path(key).name,
                    image_key=key,
                    image_bytes=len(data),
                    image_width=64,
                    image_height=64,
                    image_format="PNG",
                )
            )
        for one, score in zip(new, scores or [0.1] * len(new), strict=True):
            judged.append(
                NewResult(
                    inspection_id=one.id,
                    verdict=verdict,
                    score=score,
                    threshold=0.5,
                    model_version=champion,
                    worker="w",
                    attempts=1,
                    judged_at=NOON,
                    timings={},
                    regions=[],
                    error=None,
                    map=None,
                )
            )
        with runtime.sessions.begin() as session:
            inspections.accept(session, new)
            results.record(session, judged)
        return [one.id for one in new]

    return judge


def take(state: Runtime) -> Pulse:
    """Take the run that waits, or one that is asked for here."""
    with state.sessions.begin() as session:
        held = runs.take(session, 60, 5)
        if held is None:
            runs.request(session, "plate", "on demand", "ada")
            held = runs.take(session, 60, 5)
    assert held is not None
    return Pulse(state.sessions, held, 60, threading.Event(), lambda: None)


def entries(state: Runtime, name: str) -> list[dict[str, Any]]:
    with state.sessions() as session:
        kept = datasets.find(session, name)
        assert kept is not None
        assert datasets.digest(kept.entries) == name
        return kept.entries


def summary(state: Runtime, name: str) -> dict[str, Any]:
    with state.sessions() as session:
        return session.get_one(Dataset, name).summary


def test_a_second_trainer_uses_the_same_though_the_line_went_on(runtime: Runtime, judged: Judged) -> None:
    first_ids = judged([part(n) for n in range(60)], serials=[f"{n // 2}" for n in range(60)])
    first = take(runtime)
    taken = snapshot.of_run(runtime, first)
    assert (len(taken.train), len(taken.hold_out)) == (40, 20)
    frozen = entries(runtime, taken.dataset)
    assert [one["id"] for one in frozen] == sorted(str(id_) for id_ in first_ids)
    sides = [{one["group"] for one in frozen if one["part"] == side} for side in ("train", "hold_out")]
    assert not sides[0] & sides[1]
    assert taken.groups == [one["group"] for one in frozen if one["part"] == "train"]
    assert summary(runtime, taken.dataset) == {
        "stations": {"s1": {"train": 40, "hold_out": 20}},
        "left_out": {},
        "split_by": "serial",
        "split_why": None,
    }
    judged([part(n) for n in range(100, 110)])
    with runtime.sessions.begin() as session:
        runs.give_back(session, first.held, "")
    second = take(runtime)
    assert second.held.attempt == 2
    assert snapshot.of_run(runtime, second) == taken
    # ... less what is gone by then, which its log tells.
    key = next(one["sha256"] for one in frozen if one["part"] == "train")
    (runtime.bundles.parent / "images" / "sha256" / key[:2] / key).unlink()
    again = snapshot.of_run(runtime, second)
    assert (again.dataset, again.train) == (taken.dataset, taken.train[1:])
    assert "1 of 60 images can no longer be read" in second.log


@SQLITE
def test_the_model_states_the_dataset_and_is_split_by_its_groups(
    runtime: Runtime, judged: Judged, champion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged([part(n) for n in range(24)], serials=[f"{n // 2}" for n in range(24)])
    seen: dict[str, Any] = {}
    whole = dataset.read_good

    def read(images: Any, config: Any, watch: Any, groups: Any = None) -> Any:
        seen["groups"], seen["good"] = groups, whole(images, config, watch, groups)
        return seen["good"]

    monkeypatch.setattr("model.training.read_good", read)
    quick = training.TrainConfig(size=(64, 64), epochs=1, augment="none", options={"width": 4})
    monkeypatch.setattr(train, "config_of", lambda *_: quick)
    monkeypatch.setenv("PYRAMIDION_DATASET_TAIL", "0.07")
    asked: dict[str, Any] = {}
    trained = training.train

    def watched(*images: Any, **words: Any) -> Any:
        asked.update(words)
        return trained(*images, **words)

    monkeypatch.setattr(training, "train", watched)
    pulse = take(runtime)
    with runtime.sessions.begin() as session:
        runs.give_back(session, pulse.held, "", counts=False)
    assert train.train_next(runtime, threading.Event()) == pulse.held.id
    with runtime.sessions() as session:
        run = session.get_one(TrainingRun, pulse.held.id)
        assert run.state == "succeeded", run.log
        manifests = [json.loads(one.manifest) for one in models.versions(session, "plate")]
    assert run.dataset is not None
    assert sorted(str(one.get("dataset")) for one in manifests) == sorted([run.dataset, "None"])
    # Datasets are kept for ever: they don't name what retention lets go.
    hashed = (hashlib.sha256(f"serial:{n}".encode()).hexdigest()[:16] for n in range(12))
    assert Counter(seen["groups"]) == dict.fromkeys(hashed, 2)
    assert (asked["trim"], asked["trusted"]) == (0.07, frozenset())
    assert {len(part) % 2 for part in (seen["good"].fit, seen["good"].validate)} == {0}


@SQLITE
def test_what_people_called_bad_is_never_in_and_what_they_called_good_is(
    runtime: Runtime, judged: Judged
) -> None:
    good = judged([part(n) for n in range(44)])
    rejected = judged([part(n) for n in range(44, 48)], [0.9] * 4, verdict="ng")
    with runtime.sessions.begin() as session:
        reviews.record(session, good[0], "overrule", "ada", "defect")
        reviews.record(session, good[1], "inconclusive", "ada")
        reviews.record(session, rejected[0], "overrule", "ada", "lighting")
        reviews.record(session, rejected[1], "confirm", "ada")
        now = clock.now(session)
        golden = session.get_one(Inspection, good[2]).image_sha256
        words: dict[str, Any] = {
            "id": good[2],
            "product": "plate",
            "station": "s1",
            "name": "g",
            "expected": "ok",
        }
        words |= {"image_bytes": 1000, "image_width": 64, "image_height": 64, "image_format": "PNG"}
        session.add(GoldenSample(**words, image_sha256=golden, added_by="ada", added_at=now))
    taken = snapshot.of_run(runtime, take(runtime))
    name = taken.dataset
    assert {one["id"] for one in entries(runtime, name)} == {str(id_) for id_ in (*good[3:], rejected[0])}
    trusted = [part(44)] if part(44) in taken.train else []  # else it is held out
    assert [taken.train[place] for place in taken.trusted] == trusted
    assert [one["id"] for one in entries(runtime, name) if "trusted" in one] == [str(rejected[0])]
    assert summary(runtime, name)["left_out"] == {"doubted": 2, "golden": 1}


@SQLITE
def test_scores_far_above_are_not_trained_on_but_may_be_held_out_and_people_know_better(
    runtime: Runtime, judged: Judged
) -> None:
    scores = [float(np.exp(one)) for one in np.random.default_rng(0).normal(-2, 0.2, 100)]
    high = [7, 27, 47, 67, 87]
    for n in high:
        scores[n] = 0.49
    ids = judged([part(n) for n in range(100)], scores, serials=[f"{n}" for n in range(100)])
    with runtime.sessions.begin() as session:
        reviews.record(session, ids[7], "confirm", "ada")
    name = snapshot.of_run(runtime, take(runtime)).dataset
    parts = {one["id"]: one["part"] for one in entries(runtime, name)}
    left_out = {n for n in range(100) if str(ids[n]) not in parts}
    assert left_out == {n for n in high[1:] if str(ids[n]) not in parts}
    assert {parts[str(ids[n])] for n in high[1:] if n not in left_out} <= {"hold_out"}
    assert str(ids[7]) in parts
    assert summary(runtime, name)["left_out"] == {"tail": len(left_out)}
    assert len(left_out) >= 2


@SQLITE
def test_the_share_that_a_score_may_leave_out_is_a_setting(
    runtime: Runtime, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [float(np.exp(one)) for one in np.random.default_rng(0).normal(-2, 0.2, 100)]
    judged([part(n) for n in range(100)], [0.49 if n % 10 == 7 else one for n, one in enumerate(scores)])
    monkeypatch.setenv("PYRAMIDION_DATASET_TAIL", "0.02")
    name = snapshot.of_run(runtime, take(runtime)).dataset
    assert summary(runtime, name)["left_out"] == {"tail": 1}  # of 80


@SQLITE
def test_too_few_images_end_the_run_with_numbers_and_the_cure(runtime: Runtime, judged: Judged) -> None:
    judged([part(n) for n in range(3)])
    doubted = judged([part(3)])
    with runtime.sessions.begin() as session:
        reviews.record(session, doubted[0], "overrule", "ada", "defect")
    with pytest.raises(training.TooFewImagesError) as told:
        snapshot.of_run(runtime, take(runtime))
    assert str(told.value).startswith(
        "3 distinct good images are too few to train on (left out: 1 that people doubt): 8 are needed"
    )


@SQLITE
def test_a_line_that_stands_still_is_told_so_and_how_to_go_on(
    runtime: Runtime, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged([part(n % 10, seed=n) for n in range(60)])
    pulse = take(runtime)
    with pytest.raises(training.TooFewImagesError) as told:
        snapshot.of_run(runtime, pulse)
    assert str(told.value).startswith(
        "10 distinct good images are too few to hold 20 out and examine the model with them (left out: 50 "
        "near-duplicates)"
    )
    with runtime.sessions() as session:
        assert session.get_one(TrainingRun, pulse.held.id).dataset is None
    monkeypatch.setenv("PYRAMIDION_DATASET_ALIKE", "0")  # the cure that it names
    assert len(snapshot.of_run(runtime, pulse).train) == 40


@SQLITE
def test_one_that_is_told_to_stop_freezes_nothing(runtime: Runtime, judged: Judged) -> None:
    judged([part(n) for n in range(10)])
    pulse = take(runtime)
    stopped: Any = SimpleNamespace(held=pulse.held, must_stop=lambda: True)
    with pytest.raises(training.TrainingStoppedError):
        snapshot.of_run(runtime, stopped)
    with runtime.sessions.begin() as session:
        runs.cancel(session, pulse.held.id, "ada")
    with pytest.raises(runs.RunLostError):
        snapshot.of_run(runtime, pulse)
    with runtime.sessions() as session:
        assert session.get_one(TrainingRun, pulse.held.id).dataset is None
