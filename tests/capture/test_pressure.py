"""Intake slows down by itself when the line behind it is too far behind."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Timer
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from capture.frames import Frame
from capture.intake import Intake
from capture.run import run
from capture.settings import CaptureSettings
from capture.spool import Spool
from db import inspections, models
from db.imagestore import ImageStore


@pytest.fixture
def backlog(
    sessions: sessionmaker[Session], intake: Intake, a_frame: Callable[..., Frame]
) -> Callable[[], None]:
    """An image of May waits for a verdict, of a product that has a model; gives what ends that."""
    manifest = "{}"
    version = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with sessions.begin() as session:
        models.register(session, version, "flange", manifest, "b" * 64, 10)
        models.set_champion(session, "flange", version, actor="test", why="test")
        row = vars(inspections.NewInspection(**_row(a_frame(seed=50))))
        inspections.accept(session, [inspections.NewInspection(**row)])

    def judge() -> None:
        with sessions.begin() as session:
            session.connection().exec_driver_sql("DELETE FROM attempts")

    return judge


def _row(frame: Frame) -> dict[str, Any]:
    names = ("id", "product", "station", "line", "serial", "lot", "captured_at")
    facts: dict[str, Any] = {name: getattr(frame, name) for name in names}
    return facts | {
        "received_at": frame.captured_at,
        "image_sha256": frame.sha256,
        "image_key": "k",
        "image_bytes": 1,
        "image_width": 1,
        "image_height": 1,
        "image_format": "PNG",
    }


def test_an_old_backlog_slows_intake_down_and_stops_nothing(
    intake: Intake, spool: Spool, a_frame: Callable[..., Frame], stop: Event, backlog: Callable[[], None]
) -> None:
    settings = CaptureSettings(
        intake_batch=1, backlog_max_s=(datetime.now(UTC) - a_frame().captured_at).total_seconds() / 2
    )
    said: list[str] = []
    begun = time.monotonic()
    progress = run([a_frame(seed=s) for s in range(2)], spool, intake, settings, stop=stop, say=said.append)
    assert progress.accepted == 2
    assert time.monotonic() - begun > 2, "each batch is held up by about two seconds"
    assert len(said) == 1
    assert "PYRAMIDION_BACKLOG_MAX_S" in said[0]
    assert "pyramidion status" in said[0]


def test_it_goes_on_at_full_speed_once_the_backlog_is_judged(
    intake: Intake, spool: Spool, a_frame: Callable[..., Frame], stop: Event, backlog: Callable[[], None]
) -> None:
    settings = CaptureSettings(backlog_max_s=1e6)  # the longest pause
    said: list[str] = []

    def source() -> Any:
        yield a_frame(seed=1)
        while not said:
            time.sleep(0.05)
        backlog()
        yield a_frame(seed=2)

    assert run(source(), spool, intake, settings, stop=stop, say=said.append).accepted == 2
    assert "slows down" in said[0]
    assert said[1:] == ["intake goes on as fast as it can"]


def test_without_a_model_nobody_is_behind(
    intake: Intake, spool: Spool, a_frame: Callable[..., Frame], sessions: sessionmaker[Session], stop: Event
) -> None:
    settings = CaptureSettings(backlog_max_s=0.001, intake_batch=1)
    said: list[str] = []
    run([a_frame(seed=s) for s in range(3)], spool, intake, settings, stop=stop, say=said.append)
    assert said == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_store_with_too_little_room_is_waited_for_and_the_spool_keeps_the_images(
    intake: Intake,
    spool: Spool,
    a_frame: Callable[..., Frame],
    stop: Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = {"free": 10}
    monkeypatch.setattr(ImageStore, "free_bytes", lambda _: room["free"])
    said: list[str] = []
    kept: list[int] = []

    def make_room() -> None:
        kept.append(spool.waiting())
        room["free"] = 10**12

    Timer(1.5, make_room).start()
    frames = [a_frame(seed=s) for s in range(5)]
    progress = run(frames, spool, intake, CaptureSettings(), stop=stop, say=said.append)
    assert progress.accepted == 5
    assert kept == [5], "they waited in the spool"
    assert "PYRAMIDION_IMAGE_STORE_MIN_FREE_BYTES" in said[0]
    assert "goes on" in said[1]
