"""`pyramidion status` as a plant's operator runs it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from capture.frames import Frame
from capture.settings import CaptureSettings
from capture.spool import Spool
from db.ids import uuid7
from workers import queue


def test_it_tells_of_queue_and_spools_and_goes_on_without_a_broker(
    run: Callable[..., Any], use_broker: Any, home: Path
) -> None:
    now = datetime.now(UTC)
    queue.enqueue([uuid7(now)], at=now)
    queue.move(2, [{"version": 2}], "of a newer station")
    frame = Frame(uuid7(now), "tile", "s1", None, None, None, now, "1", b"x" * 1000)
    with Spool(CaptureSettings().spool(), "s1") as spool:
        spool.put([frame])
    found = run("status", "--json").json()
    assert found["queue"]["messages"] == 1
    assert 0 <= found["queue"]["oldest_s"] < 60
    newer = "1 messages of version 2 wait for a"
    assert f"queue: {newer} worker of a newer release" in run("status").out
    assert f"1 messages waiting; {newer} newer worker" in " ".join(run("doctor").out.split())
    (left,) = found["spools"]
    assert (left["station"], left["frames"]) == ("s1", 1)
    assert left["bytes"] > 1000
    assert (found["stations"], found["waiting"]) == ([], 0)

    use_broker.kill()
    told = run("status")
    assert told.code == 0
    assert "nothing was captured within 10 minutes" in told.out
    assert "queue: not known" in told.out
    assert "spool s1: 1 frames" in told.out
