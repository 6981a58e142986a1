"""Real worker processes on a real broker: what happens when something dies."""

import json
import signal
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from db import attempts, inspections
from db.tables import AnomalyMap, Result
from workers import queue, sweep
from workers.messages import messages
from workers.settings import WorkerSettings

Start = Callable[..., subprocess.Popen[bytes]]
Wait = Callable[[Callable[[], Any], str, float], None]

READY_S = 60.0
JUDGED_S = 60.0


def ready(log: Path) -> bool:
    return log.exists() and " ready." in log.read_text(encoding="utf-8", errors="replace")


def judged(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Result)) or 0


def verdicts(sessions: sessionmaker[Session]) -> dict[UUID, tuple[Any, ...]]:
    with sessions() as session:
        return {
            one.inspection_id: (one.judged_at, one.score, one.worker)
            for one in session.scalars(select(Result))
        }


def test_a_killed_worker_loses_nothing_and_judges_nothing_twice(
    use_broker: Any,
    champion: str,
    accept: Any,
    make_picture: Any,
    sessions: sessionmaker[Session],
    processes: Start,
    wait: Wait,
    tmp_path: Path,
) -> None:
    """kill -9 in the middle of the work; the next worker and the sweeper finish it."""
    fast = {"PYRAMIDION_SWEEP_AFTER_S": "2", "PYRAMIDION_SWEEP_EVERY_S": "1", "PYRAMIDION_BATCH_IMAGES": "4"}
    ids = accept([make_picture(seed) for seed in range(160)])
    first = processes("worker", "--queue", "score", log=tmp_path / "first.log", env=fast)
    wait(lambda: ready(tmp_path / "first.log"), "the first worker", READY_S)
    for start in range(0, len(ids), 4):
        queue.enqueue(ids[start : start + 4])
    wait(lambda: judged(sessions) >= 8, "the first verdicts", JUDGED_S)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    before = verdicts(sessions)
    assert len(before) < len(ids), "the worker was killed too late for this test to show anything"
    with Redis.from_url(use_broker.url) as client:
        assert client.hlen("unacked"), "it was killed with messages in its hands"

    processes("worker", "--queue", "score", log=tmp_path / "second.log", env=fast)
    processes("worker", "--queue", "housekeeping", log=tmp_path / "housekeeping.log", env=fast)
    processes("beat", log=tmp_path / "beat.log", env=fast)
    wait(lambda: judged(sessions) == len(ids), "all verdicts after the kill", READY_S + JUDGED_S)
    with sessions() as session:
        counts = inspections.counts(session)
        maps = session.scalar(select(func.count()).select_from(AnomalyMap))
    assert (counts.accepted, counts.pending, counts.error) == (160, 0, 0)
    assert maps == 160
    after = verdicts(sessions)
    assert {id_: after[id_] for id_ in before} == before, "a verdict that stands is not given again"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_worker_told_to_stop_hands_back_what_it_did_not_judge(
    use_broker: Any,
    champion: str,
    accept: Any,
    make_picture: Any,
    sessions: sessionmaker[Session],
    processes: Start,
    wait: Wait,
    tmp_path: Path,
) -> None:
    ids = accept([make_picture(seed) for seed in range(64)])
    worker = processes("worker", log=tmp_path / "worker.log", env={"PYRAMIDION_BATCH_IMAGES": "4"})
    wait(lambda: ready(tmp_path / "worker.log"), "the worker", READY_S)
    for start in range(0, len(ids), 2):
        queue.enqueue(ids[start : start + 2])
    wait(lambda: judged(sessions) >= 4, "the first verdicts", JUDGED_S)
    with Redis.from_url(use_broker.url) as client:
        # Of two images each: three batches of four and one that gathers, and one message too many.
        assert client.hlen("unacked") <= 9, "what it can't begin is left to other workers"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    with Redis.from_url(use_broker.url) as client:
        left = [json.loads(one) for one in client.lrange("score", 0, -1)]
        assert client.hlen("unacked") == 0
    waiting = {one for envelope in left for one in json.loads(b64decode(envelope["body"]))[0][0]["ids"]}
    done = {str(one) for one in verdicts(sessions)}
    assert done | waiting == {str(one) for one in ids}, "each is judged or back in the queue"
    assert not done & waiting, "what is judged was acknowledged"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_wiped_broker_loses_nothing(
    use_broker: Any,
    champion: str,
    accept: Any,
    make_picture: Any,
    sessions: sessionmaker[Session],
    processes: Start,
    wait: Wait,
    tmp_path: Path,
) -> None:
    """The rows are the truth: what the broker forgot is queued again."""
    fast = {"PYRAMIDION_SWEEP_AFTER_S": "1", "PYRAMIDION_SWEEP_EVERY_S": "1"}
    ids = accept([make_picture(seed) for seed in range(32)])
    queue.enqueue(ids)
    with Redis.from_url(use_broker.url) as client:
        client.flushall()
    for name, words in {
        "worker": ("worker",),
        "housekeeping": ("worker", "--queue", "housekeeping"),
        "beat": ("beat",),
    }.items():
        processes(*words, log=tmp_path / f"{name}.log", env=fast)
    wait(lambda: judged(sessions) == len(ids), "the verdicts", READY_S + JUDGED_S)


