"""The bounds of the spool, met one at a time and together."""

from pathlib import Path
from threading import Timer
from typing import NamedTuple

import pytest

from capture.room import Room
from capture.settings import CaptureSettings


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def room(home: Path, **settings: int) -> Room:
    return Room(home.parent, CaptureSettings(**{"spool_min_free_bytes": 0, **settings}))


def test_the_bound_that_is_met_first_holds_the_source_up(home: Path) -> None:
    found = room(home, capture_ahead=4, spool_max_bytes=1000)
    found.occupy(1, 300)  # left by an earlier run
    assert found.take(600, 0)
    assert found.filled() == 0.9
    assert not found.take(200, 0)
    assert "PYRAMIDION_SPOOL_MAX_BYTES" in (found.why_full(200) or "")
    assert found.take(50, 0)
    assert found.take(50, 0)
    assert "PYRAMIDION_CAPTURE_AHEAD" in (found.why_full(0) or "")
    found.give_back(1, 300)
    assert found.take(200, 0)
    assert (found.images, found.bytes) == (4, 900)


def test_an_image_larger_than_the_bound_passes_alone(home: Path) -> None:
    found = room(home, spool_max_bytes=1000)
    assert found.take(5000, 0)
    assert not found.take(1, 0)
    found.give_back(1, 5000)
    assert found.take(1, 0)
    assert not found.take(5000, 0)


def test_a_disk_that_runs_out_is_room_that_runs_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capture.room.shutil.disk_usage", lambda _: Usage(10**9, 0, 5_000_000))
    assert room(home, spool_min_free_bytes=4_000_000).take(1_000_000, 0)
    full = room(home, spool_min_free_bytes=4_000_001)
    assert not full.take(1_000_000, 0)
    assert "5.0 MB free, and PYRAMIDION_SPOOL_MIN_FREE_BYTES" in (full.why_full(1_000_000) or "")


def test_the_source_goes_on_when_intake_is_done_with_something(home: Path) -> None:
    found = room(home, capture_ahead=1)
    assert found.take(1, 0)
    Timer(0.01, found.give_back, (1, 1)).start()
    assert found.take(1, 20), "woken, long before its patience ends"
