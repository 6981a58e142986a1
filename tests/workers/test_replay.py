"""A verdict is replayed from what is stored, and whatever was swapped is said."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session, sessionmaker

from db import history, models, replays, sample
from db.imagestore import ImageStore, key_of
from db.settings import DatabaseSettings
from db.tables import Event
from model import bundle, training
from model.bundle import BundlePaths
from workers import replay
from workers import replays as asked_for
from workers.judge import Delivery, judge
from workers.runtime import Runtime
from workers.settings import WorkerSettings


@pytest.fixture
def runtime(
    database: DatabaseSettings,
    sessions: sessionmaker[Session],
    store: ImageStore,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Runtime]:
    with ThreadPoolExecutor(2) as threads:
        made = Runtime(WorkerSettings(), sessions, sessions, store, database.home / "bundles", "cpu", threads)
        monkeypatch.setattr(replay, "runtime", lambda: made)
        yield made


@pytest.fixture
def judged(runtime: Runtime, champion: str, accept: Any, make_picture: Any) -> list[UUID]:
    """20 good and 4 bad parts with their verdicts."""
    images = [make_picture(seed) for seed in range(500, 520)]
    images += [make_picture(seed, defect=True) for seed in range(600, 604)]
    ids: list[UUID] = accept(images)
    assert judge(runtime, Delivery(ids, datetime.now(UTC))) == 24
    return ids


@pytest.fixture
def superuser(engine: Engine) -> Callable[..., None]:
    """Run a statement past the triggers."""

    def run(statement: str, **values: Any) -> None:
        if engine.dialect.name == "sqlite":
            values = {name: one.bytes if isinstance(one, UUID) else one for name, one in values.items()}
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                for table in ("results", "anomaly_maps", "model_versions"):
                    connection.execute(text(f"DROP TRIGGER IF EXISTS {table}_no_update"))
            else:
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            assert connection.execute(text(statement), values).rowcount

    return run


def one(runtime: Runtime, id_: UUID) -> str:
    """What differs, in one line."""
    (found,) = replay.replay(runtime, [id_])
    return "; ".join(found.differences)


def image_of(runtime: Runtime, id_: UUID) -> str:
    with runtime.reading() as session:
        return history.inspection(session, id_).inspection.image_sha256


def test_every_verdict_is_replayed_equal(runtime: Runtime, judged: list[UUID]) -> None:
    found = list(replay.replay(runtime, judged))
    assert {one.inspection_id for one in found} == set(judged)
    assert [one for one in found if not one.equal] == []
    assert all(one.score is not None for one in found)


def test_a_swapped_threshold_score_verdict_or_map_is_said(
    runtime: Runtime, judged: list[UUID], superuser: Any
) -> None:
    good, bad = judged[0], judged[-1]
    superuser("UPDATE results SET threshold = threshold * 1.5 WHERE inspection_id = :id", id=good)
    assert "the stored threshold is" in one(runtime, good)
    superuser("UPDATE results SET score = score * 1.5 WHERE inspection_id = :id", id=judged[1])
    assert "the stored score is" in one(runtime, judged[1])
    superuser("UPDATE results SET verdict = 'ok' WHERE inspection_id = :id", id=bad)
    assert "the stored verdict is ok, which the replayed score" in one(runtime, bad)
    superuser("UPDATE anomaly_maps SET high = high * 1.5 WHERE inspection_id = :id", id=judged[2])
    assert "the anomaly maps differ by up to" in one(runtime, judged[2])
    superuser("UPDATE anomaly_maps SET data = :data WHERE inspection_id = :id", data=b"x", id=judged[3])
    assert "don't have its hash" in one(runtime, judged[3])
    assert one(runtime, judged[4]) == ""


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_swapped_image_is_said(
    runtime: Runtime, judged: list[UUID], database: DatabaseSettings, make_picture: Any
) -> None:
    images = database.home / "images"
    (images / key_of(image_of(runtime, judged[0]))).write_bytes(make_picture(999))
    assert "was altered" in one(runtime, judged[0])
    (images / key_of(image_of(runtime, judged[1]))).unlink()
    assert "was removed" in one(runtime, judged[1])
    found = list(replay.replay(runtime, judged))
    assert sum(not one.equal for one in found) == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_swapped_weights_are_said_though_the_worker_still_has_its_copy(
    runtime: Runtime, judged: list[UUID], trained: BundlePaths, database: DatabaseSettings
) -> None:
    weights = bytearray(trained.weights.read_bytes())
    weights[-1] ^= 1
    (database.home / "images" / key_of(trained.weights_sha256)).write_bytes(weights)
    assert "can't be had as it was" in one(runtime, judged[0])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_manifest_changed_in_the_database_is_said(
    runtime: Runtime, judged: list[UUID], superuser: Any
) -> None:
    superuser("UPDATE model_versions SET manifest = replace(manifest, 'plate', 'plates')")
    assert "was altered or damaged" in one(runtime, judged[0])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_verdict_that_is_laid_at_another_models_door_is_said(
    runtime: Runtime, judged: list[UUID], superuser: Any, make_picture: Any, tmp_path: Path
) -> None:
    config = training.TrainConfig(size=(64, 64), epochs=1, options={"width": 4})
    other = bundle.save(
        training.train([make_picture(seed) for seed in range(20)], config), tmp_path, product="plate"
    )
    runtime.store.put(other.weights.read_bytes())
    with runtime.sessions.begin() as session:
        models.register(session, other.version, "plate", other.manifest, other.weights_sha256, 20)
    superuser(
        "UPDATE results SET model_version = :other WHERE inspection_id = :id",
        other=other.version,
        id=judged[0],
    )
    said = one(runtime, judged[0])
    assert "the stored threshold is" in said
    assert "the stored score is" in said


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_has_no_verdict_of_a_model_is_not_called_equal(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    broken, pending = accept([b"no image", make_picture(1)])
    judge(runtime, Delivery([broken], datetime.now(UTC)))
    assert "no model judged it" in one(runtime, broken)
    assert "no verdict yet" in one(runtime, pending)
    with runtime.reading() as session:
        assert sample.judged(session, 10) == []


def test_a_sample_is_replayed_once_a_day_and_leaves_an_event(
    use_broker: Any, runtime: Runtime, judged: list[UUID], superuser: Any
) -> None:
    superuser("UPDATE results SET threshold = threshold * 1.5 WHERE inspection_id = :id", id=judged[0])
    runtime.settings = WorkerSettings(replay_sample=0)
    replay.replay_daily.run()
    runtime.settings = WorkerSettings(replay_sample=24)
    for _ in range(3):
        replay.replay_daily.run()
    with runtime.reading() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == "replay.sampled"))
    assert (event.detail["replayed"], event.detail["equal"], event.detail["different"]) == (24, 23, 1)
    assert event.detail["first"][0]["inspection"] == str(judged[0])


def test_a_sample_is_drawn_from_the_whole_history(runtime: Runtime, judged: list[UUID]) -> None:
    with runtime.reading() as session:
        drawn = [sample.judged(session, 6) for _ in range(40)]
        assert sample.judged(session, 24) == sorted(judged)
    assert all(1 <= len(one) <= 6 and set(one) <= set(judged) for one in drawn)
    assert len(set().union(*drawn)) > 6


def ask(runtime: Runtime, id_: UUID) -> UUID:
    with runtime.sessions.begin() as session:
        return replays.request(session, id_, "aud")


def test_what_somebody_asks_for_is_answered_once(
    runtime: Runtime, judged: list[UUID], superuser: Any, database: DatabaseSettings
) -> None:
    superuser("UPDATE results SET score = score * 1.5 WHERE inspection_id = :id", id=judged[1])
    first, second = ask(runtime, judged[0]), ask(runtime, judged[1])
    assert ask(runtime, judged[0]) == first  # it waits already
    for _ in range(2):
        asked_for.replay_waiting(runtime)
    with runtime.reading() as session:
        good, bad = replays.of(session, judged[0]), replays.of(session, judged[1])
        assert replays.waiting(session) == []
    assert (good.waiting, bad.waiting) == (None, None)
    (equal,), (different,) = good.answers, bad.answers
    assert (equal.actor, equal.detail["equal"], equal.detail["request"]) == ("aud", True, str(first))
    assert (different.detail["equal"], different.detail["request"]) == (False, str(second))
    assert "the stored score is" in different.detail["differences"][0]

    assert ask(runtime, judged[0]) != first
    asked_for.replay_waiting(runtime)
    with runtime.reading() as session:
        assert len(replays.of(session, judged[0]).answers) == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_wish_waits_until_a_worker_comes_and_not_for_ever(
    runtime: Runtime, judged: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(runtime, judged[0])
    with runtime.reading() as session:
        found = replays.of(session, judged[0])
        assert found.waiting is not None
        assert not found.is_silent
        monkeypatch.setattr(replays, "SILENT", timedelta(0))
        assert found.is_silent
        monkeypatch.setattr(replays, "WAITS", timedelta(0))
        assert replays.of(session, judged[0]).waiting is None
        assert replays.waiting(session) == []