SLOW = """
import time
from model.scoring import Scorer
score = Scorer.score
Scorer.score = lambda self, *images: time.sleep(0.2) or score(self, *images)
"""


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_gathers_while_the_broker_goes_and_comes_is_judged_by_who_holds_it(
    use_broker: Any,
    champion: str,
    accept: Any,
    make_picture: Any,
    sessions: sessionmaker[Session],
    processes: Start,
    wait: Wait,
    tmp_path: Path,
) -> None:
    """Celery forgets its timers with the connection, and with them when to hand on what gathers.

    And whoever waits for the broker meanwhile does not hang.
    """
    ids, log = accept([make_picture(seed) for seed in range(24)]), tmp_path / "worker.log"
    env = {"PYRAMIDION_BATCH_IMAGES": "2", "PYRAMIDION_HUNG_AFTER_S": "2"}
    worker = processes("worker", log=log, env=env, first=SLOW)
    wait(lambda: ready(log), "the worker", READY_S)
    for id_ in ids:
        queue.enqueue([id_])
    wait(lambda: judged(sessions) >= 4, "the first verdicts", JUDGED_S)
    use_broker.kill()
    time.sleep(5)
    use_broker.start()
    wait(lambda: judged(sessions) == len(ids), "all verdicts, without a sweeper", 45)
    assert worker.poll() is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_sweeper_queues_again_only_what_has_left_the_queue(
    use_broker: Any, champion: str, accept: Any, make_picture: Any, sessions: sessionmaker[Session]
) -> None:
    """A long backlog is not doubled; what vanished from it is found."""
    settings = WorkerSettings(sweep_after_s=1)
    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    waiting = accept([make_picture(1), make_picture(2)], received_at=long_ago)
    queue.enqueue(waiting, at=long_ago)
    assert sweep.sweep_once(sessions, settings) == 0

    vanished = accept([make_picture(3)], received_at=long_ago - timedelta(minutes=1))
    assert sweep.sweep_once(sessions, settings) == 1
    with sessions() as session:
        found = attempts.waiting(session, [*waiting, *vanished])
    assert {one.inspection.id for one in found if one.queued_again} == set(vanished)
    assert sweep.sweep_once(sessions, settings) == 0, "what was just queued again is not queued once more"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_only_a_message_of_another_version_stands_for_is_queued_again(
    use_broker: Any, champion: str, accept: Any, make_picture: Any, sessions: sessionmaker[Session]
) -> None:
    """Its reader may never come; the message goes on waiting for it all the same."""
    from workers.celery import app

    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    (id_,) = accept([make_picture(1)], received_at=long_ago)
    (theirs,) = messages([id_], long_ago)
    app.send_task("workers.score", args=[{**theirs.to_json(), "version": 2}], queue="score.v2")
    settings = WorkerSettings(sweep_after_s=1)
    assert sweep.sweep_once(sessions, settings) == 1
    with queue.connect(settings) as client:
        assert (queue.depth(client), queue.of_other_versions(client)) == (1, {2: 1})
    assert sweep.sweep_once(sessions, settings) == 0, "the copy waits: once is enough"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_sweep_is_bounded(
    use_broker: Any, champion: str, accept: Any, make_picture: Any, sessions: sessionmaker[Session]
) -> None:
    accept([make_picture(1)] * 10, received_at=datetime.now(UTC) - timedelta(hours=1))
    settings = WorkerSettings(sweep_limit=4)
    assert sweep.sweep_once(sessions, settings) == 4


