"""The thread that scores what can wait outlives what nobody foresaw."""

import itertools
import threading
from typing import Any

import pytest

from workers import background
from workers.background import Background


def test_what_nobody_foresaw_is_logged_and_tried_again_after_growing_pauses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "LOOKS_EVERY_S", 0.01)
    looks = itertools.count(1)
    looked_often = threading.Event()

    def broken() -> Any:
        if next(looks) == 4:
            looked_often.set()
        raise KeyError("nobody foresaw this")

    worker = Background(broken, lambda: False)
    pauses: list[float] = []
    waits = worker.spare.ends_within
    monkeypatch.setattr(worker.spare, "ends_within", lambda pause: (pauses.append(pause), waits(pause))[1])
    worker.start()
    assert looked_often.wait(20), "the thread has ended"
    worker.spare.end()
    worker.join(20)
    assert not worker.is_alive()
    assert pauses[:4] == sorted(pauses[:4])
    assert pauses[3] > 3 * pauses[0]
    assert "nobody foresaw this" in caplog.text
