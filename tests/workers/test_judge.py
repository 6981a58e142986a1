"""What becomes of every kind of image, on both databases."""

import copy
import dataclasses
import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

import pytest
import torch
from PIL import Image
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from db import alarms, attempts, events, history, models, policies, results, runs
from db.ids import uuid7
from db.imagestore import ImageStore, ImageStoreUnavailableError, key_of
from db.matching import Filter
from db.settings import DatabaseSettings
from db.tables import DriftSample, ModelAlias
from model.maps import decode_map
from model.scoring import Scorer
from workers import score
from workers.drift import close_ripe
from workers.drift_settings import DriftSettings
from workers.judge import Delivery, judge
from workers.messages import ScoreMessage
from workers.runtime import DeviceLostError, Runtime
from workers.settings import WorkerSettings

QUEUED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def runtime(
    database: DatabaseSettings, sessions: sessionmaker[Session], store: ImageStore
) -> Iterator[Runtime]:
    with ThreadPoolExecutor(2) as threads:
        yield Runtime(WorkerSettings(), sessions, sessions, store, database.home / "bundles", "cpu", threads)


def verdicts(sessions: sessionmaker[Session], ids: list[UUID]) -> list[str | None]:
    with sessions() as session:
        found = [history.inspection(session, one).result for one in ids]
    return [None if one is None else one.verdict for one in found]