def test_a_dead_broker_is_named_within_seconds(use_broker: Any, caplog: pytest.LogCaptureFixture) -> None:
    use_broker.kill()
    sweep.sweep.run()  # again and again, for as long as the outage lasts: a line, no traceback
    assert [one.exc_info for one in caplog.records if "no sweep" in one.message] == [None]
    started = time.monotonic()
    with pytest.raises(queue.BrokerUnavailableError, match="pyramidion doctor"):
        queue.enqueue([UUID(int=1)])
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_message_of_an_unknown_version_waits_for_a_worker_that_knows_it(
    use_broker: Any,
    champion: str,
    accept: Any,
    make_picture: Any,
    sessions: sessionmaker[Session],
    processes: Start,
    wait: Wait,
    tmp_path: Path,
) -> None:
    from workers.celery import app

    """It stops nobody, is lost to nobody, and the newer worker reads what older stations write as well."""
    ids = accept([make_picture(seed) for seed in range(6)])
    now, log = datetime.now(UTC), tmp_path / "worker.log"
    (theirs,) = messages(ids[3:5], now)
    for one in (theirs.to_json(), {**theirs.to_json(), "ids": [str(ids[5])]}):
        app.send_task("workers.score", args=[{**one, "version": 2}], queue="score")
    app.send_task("workers.score", args=[{"version": "?"}], queue="score")
    queue.enqueue(ids[:2])
    worker = processes("worker", log=log)
    wait(lambda: judged(sessions) == 2, "the verdicts of the others", READY_S + JUDGED_S)
    with queue.connect(WorkerSettings()) as client:
        wait(lambda: queue.of_other_versions(client) == {2: 2}, "the messages to be moved", 20)
        assert (queue.depth(client), queue.oldest_waiting(client)) == (0, None)
    assert log.read_text(encoding="utf-8").count("messages of version 2 arrive") == 1
    assert "dropped 1 messages" in log.read_text(encoding="utf-8")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    with queue.connect(WorkerSettings()) as client:
        assert (client.hlen("unacked"), queue.of_other_versions(client)) == (0, {2: 2})

    queue.enqueue(ids[2:3])
    newer = "from workers import messages; messages.VERSION, messages.KNOWN = 2, (1, 2)"
    processes("worker", log=tmp_path / "newer.log", first=newer)
    wait(lambda: judged(sessions) == 6, "the verdicts of the newer worker", READY_S + JUDGED_S)
    with queue.connect(WorkerSettings()) as client:
        wait(lambda: client.hlen("unacked") == 0, "all to be acknowledged", 10)
        assert queue.of_other_versions(client) == {}


def test_a_broker_that_accepts_and_says_nothing_holds_no_station_for_ever(
    use_broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.celery import SOCKET_TIMEOUT_S, app

    options = app.conf.broker_transport_options
    assert options["socket_timeout"] == SOCKET_TIMEOUT_S <= 10
    monkeypatch.setitem(options, "socket_timeout", 1.0)
    queue.enqueue([UUID(int=1)])
    use_broker.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(queue.BrokerUnavailableError):
            queue.enqueue([UUID(int=2)])
    finally:
        use_broker.process.send_signal(signal.SIGCONT)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("beat",), "PYRAMIDION_HOME", "nothing-here"),
        (("beat",), "PYRAMIDION_BROKER_URL", "amqp://guest@127.0.0.1"),
        (("worker",), "PYRAMIDION_IMAGE_STORE_URL", "ftp://127.0.0.1/images"),
        (("worker",), "PYRAMIDION_MAP_BITS", "9"),
        (("worker",), "PYRAMIDION_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none"),
    ],
)
def test_a_process_that_cannot_work_says_so_and_ends(
    broker: Any,
    home: Path,
    processes: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    name: str,
    value: str,
) -> None:
    """Never on Celery's own defaults, and never "ready" while every batch would fail."""
    if name != "PYRAMIDION_HOME":
        monkeypatch.setenv("PYRAMIDION_BROKER_URL", broker.url)
    monkeypatch.setenv(name, str(tmp_path / value) if name == "PYRAMIDION_HOME" else value)
    log = tmp_path / "process.log"
    assert processes(*words, log=log).wait(60) == 1
    said = log.read_text(encoding="utf-8")
    assert "error:" in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("celerybeat-schedule*"))
