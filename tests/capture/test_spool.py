import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.frames import Frame, frames_of, to_bytes
from capture.spool import Spool, SpoolError, folder_name

TEXT = st.text(max_size=30)
FRAMES = st.builds(
    Frame,
    id=st.uuids(),
    product=TEXT,
    station=TEXT,
    line=st.none() | TEXT,
    serial=st.none() | TEXT,
    lot=st.none() | TEXT,
    captured_at=st.datetimes(timezones=st.just(UTC)),
    name=TEXT | st.just("caf\udce9.png"),  # a file name that isn't UTF-8
    data=st.binary(max_size=300),
)


@given(st.lists(FRAMES, min_size=1, max_size=4))
def test_what_is_written_is_read(frames: list[Frame]) -> None:
    assert frames_of(b"".join(map(to_bytes, frames))) == (frames, None)


@given(st.lists(FRAMES, min_size=1, max_size=3), FRAMES, st.data())
def test_no_part_of_a_frame_passes_for_one(frames: list[Frame], last: Frame, data: st.DataObject) -> None:
    whole = to_bytes(last)
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    read, damage = frames_of(b"".join(map(to_bytes, frames)) + cut)
    assert read == frames
    assert damage is not None


@given(st.binary(max_size=200))
def test_garbage_is_no_frame(garbage: bytes) -> None:
    for content in (garbage, b"PYRAMIDION FRAME 1\n" + garbage):
        read, damage = frames_of(content)
        assert read == []
        assert damage is not None


def test_a_flipped_bit_in_the_image_is_noticed(a_frame: Callable[..., Frame]) -> None:
    content = bytearray(to_bytes(a_frame()))
    content[-5] ^= 1
    assert frames_of(bytes(content)) == ([], "the image's bytes were altered")


def test_a_time_without_zone_is_refused(a_frame: Callable[..., Frame]) -> None:
    with pytest.raises(ValueError, match="time zone"):
        a_frame(captured_at=datetime(2026, 5, 4))  # noqa: DTZ001


def test_frames_come_back_oldest_first(spool: Spool, a_frame: Callable[..., Frame]) -> None:
    frames = [a_frame(seed=seed) for seed in (3, 4, 5, 1, 2)]
    for some in (frames[:3], frames[3:]):
        spool.put(some)
        spool.put(some)  # again, as after a crash: still there once
    assert spool.waiting() == 5
    assert spool.ids() == {frame.id for frame in frames}
    assert [spool.read(path) for path in spool.pending()] == [(frames[3:], None), (frames[:3], None)]
    for path in spool.pending():
        spool.remove(path)
    assert spool.pending() == []


def test_a_file_that_lost_a_whole_frame_is_noticed(spool: Spool, a_frame: Callable[..., Frame]) -> None:
    path = spool.put([a_frame(seed=1), a_frame(seed=2)])
    path.write_bytes(to_bytes(a_frame(seed=1)))
    assert spool.read(path) == ([a_frame(seed=1)], "it holds 1 frames, its name says 2")


def test_waiting_frames_outlive_the_process(tmp_path: Path, a_frame: Callable[..., Frame]) -> None:
    with Spool(tmp_path, "s1") as spool:
        spool.put([a_frame()])
    with Spool(tmp_path, "s1") as spool:
        assert [spool.read(path) for path in spool.pending()] == [([a_frame()], None)]


def test_leftovers_of_a_killed_writer_go(tmp_path: Path) -> None:
    with Spool(tmp_path, "s1") as spool:
        (spool.folder / "tmp").mkdir()
        (spool.folder / "tmp" / "half").write_bytes(b"PYRAMIDION")
    with Spool(tmp_path, "s1") as spool:
        assert list((spool.folder / "tmp").iterdir()) == []
        assert spool.pending() == []


def test_a_rejected_image_lies_beside_its_reason(spool: Spool, a_frame: Callable[..., Frame]) -> None:
    frame = a_frame(b"no image", name="/line/3/part 7.png", serial="7")
    kept = spool.set_aside(frame, "not an image")
    assert spool.set_aside(frame, "not an image") == kept  # again, as after a crash
    assert kept.read_bytes() == b"no image"
    assert kept.name.endswith(".png")
    reason = json.loads(Path(f"{kept}.reason.json").read_text())
    assert reason["reason"] == "not an image"
    assert (reason["name"], reason["serial"], UUID(reason["id"])) == ("/line/3/part 7.png", "7", frame.id)


def test_one_station_has_one_capture_at_a_time(tmp_path: Path) -> None:
    held = pytest.raises(SpoolError, match=f"process {os.getpid()}.*'s1'")
    with Spool(tmp_path, "s1"), Spool(tmp_path, "s2"), held:
        Spool(tmp_path, "s1")
    Spool(tmp_path, "s1").close()


def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    code = """
import pathlib, sys, time
from capture.spool import Spool
spool = Spool(pathlib.Path(sys.argv[1]), "s1")
print("held", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(SpoolError, match=str(process.pid)):
            Spool(tmp_path, "s1")
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
    Spool(tmp_path, "s1").close()


@given(st.lists(st.text(min_size=1, max_size=255), min_size=2, max_size=8, unique=True))
def test_stations_never_share_a_folder(stations: list[str]) -> None:
    names = [folder_name(station) for station in stations]
    assert len(set(names)) == len(stations)
    for name in names:
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")
        assert 0 < len(name.encode()) <= 140


def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    tmp_path: Path, a_frame: Callable[..., Frame]
) -> None:
    # A limit on the size of files stands in for a full disk: the kernel refuses in the middle of the write.
    code = """
import pathlib, resource, signal, sys
from capture.frames import frames_of
from capture.spool import Spool, SpoolError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(pathlib.Path(sys.argv[1]), "s1")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    spool.put(frames_of(pathlib.Path(sys.argv[2]).read_bytes())[0])
except SpoolError as error:
    print(error)
"""
    source = tmp_path / "frame"
    source.write_bytes(to_bytes(a_frame(b"x" * 5000)))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "spool"), str(source)],
        capture_output=True,
        check=True,
        timeout=30,
    )
    message = done.stdout.decode()
    assert str(tmp_path / "spool" / "s1") in message
    assert os.strerror(errno.EFBIG) in message
    assert "PYRAMIDION_SPOOL_FOLDER" in message
    written = [path for path in (tmp_path / "spool").rglob("*") if path.is_file() and path.name != ".lock"]
    assert written == []


def test_a_spool_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolError, match="PYRAMIDION_SPOOL_FOLDER"):
        Spool(tmp_path / "spool", "s1")
