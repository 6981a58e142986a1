from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from capture.frames import Frame
from capture.intake import REFUSED, Intake, Refusal
from db.inspections import UnknownProductError, counts
from db.settings import DatabaseSettings
from db.tables import Attempt, Event, Inspection
from workers.queue import BrokerUnavailableError


def refusal_events(sessions: sessionmaker[Session]) -> list[Event]:
    with sessions() as session:
        return list(session.scalars(select(Event).where(Event.kind == REFUSED).order_by(Event.id)))


def test_frames_become_images_rows_and_messages(
    intake: Intake, sessions: sessionmaker[Session], queued: Any, a_frame: Callable[..., Frame]
) -> None:
    frames = [a_frame(seed=seed, serial=f"n{seed}", lot="L7", line="north") for seed in range(5)]
    report = intake.take(frames)
    assert set(report.accepted) == {frame.id for frame in frames} == set(queued.ids)
    assert (report.known, report.refused, report.unannounced) == ((), (), 0)
    with sessions() as session:
        rows = {row.id: row for row in session.scalars(select(Inspection))}
    for frame in frames:
        row = rows[frame.id]
        assert intake.store.get(row.image_sha256) == frame.data
        assert (row.product, row.station, row.line) == ("flange", "s1", "north")
        assert (row.serial, row.lot, row.captured_at) == (frame.serial, "L7", frame.captured_at)
        assert (row.image_width, row.image_height, row.image_bytes) == (40, 30, len(frame.data))
        assert (row.image_format, row.received_at > row.captured_at) == ("PNG", True)


def test_taking_the_same_frames_again_changes_nothing(
    intake: Intake, sessions: sessionmaker[Session], queued: Any, a_frame: Callable[..., Frame]
) -> None:
    frames = [a_frame(seed=seed) for seed in range(3)]
    intake.take(frames[:2])
    report = intake.take([*frames, frames[2]])
    assert report.accepted == (frames[2].id,)
    assert set(report.known) == {frame.id for frame in frames[:2]}
    assert sorted(queued.ids) == sorted(frame.id for frame in frames)
    assert intake.known([frame.id for frame in frames]) == {frame.id for frame in frames}
    with sessions() as session:
        assert counts(session).accepted == 3


def test_a_refused_image_harms_no_neighbour_and_leaves_one_event(
    intake: Intake, sessions: sessionmaker[Session], a_frame: Callable[..., Frame]
) -> None:
    bad = a_frame(b"not an image at all", seed=8, name="/in/bad.png")
    for _ in range(3):
        report = intake.take([a_frame(seed=1), bad, a_frame(seed=2)])
        assert [(refusal.id, refusal.name) for refusal in report.refused] == [(bad.id, "/in/bad.png")]
    with sessions() as session:
        assert counts(session).accepted == 2
    events = refusal_events(sessions)
    assert [(event.subject, event.actor) for event in events] == [(str(bad.id), "station s1")]
    assert events[0].detail["name"] == "/in/bad.png"
    assert "not an image" in events[0].detail["reason"]


@pytest.mark.parametrize("serial", ["caf\udce9", "x" * 300, "nul\0"])
def test_a_serial_that_no_database_keeps_is_a_refusal(
    intake: Intake, sessions: sessionmaker[Session], a_frame: Callable[..., Frame], serial: str
) -> None:
    report = intake.take([a_frame(seed=1, serial=serial, name=f"{serial}.png"), a_frame(seed=2)])
    assert len(report.accepted) == 1
    assert "serial" in report.refused[0].reason
    assert len(refusal_events(sessions)) == 1


def test_files_that_never_were_frames_leave_an_event_too(
    intake: Intake, sessions: sessionmaker[Session]
) -> None:
    gone = Refusal(None, "/in/" + "long" * 100 + ".png", "No such file or directory", "flange", "s1")
    intake.refuse([gone])
    intake.refuse([gone])
    assert [event.detail["name"] for event in refusal_events(sessions)] == [gone.name]


def test_a_dead_broker_loses_nothing(
    intake: Intake, sessions: sessionmaker[Session], queued: Any, a_frame: Callable[..., Frame]
) -> None:
    queued.error = BrokerUnavailableError("no broker")
    report = intake.take([a_frame(seed=1), a_frame(seed=2)])
    assert (len(report.accepted), report.unannounced) == (2, 2)
    with sessions() as session:
        assert counts(session).pending == 2


def test_an_unknown_product_is_told_before_anything_is_kept(
    intake: Intake, sessions: sessionmaker[Session], queued: Any, a_frame: Callable[..., Frame]
) -> None:
    with pytest.raises(UnknownProductError, match=r"'flangee' \(known: flange\)"):
        intake.take([a_frame(seed=1), a_frame(seed=2, product="flangee")])
    with sessions() as session:
        assert counts(session).accepted == 0
    assert queued.ids == []


def test_images_are_kept_in_the_folder_of_the_settings(
    intake: Intake, database: DatabaseSettings, a_frame: Callable[..., Frame]
) -> None:
    frame = a_frame()
    intake.take([frame])
    blobs = [path for path in (database.home / "images" / "sha256").rglob("*") if path.is_file()]
    assert [Path(blob).read_bytes() for blob in blobs] == [frame.data]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_clock_that_is_off_is_told_of_and_delays_no_sweep(
    intake: Intake,
    sessions: sessionmaker[Session],
    a_frame: Callable[..., Frame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Fast(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(hours=1)

    monkeypatch.setattr("capture.intake.datetime", Fast)
    for seed in range(3):
        intake.take([a_frame(seed=seed)])
    monkeypatch.setattr("capture.intake.datetime", datetime)
    again = Intake(intake.sessions, intake.store, intake.enqueue, intake.limits)  # a new process
    for seed in range(3, 5):
        again.take([a_frame(seed=seed)])
    with sessions() as session:
        told = list(session.scalars(select(Event).where(Event.kind == "station.clock")))
        waiting = list(session.scalars(select(Attempt.waiting_since)))
    assert [(one.subject, round(one.detail["ahead_s"])) for one in told] == [("s1", 3600), ("s1", 0)]
    assert all(abs((datetime.now(UTC) - since).total_seconds()) < 60 for since in waiting)
