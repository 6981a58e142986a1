"""Training workers: real processes, that are killed, paused by a cancellation, and stopped."""

import os
import random
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import models, results, runs
from db.tables import TrainingRun
from workers import queue

READY_S = 60
LONGEST_S = 6.0  # within which the second attempt is killed: about what it takes
# What each trainer runs first: a training of some seconds, with epochs that are long enough to be seen.
SMALL = """
from model.config import TrainConfig
from workers import train
config = TrainConfig(size=(64, 64), epochs=10, patience=10, augment="none", options={"width": 4})
train.config_of = lambda state, product: config
"""
Wait = Callable[[Callable[[], Any], str, float], None]
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def run(
    use_broker: Any,
    sessions: sessionmaker[Session],
    champion: str,
    accept: Callable[..., list[UUID]],
    make_picture: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> UUID:
    """A run that takes some seconds, of parts that were judged ok."""
    monkeypatch.setenv("PYRAMIDION_TRAINING_LEASE_S", "2")
    ids = accept([make_picture(seed) for seed in range(200, 224)])
    ok = {"verdict": "ok", "score": 0.1, "threshold": 0.5, "model_version": champion, "error": None}
    made = {"worker": "w", "attempts": 1, "judged_at": datetime.now(UTC), "timings": {}, "regions": []}
    with sessions.begin() as session:
        results.record(session, [results.NewResult(id_, **ok, **made, map=None) for id_ in ids])
        return runs.request(session, "plate", "on demand", "ada")


def look(sessions: sessionmaker[Session], run: UUID) -> TrainingRun:
    with sessions() as session:
        return runs.find(session, run)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_run_whose_trainer_is_killed_twice_succeeds_once_from_its_checkpoint(
    run: UUID, sessions: sessionmaker[Session], processes: Start, wait: Wait, champion: str, tmp_path: Path
) -> None:
    """The first after an epoch, the second at any moment: reading, fitting, examining, or once it is over."""
    words = ("worker", "--queue", "train")
    trainers = [processes(*words, log=tmp_path / f"{one}.log", first=SMALL) for one in range(3)]
    seed = random.randrange(2**32)
    for attempt in (1, 2):

        def is_on_its_way(attempt: int = attempt) -> bool:
            now = look(sessions, run)
            return now.attempt == attempt and (attempt == 2 or (now.epoch or 0) > 0)

        wait(is_on_its_way, f"attempt {attempt}", READY_S)
        if attempt == 2:
            time.sleep(random.Random(seed).uniform(0, LONGEST_S))
        found = look(sessions, run)
        assert found.holder is not None
        pid = int(found.holder.split(":")[-2])
        assert psutil.Process(pid).nice() == min(19, 10 + os.nice(0))
        next(one for one in trainers if one.pid == pid).kill()
    wait(lambda: look(sessions, run).state not in runs.OPEN, f"the end (seed {seed})", READY_S)
    found = look(sessions, run)
    told = f"seed {seed}: {found.reason}\n{found.log}"
    assert found.state == "succeeded", told
    assert found.attempt in (2, 3), told  # 2 where the second kill came when it was over
    assert "going on from there" in found.log, told
    with sessions() as session:
        judging = models.champion(session, "plate")
        assert judging is not None
        assert judging.id == champion
        assert {one.id for one in models.versions(session, "plate")} == {champion, found.model_version}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_trainer_heeds_a_cancellation_trains_the_next_and_stops_in_order(
    run: UUID, sessions: sessionmaker[Session], processes: Start, wait: Wait, tmp_path: Path
) -> None:
    log = tmp_path / "trainer.log"
    trainer = processes("worker", "--queue", "train", log=log, first=SMALL)
    wait(lambda: (look(sessions, run).epoch or 0) >= 1, "an epoch", READY_S)
    with sessions.begin() as session:
        runs.cancel(session, run, "ada")
        second = runs.request(session, "plate", "on demand", "ada")
    queue.wake_trainer()
    wait(lambda: look(sessions, second).state == "running", "the next run", 10)
    assert look(sessions, run).state == "cancelled"
    trainer.terminate()
    assert trainer.wait(30) == 0
    assert (look(sessions, second).state, look(sessions, second).attempt) == ("requested", 0)
