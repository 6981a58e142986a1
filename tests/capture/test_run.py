import json
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from capture.folder import FolderSource, NoFolderError
from capture.frames import Frame
from capture.intake import REFUSED, Intake
from capture.run import Progress, run
from capture.settings import CaptureSettings
from capture.sources import Item
from capture.spool import Spool, SpoolError
from db import tables
from db.inspections import UnknownProductError, counts
from db.settings import DatabaseSettings

Picture = Callable[..., bytes]


@pytest.fixture
def settings(home: Path) -> CaptureSettings:
    return CaptureSettings(poll_s=0.05, settle_s=0.1, retry_max_s=0.3)


@pytest.fixture
def folder(tmp_path: Path, picture: Picture) -> Path:
    """Twenty good images, and some of what else lies in folders."""
    made = tmp_path / "in"
    made.mkdir()
    for number in range(20):
        (made / f"part{number}.png").write_bytes(picture(seed=number))
    (made / "cut.jpg").write_bytes(picture("JPEG")[:-100])
    (made / "empty.bmp").write_bytes(b"")
    (made / "text.png").write_text("no image")
    (made / "notes.txt").write_text("Monday")
    (made / "gone.png").symlink_to("nowhere")
    return made


def of(folder: Path, intake: Intake) -> FolderSource:
    return FolderSource(folder, "flange", "s1", intake.limits)


def numbers(progress: Progress) -> dict[str, int]:
    return {name: value for name, value in vars(progress).items() if isinstance(value, int) and value}


def accepted(sessions: sessionmaker[Session]) -> list[str]:
    with sessions() as session:
        return sorted(session.scalars(select(tables.Inspection.image_sha256)))


def test_a_folder_is_captured_and_captured_again_without_effect(
    folder: Path,
    intake: Intake,
    spool: Spool,
    settings: CaptureSettings,
    sessions: sessionmaker[Session],
    stop: Event,
) -> None:
    told: list[Progress] = []
    first = run(of(folder, intake).existing(), spool, intake, settings, stop=stop, on_progress=told.append)
    assert numbers(first) == {"accepted": 20, "refused": 4, "skipped": 1}
    assert {Path(one.name).name for one in first.left_out} == {
        "cut.jpg", "empty.bmp", "text.png", "notes.txt", "gone.png"
    }  # fmt: skip
    assert numbers(told[-1]) == numbers(first)
    rejected = {path.name.split("-", 5)[-1] for path in (spool.folder / "rejected").iterdir()}
    assert rejected == {
        name + end for name in ("cut.jpg", "empty.bmp", "text.png") for end in ("", ".reason.json")
    }

    again = run(of(folder, intake).existing(), spool, intake, settings, stop=stop)
    assert numbers(again) == {"known": 20, "refused": 4, "skipped": 1}
    assert accepted(sessions) == sorted(
        sha256((folder / f"part{number}.png").read_bytes()).hexdigest() for number in range(20)
    )
    with sessions() as session:
        assert len(list(session.scalars(select(tables.Event).where(tables.Event.kind == REFUSED)))) == 4


def test_a_damaged_spool_file_is_set_aside_and_the_others_are_taken(
    intake: Intake, spool: Spool, settings: CaptureSettings, a_frame: Callable[..., Frame], stop: Event
) -> None:
    for seed in range(3):
        spool.put([a_frame(seed=seed)])
    middle = spool.pending()[1]
    middle.write_bytes(middle.read_bytes()[:-7])
    (spool.folder / "garbage.frame").write_bytes(b"\0" * 4096)
    progress = run([], spool, intake, settings, stop=stop)
    assert numbers(progress) == {"recovered": 2, "refused": 2}
    assert spool.pending() == []
    reason = json.loads((spool.folder / "rejected" / f"{middle.name}.reason.json").read_text())["reason"]
    assert "damaged" in reason
    assert (spool.folder / "rejected" / "garbage.frame").read_bytes() == b"\0" * 4096


