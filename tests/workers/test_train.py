"""Training on what the line has produced: a candidate, not a champion."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import models
from db.imagestore import ImageStore
from db.settings import DatabaseSettings
from db.tables import Event
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
def test_too_few_parts_leave_an_event_and_no_model(
    runtime: Runtime, champion: str, accept: Any, make_picture: Any
) -> None:
    train.train("plate")
    with runtime.sessions() as session:
        events = list(session.scalars(select(Event).where(Event.kind == "training.failed")))
        assert len(models.versions(session, "plate")) == 1
    assert len(events) == 1
    assert "0" in events[0].detail["reason"]
