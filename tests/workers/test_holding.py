"""What a live worker holds is not lost; what a dead or hung one held is."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from workers import holding, queue, sweep
from workers.batches import DurableBatches
from workers.holding import Holding
from workers.settings import WorkerSettings

LONG_AGO = datetime.now(UTC) - timedelta(minutes=10)


@pytest.fixture
def client(use_broker: Any) -> Any:
    with Redis.from_url(use_broker.url) as opened:
        yield opened


def holder(broker_url: str, oldest: datetime | None, progressed_at: float) -> Holding:
    return Holding(lambda: Redis.from_url(broker_url), lambda: oldest, lambda: progressed_at)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_slow_workers_backlog_is_left_to_it_until_it_dies(
    use_broker: Any,
    client: Redis,
    champion: str,
    accept: Any,
    make_picture: Any,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
    wait: Any,
) -> None:
    monkeypatch.setattr(holding, "SAID_EVERY_S", 0.1)
    monkeypatch.setattr(holding, "LAPSES_S", 1)
    settings = WorkerSettings(sweep_after_s=1)
    accept([make_picture(1)], received_at=LONG_AGO)
    worker = holder(use_broker.url, LONG_AGO, time.monotonic())
    worker.start()
    wait(lambda: queue.oldest_held(client) == LONG_AGO, "the note", 10)
    assert sweep.sweep_once(sessions, settings) == 0

    worker.stop()  # says nothing more, as a killed one
    wait(lambda: queue.oldest_held(client) is None, "the note to lapse", 10)
    assert sweep.sweep_once(sessions, settings) == 1
    worker.join(10)


def test_a_hung_worker_and_an_idle_one_hold_nothing(
    use_broker: Any, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "SAID_EVERY_S", 0.05)
    hung = holder(use_broker.url, LONG_AGO, time.monotonic() - holding.HUNG_S - 1)
    idle = holder(use_broker.url, None, time.monotonic())
    for worker in (hung, idle):
        worker.start()
        time.sleep(0.5)
        assert queue.oldest_held(client) is None
        worker.stop()
        worker.join(10)


def test_what_is_held_while_nobody_works_on_it_shows() -> None:
    """Else a process that never hands on what it has received would count as live for ever."""
    task = DurableBatches()
    task._consumer = SimpleNamespace(connection=SimpleNamespace(connected=True))
    idle = task.progressed_at
    task._buffer.put(object())
    stuck = task.progressed_at
    time.sleep(0.05)
    assert task.progressed_at == stuck
    task.progress()
    assert task.progressed_at > stuck
    task.rest()
    task._consumer.connection.connected = False
    assert task.progressed_at > stuck + 0.04, "without a broker it waits, and does not hang"
    task._buffer.get()
    assert task.progressed_at > stuck >= idle - 1