def test_an_unavailable_image_store_is_waited_for_while_the_spool_fills(
    database: DatabaseSettings,
    intake: Intake,
    spool: Spool,
    settings: CaptureSettings,
    a_frame: Callable[..., Frame],
    sessions: sessionmaker[Session],
    stop: Event,
) -> None:
    images = database.home / "images"
    images.rename(images.with_name("away"))
    images.write_text("a file in the way")
    said: list[str] = []

    def source() -> Iterator[Item]:
        for seed in range(8):
            yield a_frame(seed=seed)
        wait_until(lambda: said, 10)
        time.sleep(0.8)  # several attempts long
        assert spool.waiting() == 8
        images.unlink()
        images.with_name("away").rename(images)

    progress = run(source(), spool, intake, settings, stop=stop, say=said.append)
    assert numbers(progress) == {"accepted": 8}
    assert len(accepted(sessions)) == 8
    assert [("can't be used" in line, "back" in line) for line in said] == [(True, True), (False, True)]


def test_an_unavailable_database_is_waited_for(
    database: DatabaseSettings,
    intake: Intake,
    spool: Spool,
    settings: CaptureSettings,
    a_frame: Callable[..., Frame],
    sessions: sessionmaker[Session],
    stop: Event,
    out_of_reach: Callable[[], Callable[[], None]],
) -> None:
    give_back = out_of_reach()
    said: list[str] = []
    threading.Thread(target=lambda: (wait_until(lambda: said, 20), time.sleep(0.5), give_back())).start()
    progress = run(
        [a_frame(seed=seed) for seed in range(5)], spool, intake, settings, stop=stop, say=said.append
    )
    assert numbers(progress) == {"accepted": 5}
    assert len(accepted(sessions)) == 5
    assert said[0].startswith("the database can't be used")
    assert len(said) == 2


@pytest.fixture
def out_of_reach(
    request: pytest.FixtureRequest, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Callable[[], None]]:
    """Make the database unavailable, and give what makes it available again."""
    url = database.url()
    if url.get_backend_name() == "sqlite":
        import sqlite3

        # Sessions of the test wait 30 s for a lock; the pool's connections are told to give up at once.
        engine = request.getfixturevalue("engine")
        from sqlalchemy import event

        event.listen(engine, "checkout", lambda raw, *_: raw.execute("PRAGMA busy_timeout = 50"))

        def lock() -> Callable[[], None]:
            other = sqlite3.connect(str(url.database), isolation_level=None, check_same_thread=False)
            other.execute("BEGIN IMMEDIATE")

            def unlock() -> None:
                other.rollback()
                other.close()

            return unlock

        return lock

    import psycopg

    server = request.getfixturevalue("postgres_server")

    def allow(answer: str) -> None:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS {answer}")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (url.database,)
            )

    def shut() -> Callable[[], None]:
        allow("false")
        return lambda: allow("true")

    return shut