def test_good_and_bad_parts_get_verdicts_with_maps_and_boxes(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    good, bad = accept([make_picture(900), make_picture(901, defect=True)])
    assert judge(runtime, Delivery([good, bad], QUEUED, redelivered=False)) == 2
    assert verdicts(runtime.sessions, [good, bad]) == ["ok", "ng"]
    with runtime.sessions() as session:
        detail = history.inspection(session, bad)
    assert detail.result is not None
    assert detail.map is not None
    assert detail.result.model_version == champion
    assert detail.result.score is not None
    assert detail.result.score > (detail.result.threshold or 0)
    box = detail.result.regions[0]
    # The defect is the square from (24, 20) to (40, 36): its centre lies in the strongest box.
    assert box["x"] <= 32 <= box["x"] + box["width"]
    assert box["y"] <= 28 <= box["y"] + box["height"]
    values = decode_map(detail.map.data, bits=detail.map.bits, low=detail.map.low, high=detail.map.high)
    assert values.shape == (detail.map.height, detail.map.width)
    assert values[20:36, 24:40].mean() > values[:16].mean()
    assert detail.result.timings["queue_ms"] > 0


def test_whoever_hands_batches_on_is_told_when_the_device_will_be_free(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    told: list[Any] = []

    @contextmanager
    def on_device(expected_s: float) -> Iterator[None]:
        told.append((round(expected_s, 6), runtime.using_device.locked()))
        yield

    runtime.image_s = 0.1
    ids = accept([make_picture(910), make_picture(911)])
    ready = partial(told.append, "ready")
    assert judge(runtime, Delivery(ids, QUEUED, ready=ready, on_device=on_device)) == 2
    assert told == ["ready", (0.2, True)]


def test_the_scoring_task_is_who_hands_them_on(use_broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def use_device(_runtime: Runtime, delivery: Delivery) -> int:
        delivery.ready()
        with delivery.on_device(60.0):
            assert not score.score._is_soon_free()
        assert score.score._is_soon_free()
        return len(delivery.ids)

    monkeypatch.setattr(score, "judge", use_device)
    monkeypatch.setattr(score, "line_runtime", lambda: None)
    assert score._judge([ScoreMessage((uuid7(),), QUEUED)], redelivered=False)


def test_scores_within_the_band_around_the_threshold_are_inconclusive(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    good, bad = accept([make_picture(902), make_picture(903, defect=True)])
    settings = runtime.settings.model_copy(update={"inconclusive_band": 0.9})
    assert judge(dataclasses.replace(runtime, settings=settings), Delivery([good], QUEUED, redelivered=False))
    assert judge(runtime, Delivery([bad], QUEUED, redelivered=False))
    assert verdicts(runtime.sessions, [good, bad]) == ["inconclusive", "ng"]
    with runtime.sessions() as session:
        detail = history.inspection(session, good)
    assert detail.result is not None
    assert detail.result.score is not None
    assert detail.result.threshold is not None
    assert 0.1 * detail.result.threshold <= detail.result.score <= 1.9 * detail.result.threshold
    assert detail.map is not None  # a person decides, and needs to see why


def test_a_verdict_is_given_once_however_often_its_message_arrives(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    ids = accept([make_picture(1)])
    assert judge(runtime, Delivery(ids, QUEUED, redelivered=False)) == 1
    with runtime.sessions() as session:
        before = history.inspection(session, ids[0]).result
    assert judge(runtime, Delivery(ids, QUEUED, redelivered=True)) == 0
    with runtime.sessions() as session:
        after = history.inspection(session, ids[0]).result
    assert before is not None
    assert after is not None
    assert (before.judged_at, before.score, before.attempts) == (after.judged_at, after.score, after.attempts)


def test_an_image_that_cannot_be_decoded_is_judged_error_and_its_neighbours_are_not_harmed(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    ids = accept([make_picture(1), b"\x89PNG\r\n\x1a\n not an image", make_picture(2)])
    judge(runtime, Delivery(ids, QUEUED, redelivered=False))
    assert verdicts(runtime.sessions, ids) == ["ok", "error", "ok"]
    with runtime.sessions() as session:
        detail = history.inspection(session, ids[1])
    assert detail.result is not None
    assert detail.result.error
    assert detail.map is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_missing_image_is_tried_again_and_then_judged_error(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    ids = accept([make_picture(1), make_picture(2)])
    with runtime.sessions() as session:
        lost = history.inspection(session, ids[0]).inspection
    file = Path(runtime.bundles.parent / "images" / key_of(lost.image_sha256))
    file.unlink()
    for attempt in (1, 2):
        judge(runtime, Delivery(ids, QUEUED, redelivered=False))
        assert verdicts(runtime.sessions, ids) == [None, "ok"], attempt
    judge(runtime, Delivery(ids, QUEUED, redelivered=False))
    assert verdicts(runtime.sessions, ids) == ["error", "ok"]
    with runtime.sessions() as session:
        result = history.inspection(session, ids[0]).result
    assert result is not None
    assert result.attempts == 3
    assert lost.image_sha256 in (result.error or "")


def test_an_image_that_fails_the_model_is_found_out_alone(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = accept([make_picture(1), make_picture(2, defect=True), make_picture(3)])
    score = Scorer.score

    def fail_on_black(self: Scorer, arrays: Any) -> Any:
        if any((array < 20).any() for array in arrays):
            raise RuntimeError("CUDA error: an illegal instruction was encountered")
        return score(self, arrays)

    monkeypatch.setattr(Scorer, "score", fail_on_black)
    judge(runtime, Delivery(ids, QUEUED, redelivered=False))
    assert verdicts(runtime.sessions, ids) == ["ok", None, "ok"]
    for _ in range(2):
        judge(runtime, Delivery(ids, QUEUED, redelivered=False))
    assert verdicts(runtime.sessions, ids) == ["ok", "error", "ok"]
    with runtime.sessions() as session:
        result = history.inspection(session, ids[1]).result
    assert result is not None
    assert "illegal instruction" in (result.error or "")


def test_an_image_that_kills_its_worker_is_given_up_and_its_neighbours_are_judged(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = accept([make_picture(1), make_picture(2, defect=True), make_picture(3)])
    score = Scorer.score

    class Killed(BaseException):
        pass

    def die_on_black(self: Scorer, arrays: Any) -> Any:
        if any((array < 20).any() for array in arrays):
            raise Killed
        return score(self, arrays)

    monkeypatch.setattr(Scorer, "score", die_on_black)
    lives = 0
    for delivery in range(6):
        try:
            judge(runtime, Delivery(ids, QUEUED, redelivered=delivery > 0))
        except Killed:
            lives += 1
    assert lives <= runtime.settings.max_attempts + 1
    assert verdicts(runtime.sessions, ids) == ["ok", "error", "ok"]


def test_images_of_a_product_without_a_model_wait_for_one(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    waiting = accept([make_picture(1)], product="new part")
    ready = accept([make_picture(2)])
    assert judge(runtime, Delivery(waiting + ready, QUEUED, redelivered=False)) == 1
    assert verdicts(runtime.sessions, waiting + ready) == [None, "ok"]
    with runtime.sessions() as session:
        overdue = attempts.overdue(session, datetime.now(UTC) + timedelta(hours=1), 10)
    assert overdue == []


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_bundle_that_was_altered_judges_nothing_and_harms_nobody(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    """However often they come back meanwhile, the images wait; with the weights restored they are judged."""
    ids = accept([make_picture(1)])
    with runtime.sessions() as session:
        version = models.champion(session, "plate")
    assert version is not None
    blob = runtime.bundles.parent / "images" / key_of(version.weights_sha256)
    whole = blob.read_bytes()
    damage(blob)
    for _ in range(2 * runtime.settings.max_attempts):
        assert judge(runtime, Delivery(ids, QUEUED, redelivered=True)) == 0
    assert verdicts(runtime.sessions, ids) == [None]
    blob.write_bytes(whole)
    assert judge(runtime, Delivery(ids, QUEUED, redelivered=True)) == 1
    assert verdicts(runtime.sessions, ids) == ["ok"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_damaged_copy_of_a_bundle_is_fetched_again(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    ids = accept([make_picture(1)])
    with runtime.sessions() as session:
        version = models.champion(session, "plate")
    assert version is not None
    runtime.scorer(version)
    damage(runtime.bundles / champion / "weights.safetensors")
    runtime._scorers.clear()
    assert judge(runtime, Delivery(ids, QUEUED)) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("same_delivery", [True, False])
def test_an_outage_of_the_store_is_no_attempt_at_an_image(
    runtime: Runtime,
    champion: str,
    accept: Any,
    make_picture: Any,
    monkeypatch: pytest.MonkeyPatch,
    same_delivery: bool,
) -> None:
    """However long it lasts and however often the images come back, they are not judged `error` for it."""
    ids = accept([make_picture(1), make_picture(2)])
    away = ImageStoreUnavailableError("s3://images", "connection refused")
    monkeypatch.setattr(ImageStore, "get", lambda _self, _sha256: (_ for _ in ()).throw(away))
    delivery = Delivery(ids, QUEUED, redelivered=True)
    for _ in range(10):
        with pytest.raises(ImageStoreUnavailableError):
            judge(runtime, delivery if same_delivery else Delivery(ids, QUEUED, redelivered=True))
    monkeypatch.undo()
    assert judge(runtime, delivery) == 2
    assert verdicts(runtime.sessions, ids) == ["ok", "ok"]


def test_an_outage_of_the_database_counts_one_attempt_a_delivery(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = accept([make_picture(1), make_picture(2)])
    away = OperationalError("INSERT", {}, Exception("server closed the connection unexpectedly"))
    monkeypatch.setattr(results, "record", lambda *_: (_ for _ in ()).throw(away))
    delivery = Delivery(ids, QUEUED, redelivered=True)
    for _ in range(10):
        with pytest.raises(OperationalError):
            judge(runtime, delivery)
    monkeypatch.undo()
    assert judge(runtime, delivery) == 2
    assert verdicts(runtime.sessions, ids) == ["ok", "ok"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_lost_device_settles_nothing(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_self: Scorer, _arrays: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    ids = accept([make_picture(1), make_picture(2)])
    monkeypatch.setattr(Scorer, "score", lose)
    with pytest.raises(DeviceLostError):
        judge(runtime, Delivery(ids, QUEUED))
    assert verdicts(runtime.sessions, ids) == [None, None]


def test_a_verdict_that_misses_its_products_deadline_is_late(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    in_time, late, broken, none = accept(
        [*(make_picture(seed) for seed in (1, 2)), b"no image", make_picture(3)]
    )
    for deadline_ms, ids in ((3_600_000, [in_time]), (1, [late, broken]), (None, [none])):
        with runtime.sessions.begin() as session:
            models.set_deadline(session, "plate", deadline_ms, "ada")
        assert judge(runtime, Delivery(ids, QUEUED)) == len(ids)
    with runtime.sessions() as session:
        missed = {row.id for row in history.search(session, Filter(late=True), 10)}
        timings = history.inspection(session, late).result.timings  # type: ignore[union-attr]
        changes = [(one.kind, one.detail) for one in events.told(session, events.Asked(kind="product"))]
    assert missed == {late, broken}
    assert timings["late_ms"] > 0
    assert changes == [
        ("product.deadline", {"before_ms": 1, "ms": None}),
        ("product.deadline", {"before_ms": 3_600_000, "ms": 1}),
        ("product.deadline", {"before_ms": None, "ms": 3_600_000}),
    ]


def test_a_slow_models_images_have_their_verdicts_before_the_last_is_scored(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for one part of many must not wait for all: a slice is committed before the next begins."""
    ids = accept([make_picture(seed) for seed in range(5)])
    real, judged_before = Scorer.score, []

    def score(self: Scorer, arrays: Any) -> Any:
        judged_before.append((len(arrays), sum(one is not None for one in verdicts(runtime.sessions, ids))))
        return real(self, arrays)

    monkeypatch.setattr(runtime, "note_speed", lambda *_: None)
    monkeypatch.setattr(Scorer, "score", score)
    runtime.image_s = 0.2  # two in the 0.4 s of PYRAMIDION_BATCH_S
    assert judge(runtime, Delivery(ids, QUEUED)) == 5
    assert judged_before == [(2, 0), (2, 2), (1, 4)]


def test_what_is_judged_counts_once_in_the_watch_over_drift(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    good, bad, broken = accept([make_picture(900), make_picture(901, defect=True), b"no image"])
    elsewhere = accept([make_picture(902)], station="s2")
    (golden,) = accept([make_picture(903)], serial="golden:dent")
    ids = [good, bad, broken, *elsewhere, golden]
    assert judge(runtime, Delivery(ids, QUEUED)) == 5
    for again in (ids, [good]):
        assert judge(runtime, Delivery(again, QUEUED, redelivered=True)) == 0
    assert judge(dataclasses.replace(runtime, drift_window_s=0), Delivery(accept([make_picture(9)]), QUEUED))
    with runtime.sessions() as session:
        samples = session.scalars(select(DriftSample).order_by(DriftSample.id)).all()
        found = [history.inspection(session, id_).result for id_ in (good, bad)]
    counts: Counter[tuple[str, str]] = Counter()
    for one in samples:
        counts.update({(one.station, verdict): number for verdict, number in one.verdicts.items()})
    assert counts == {("s1", "ok"): 1, ("s1", "ng"): 1, ("s1", "error"): 1, ("s2", "ok"): 1}
    assert {one.model_version for one in samples} == {champion}
    seen = next(one.seen for one in samples if one.station == "s1" and one.seen)
    scores = sorted(one.score for one in found if one is not None and one.score is not None)
    assert sorted(seen["score"]) == [pytest.approx(score, rel=1e-5) for score in scores]
    light = dict(zip(seen["score"], seen["brightness"], strict=True))
    assert light[min(light)] > light[max(light)] > 0.3, "a defect is dark"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_image_that_two_workers_judge_at_once_counts_once(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = accept([make_picture(900)])
    other, real, faster = dataclasses.replace(runtime, using_device=Lock()), Scorer.score, []

    def score(self: Scorer, arrays: Any) -> Any:
        if not faster:
            faster.append(0)
            faster.append(judge(other, Delivery(ids, QUEUED)))
        return real(self, arrays)

    monkeypatch.setattr(Scorer, "score", score)
    assert judge(runtime, Delivery(ids, QUEUED)) == 0
    assert faster == [0, 1]
    with runtime.sessions() as session:
        assert [one.verdicts for one in session.scalars(select(DriftSample))] == [{"ok": 1}]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_lamp_that_fades_opens_an_alarm_and_asks_for_a_training(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    def dim(data: bytes) -> bytes:
        out = io.BytesIO()
        Image.open(io.BytesIO(data)).point(lambda grey: grey * 0.7).save(out, "PNG")
        return out.getvalue()

    with runtime.sessions.begin() as session:
        policies.change(session, "plate", policies.Rules(retrain_on_drift=True), "ada")
        begun = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        session.execute(update(ModelAlias).values(changed_at=begun))
    settings, asked = DriftSettings(drift_images=10, drift_wait_s=0), []
    for number in range(4):
        light = dim if number > 1 else bytes
        ids = accept([light(make_picture(seed)) for seed in range(300 + 12 * number, 312 + 12 * number)])
        assert judge(runtime, Delivery(ids, QUEUED)) == 12
        with runtime.sessions.begin() as session:
            session.execute(update(DriftSample).values(starts_at=begun + number * timedelta(minutes=15)))
        asked.append(close_ripe(runtime.sessions, settings))
    with runtime.sessions() as session:
        found = {one.statistic: one for one in alarms.newest(session, "plate", only_open=True)}
        (run,) = runs.newest(session, "plate")
    assert "brightness" in found
    assert not {"contrast", "sharpness", "saturation"} & found.keys()
    assert found["brightness"].since == begun + timedelta(minutes=30)
    assert "look at the lamp" in found["brightness"].said
    assert (run.why, asked) == ("drift", [set(), set(), set(), {"plate"}])


def test_a_stored_verdict_can_be_replayed(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    """Promise 5: the stored image with the stored bundle gives the stored score."""
    (id_,) = accept([make_picture(77, defect=True)])
    judge(runtime, Delivery([id_], QUEUED, redelivered=False))
    with runtime.sessions() as session:
        detail = history.inspection(session, id_)
        version = session.get(models.ModelVersion, detail.result.model_version) if detail.result else None
    assert detail.result is not None
    assert version is not None
    fresh = dataclasses.replace(runtime)
    fresh._scorers = type(runtime._scorers)()
    scorer = fresh.scorer(version)
    again = scorer.score([scorer.decode(runtime.store.get(detail.inspection.image_sha256)).array])[0]
    assert again.score == pytest.approx(detail.result.score, rel=1e-5)
    assert scorer.threshold == detail.result.threshold


def test_loaded_models_take_no_more_memory_than_they_may(runtime: Runtime, champion: str) -> None:
    with runtime.sessions() as session:
        version = models.champion(session, "plate")
    assert version is not None
    first = runtime.scorer(version)
    assert runtime.scorer(version) is first
    assert first.weights_bytes > 10_000
    others = [copy.copy(first) for _ in range(3)]
    runtime.settings.models_max_bytes = 3 * first.weights_bytes
    del runtime._scorers[version.id]
    runtime._scorers.update({f"other {number}": one for number, one in enumerate(others)})
    runtime.scorer(version)
    assert list(runtime._scorers) == ["other 1", "other 2", version.id]
    runtime.settings.models_max_bytes = 0  # the one in use stays
    del runtime._scorers[version.id]
    runtime.scorer(version)
    assert list(runtime._scorers) == [version.id]
