"""History scored again in the background: the line first, each image once, verdicts as they were."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from db import rescores, rescorings
from db.imagestore import ImageStore
from db.matching import Filter
from db.settings import DatabaseSettings
from db.tables import Lease, Rescore, Rescoring, Result
from workers import spare, stored
from workers.background import Background
from workers.judge import Delivery, judge
from workers.runtime import Runtime
from workers.settings import WorkerSettings

QUEUED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def runtime(
    database: DatabaseSettings, sessions: sessionmaker[Session], store: ImageStore
) -> Iterator[Runtime]:
    with ThreadPoolExecutor(2) as threads:
        settings = WorkerSettings(batch_images=2)
        yield Runtime(settings, sessions, sessions, store, database.home / "bundles", "cpu", threads)


@pytest.fixture
def history(runtime: Runtime, champion: str, accept: Any, make_picture: Any) -> list[UUID]:
    """Six parts and their verdicts; the fifth is a defect."""
    ids: list[UUID] = accept([make_picture(seed, defect=seed == 904) for seed in range(900, 906)])
    assert judge(runtime, Delivery(ids, QUEUED)) == 6
    return ids


def ask(sessions: sessionmaker[Session], model: str) -> UUID:
    with sessions.begin() as session:
        return rescorings.request(session, "plate", model, Filter(product="plate"), None, "ada").id


def look(sessions: sessionmaker[Session], id_: UUID) -> Rescoring:
    with sessions() as session:
        return session.get_one(Rescoring, id_)


def scored(sessions: sessionmaker[Session]) -> dict[UUID, tuple[str, bool]]:
    with sessions() as session:
        found = session.scalars(select(Rescore))
        return {one.inspection_id: (one.verdict, one.map is not None) for one in found}


def verdicts(sessions: sessionmaker[Session]) -> dict[UUID, tuple[str, bool]]:
    with sessions() as session:
        found = session.scalars(select(Result))
        return {one.inspection_id: (one.verdict, one.verdict != "error") for one in found}


def test_no_slice_is_begun_while_the_line_waits(
    runtime: Runtime, champion: str, history: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare, "PATIENCE_S", 0.05)
    before = verdicts(runtime.sessions)
    id_ = ask(runtime.sessions, champion)
    live = threading.Event()
    live.set()
    worker = Background(lambda: runtime, live.is_set)
    worker.look()
    assert (look(runtime.sessions, id_).state, scored(runtime.sessions)) == ("requested", {})

    kept = rescores.record

    def record(*given: Any) -> bool:
        live.set()  # a part comes while a slice is scored: it is the last before the part has its turn
        return kept(*given)

    monkeypatch.setattr(rescores, "record", record)
    live.clear()
    worker.look()
    assert (look(runtime.sessions, id_).done, len(scored(runtime.sessions))) == (2, 2)
    monkeypatch.setattr(rescores, "record", kept)
    live.clear()
    worker.look()
    assert (look(runtime.sessions, id_).state, look(runtime.sessions, id_).done) == ("done", 6)
    assert scored(runtime.sessions) == before
    assert verdicts(runtime.sessions) == before


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_image_that_ends_its_worker_is_given_up_and_takes_no_other_along(
    runtime: Runtime, champion: str, history: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = ask(runtime.sessions, champion)
    real = stored.decoded

    def decoded(state: Any, scorer: Any, rows: Any) -> Any:
        if history[3] in {row.id for row in rows}:
            raise SystemExit  # the process is gone: nothing here catches it
        return real(state, scorer, rows)

    monkeypatch.setattr(stored, "decoded", decoded)
    ends = 0
    while look(runtime.sessions, id_).state in rescorings.ACTIVE:
        assert ends < 10
        try:
            Background(lambda: runtime, lambda: False).look()
        except SystemExit:
            ends += 1
    found = scored(runtime.sessions)
    assert found == {**verdicts(runtime.sessions), history[3]: ("error", False)}
    one = look(runtime.sessions, id_)
    assert (one.done, one.failed_images) == (6, 1)
    # Once more where it came second in a slice: the first one's success began the count anew.
    assert ends - runtime.settings.max_attempts in {0, 1}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_killed_worker_s_rescoring_is_finished_by_the_next(
    use_broker: Any,
    champion: str,
    accept: Any,
    make_picture: Any,
    runtime: Runtime,
    sessions: sessionmaker[Session],
    processes: Callable[..., Any],
    wait: Callable[[Callable[[], Any], str, float], None],
    tmp_path: Path,
) -> None:
    ids = accept([make_picture(seed) for seed in range(120)])
    judge(runtime, Delivery(ids, QUEUED))
    before = verdicts(sessions)
    id_ = ask(sessions, champion)
    slow = {"PYRAMIDION_BATCH_IMAGES": "2"}
    first = processes("worker", log=tmp_path / "first.log", env=slow)
    wait(lambda: look(sessions, id_).done > 3, "the first slices", 60)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    assert look(sessions, id_).state == "running", "it was killed too late to show anything"
    with sessions.begin() as session:
        session.execute(delete(Lease).where(Lease.name == f"rescore:{id_}"))  # as when it lapsed
    second = processes("worker", log=tmp_path / "second.log")
    wait(lambda: look(sessions, id_).state == "done", "the end", 60)
    assert scored(sessions) == before
    assert look(sessions, id_).done == len(ids)
    assert verdicts(sessions) == before
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0