def test_a_part_after_a_pause_is_taken_at_once_and_those_that_follow_it_closely_together(
    intake: Intake,
    spool: Spool,
    settings: CaptureSettings,
    a_frame: Callable[..., Frame],
    stop: Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings.model_copy(update={"intake_apart_s": 60.0})  # the source's end ends the wait
    taken: list[tuple[float, int]] = []
    take = Intake.take
    given = time.monotonic()

    def note(self: Intake, frames: list[Frame], *others: Any) -> Any:
        taken.append((time.monotonic() - given, len(frames)))
        return take(self, frames, *others)

    def one_by_one() -> Iterator[Item]:
        yield a_frame(seed=0)
        deadline = time.monotonic() + 10
        while not taken and time.monotonic() < deadline:
            time.sleep(0.01)
        for seed in range(1, 6):
            yield a_frame(seed=seed)
            time.sleep(0.05)  # longer than spooling waits

    monkeypatch.setattr(Intake, "take", note)
    run(one_by_one(), spool, intake, settings, stop=stop)
    assert [number for _, number in taken] == [1, 5]
    assert taken[0][0] < 30


def test_a_stop_leaves_the_rest_in_the_spool_for_the_next_run(
    folder: Path,
    intake: Intake,
    spool: Spool,
    sessions: sessionmaker[Session],
    home: Path,
    stop: Event,
) -> None:
    settings = CaptureSettings(intake_batch=4)

    def halt(progress: Progress) -> None:
        if progress.accepted >= 4:
            stop.set()

    first = run(of(folder, intake).existing(), spool, intake, settings, stop=stop, on_progress=halt)
    assert 4 <= first.accepted < 20
    assert first.waiting == spool.waiting()
    second = run(of(folder, intake).existing(), spool, intake, settings, stop=Event())
    assert 1 <= second.recovered <= first.waiting
    # Each file is counted once, wherever it was found.
    assert (second.known + second.recovered + second.accepted, second.skipped) == (20, 1)
    assert second.refused == 4
    assert len(accepted(sessions)) == 20 == len(set(accepted(sessions)))
    assert spool.pending() == []


def test_a_stop_ends_the_waiting_for_a_store(
    database: DatabaseSettings,
    intake: Intake,
    spool: Spool,
    settings: CaptureSettings,
    a_frame: Callable[..., Frame],
    stop: Event,
) -> None:
    images = database.home / "images"
    images.rename(images.with_name("away"))
    images.write_text("a file in the way")
    progress = run([a_frame()], spool, intake, settings, stop=stop, say=lambda _: stop.set())
    assert numbers(progress) == {"waiting": 1, "waiting_bytes": spool.size()}


@pytest.mark.parametrize(
    ("bound", "fills", "full"),
    [
        (
            "images",
            "fills: 9 of at most 10 images",
            "10 images wait in it, as many as PYRAMIDION_CAPTURE_AHEAD",
        ),
        (
            "bytes",
            "at most 0.0 MB",
            "wait in it, and the next of 0.0 MB is more than PYRAMIDION_SPOOL_MAX_BYTES",
        ),
        ("disk", None, "keeps 0.0 MB"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_source_is_held_up_before_the_spool_overflows(
    database: DatabaseSettings,
    intake: Intake,
    spool: Spool,
    a_frame: Callable[..., Frame],
    stop: Event,
    monkeypatch: pytest.MonkeyPatch,
    sessions: sessionmaker[Session],
    bound: str,
    fills: str | None,
    full: str,
) -> None:
    """Whichever bound is met first, what an earlier run left counts, and in the end nothing is lost."""
    images = database.home / "images"
    images.rename(images.with_name("away"))
    images.write_text("a file in the way")
    monkeypatch.setattr("capture.feed._ALARM_S", -1)  # told at once
    frames = [a_frame(seed=seed) for seed in range(30)]
    left, size = spool.put(frames[:3]).stat().st_size, len(frames[0].data)
    disk = shutil.disk_usage(spool.folder)

    def usage(_: Path) -> Any:
        return disk._replace(free=10 * size - spool.size())  # what is written is not free any more

    if bound == "disk":
        monkeypatch.setattr("capture.room.shutil.disk_usage", usage)
    settings = CaptureSettings(
        capture_ahead=10 if bound == "images" else 1000,
        spool_max_bytes=left + 7 * size + 100 if bound == "bytes" else 10**9,
        spool_min_free_bytes=size if bound == "disk" else 0,
        image_store_min_free_bytes=0,
        intake_batch=1,
        retry_max_s=0.2,
    )
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if "is full" in text:
            stop.set()

    held = run(iter(frames[3:]), spool, intake, settings, stop=stop, say=say)
    assert held.waiting == spool.waiting() <= 10
    assert (held.waiting_bytes, held.accepted) == (spool.size(), 0)
    told = [line for line in said if "can't be used" not in line]
    assert [line for line in told if "fills" in line] == told[:-1]
    assert len(told) == (1 if fills is None else 2)
    assert fills is None or fills in told[0]
    assert full in told[-1]

    monkeypatch.undo()
    images.unlink()
    images.with_name("away").rename(images)
    after = run(iter(frames[held.waiting :]), spool, intake, CaptureSettings(), stop=Event())
    assert after.recovered == held.waiting
    assert (after.waiting, len(accepted(sessions))) == (0, 30)


def test_errors_of_the_source_come_after_what_it_gave(
    folder: Path,
    intake: Intake,
    spool: Spool,
    settings: CaptureSettings,
    a_frame: Callable[..., Frame],
    stop: Event,
) -> None:
    def source() -> Iterator[Item]:
        yield a_frame(seed=1)
        yield from of(folder / "nowhere", intake).existing()

    with pytest.raises(NoFolderError, match="nowhere"):
        run(source(), spool, intake, settings, stop=stop)
    assert intake.known([a_frame(seed=1).id])
    assert stop.is_set()


def test_a_full_disk_ends_the_capture_and_what_was_drawn_is_taken(
    intake: Intake, spool: Spool, settings: CaptureSettings, a_frame: Callable[..., Frame], stop: Event
) -> None:
    def source() -> Iterator[Item]:
        yield a_frame(seed=1)
        wait_until(lambda: intake.known([a_frame(seed=1).id]), 10)
        (spool.folder / "tmp").rename(spool.folder / "gone")  # the disk drops out
        (spool.folder / "tmp").write_text("")
        yield a_frame(seed=2)

    with pytest.raises(SpoolError, match=str(spool.folder)):
        run(source(), spool, intake, settings, stop=stop)
    assert intake.known([a_frame(seed=1).id, a_frame(seed=2).id]) == {
        a_frame(seed=seed).id for seed in (1, 2)
    }


def test_an_unknown_product_ends_the_capture_and_keeps_the_frames(
    intake: Intake, spool: Spool, settings: CaptureSettings, a_frame: Callable[..., Frame], stop: Event
) -> None:
    with pytest.raises(UnknownProductError):
        run([a_frame(product="unheard-of")], spool, intake, settings, stop=stop)
    assert spool.waiting() == 1


def test_a_watched_folder_is_captured_as_it_fills(
    tmp_path: Path,
    intake: Intake,
    spool: Spool,
    settings: CaptureSettings,
    picture: Picture,
    sessions: sessionmaker[Session],
    stop: Event,
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = of(folder, intake).watched(stop, poll_s=0.05, settle_s=0.15)
    results: list[Progress] = []
    thread = threading.Thread(target=lambda: results.append(run(source, spool, intake, settings, stop=stop)))
    thread.start()
    (folder / "a.png").write_bytes(picture(seed=1))
    wait_until(lambda: len(accepted(sessions)) == 1, 20)
    (folder / "lot2").mkdir()
    (folder / "lot2" / "b.png").write_bytes(picture(seed=2))
    (folder / "c.png").write_bytes(b"")
    wait_until(lambda: len(accepted(sessions)) == 2, 20)
    wait_until(lambda: list((spool.folder / "rejected").iterdir()), 20)
    stop.set()
    thread.join(20)
    assert numbers(results[0]) == {"accepted": 2, "refused": 1}


def test_killed_anywhere_each_file_becomes_exactly_one_inspection(
    folder: Path,
    intake: Intake,
    sessions: sessionmaker[Session],
    picture: Picture,
    processes: Callable[..., Any],
    broker: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("PYRAMIDION_BROKER_URL", broker.url)
    monkeypatch.setenv("PYRAMIDION_INTAKE_BATCH", "8")
    for number in range(20, 150):
        (folder / f"part{number}.png").write_bytes(picture(seed=number))
    words = ("capture", str(folder), "--product", "flange", "--station", "s1", "--serial-from-name", "--json")
    frames = CaptureSettings().spool() / "s1"
    chance = random.Random(4)
    for _ in range(5):
        have, there = len(accepted(sessions)), {*frames.glob("*.frame")}
        more = chance.randrange(0, 25)
        process = processes(*words)
        if more:
            wait_until(lambda have=have, more=more: len(accepted(sessions)) >= have + more, 30)
        else:
            wait_until(lambda there=there: {*frames.glob("*.frame")} - there, 30)
        time.sleep(chance.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
    assert 0 < len(accepted(sessions)) < 150, "no run was killed in the middle"

    for _ in range(2):
        log = tmp_path / "capture.log"
        log.unlink(missing_ok=True)
        assert processes(*words, log=log).wait(60) == 0
        said = log.read_text(encoding="utf-8")
        report = json.loads(said[said.index("{") :])
        assert (report["refused"], report["skipped"], report["in_spool"]) == (4, 1, 0)
    assert (report["accepted"], report["recovered"], report["known"]) == (0, 0, 150)
    hashes = sorted(sha256((folder / f"part{number}.png").read_bytes()).hexdigest() for number in range(150))
    assert accepted(sessions) == hashes
    with sessions() as session:
        serials = list(session.scalars(select(tables.Inspection.serial)))
        assert sorted(serials) == sorted(f"part{number}" for number in range(150))  # type: ignore[type-var]
        assert counts(session).accepted == 150
        events = session.scalars(select(tables.Event).where(tables.Event.kind == REFUSED))
        names = sorted(Path(event.detail["name"]).name for event in events)
    assert names == ["cut.jpg", "empty.bmp", "gone.png", "text.png"]
    assert [intake.store.get(one) for one in hashes]  # every image is there, whole
    assert list(frames.glob("*.frame")) == []


def wait_until(condition: Callable[[], Any], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
