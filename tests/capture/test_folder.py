import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from capture.folder import FolderSource, NoFolderError, image_files
from capture.frames import Frame
from capture.images import Limits
from capture.intake import Refusal
from capture.sources import Candidate, Item, Skipped

LIMITS = Limits(10_000_000, 10_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


def source_of(folder: Path, **facts: object) -> FolderSource:
    return FolderSource(folder, "flange", "s1", **{"limits": LIMITS} | facts)  # type: ignore[arg-type]


def seen(items: list[Item]) -> tuple[list[Frame], list[Refusal], list[Skipped]]:
    read = [item.read() if isinstance(item, Candidate) else item for item in items]
    frames = [item for item in read if isinstance(item, Frame)]
    return (
        frames,
        [item for item in read if isinstance(item, Refusal)],
        [item for item in read if isinstance(item, Skipped)],
    )


def test_files_come_in_natural_order_with_folders_within(folder: Path, picture: Callable[..., bytes]) -> None:
    for name in ("part10.png", "part2.JPG", "b/part1.webp", "a2/x.bmp", "a10/x.tif", "part1.jpeg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(picture())
    names = [str(path.relative_to(folder)) for path in image_files(folder)]
    assert names == ["a2/x.bmp", "a10/x.tif", "b/part1.webp", "part1.jpeg", "part2.JPG", "part10.png"]


def test_hidden_and_unfinished_files_are_passed_over(folder: Path, picture: Callable[..., bytes]) -> None:
    for name in (".hidden.png", "a.png.part", "b.png~", "c.tmp", ".d/e.png", "._f.png", "good.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(picture())
    frames, refused, skipped = seen(list(source_of(folder).existing()))
    assert [Path(frame.name).name for frame in frames] == ["good.png"]
    assert refused == skipped == []


def test_other_files_are_skipped_and_say_why(folder: Path) -> None:
    (folder / "readme.txt").write_text("parts of Monday")
    (folder / "Thumbs").write_text("")
    frames, refused, skipped = seen(list(source_of(folder).existing()))
    assert frames == refused == []
    assert {Path(item.name).name: item.reason for item in skipped} == {
        "readme.txt": "no image: .txt",
        "Thumbs": "no image: no suffix",
    }


def test_what_cannot_be_read_is_refused_and_the_rest_goes_on(
    folder: Path, picture: Callable[..., bytes]
) -> None:
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    (folder / "folder.png" / "inner.png").write_bytes(picture())
    (folder / "huge.png").write_bytes(b"x" * 20_000)
    (folder / "vanishes.png").write_bytes(picture())
    (folder / "z.png").write_bytes(picture())
    os.mkfifo(folder / "pipe.png")  # opening it would wait forever
    items = list(source_of(folder, limits=Limits(10_000, 10_000)).existing())
    (folder / "vanishes.png").unlink()
    frames, refused, skipped = seen(items)
    assert [Path(frame.name).name for frame in frames] == ["inner.png", "z.png"]
    assert {Path(item.name).name: item.reason for item in refused} == {
        "dangling.png": "No such file or directory",
        "folder.png": "it is a folder with the name of an image",
        "huge.png": "20,000 bytes are more than the limit of 10,000; see PYRAMIDION_MAX_IMAGE_BYTES",
        "pipe.png": "it is no ordinary file",
        "vanishes.png": "No such file or directory",
    }
    assert skipped == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_without_permission_are_refused(
    folder: Path, picture: Callable[..., bytes]
) -> None:
    (folder / "secret.png").write_bytes(picture())
    (folder / "secret.png").chmod(0)
    (folder / "vault").mkdir(mode=0)
    _, refused, _ = seen(list(source_of(folder).existing()))
    assert [Path(item.name).name for item in refused] == ["secret.png", "vault"]
    (folder / "vault").chmod(0o700)


def test_a_file_that_changes_while_it_is_read_waits_for_later(
    folder: Path, picture: Callable[..., bytes]
) -> None:
    (folder / "a.png").write_bytes(picture())
    items = list(source_of(folder).existing())
    (folder / "a.png").write_bytes(picture() + picture())
    frames, refused, skipped = seen(items)
    assert frames == refused == []
    assert "being written" in skipped[0].reason


def test_the_same_file_is_the_same_inspection_until_it_changes(
    folder: Path, picture: Callable[..., bytes]
) -> None:
    path = folder / "a.png"
    path.write_bytes(picture())

    def id_of(station: str = "s1") -> object:
        (item,) = FolderSource(folder, "flange", station, LIMITS).existing()
        assert isinstance(item, Candidate)
        return item.id

    first = id_of()
    assert id_of() == first
    assert id_of("s2") != first
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    assert id_of() != first
    frames, _, _ = seen(list(source_of(folder).existing()))
    assert frames[0].captured_at.isoformat() == "2023-11-14T22:13:20.123456+00:00"


def test_the_serial_comes_from_the_name_when_asked(folder: Path, picture: Callable[..., bytes]) -> None:
    (folder / "SN-0042.v2.png").write_bytes(picture())
    frames, _, _ = seen(list(source_of(folder, serial_from_name=True, lot="L1", line="north").existing()))
    assert [(frame.serial, frame.lot, frame.line) for frame in frames] == [("SN-0042.v2", "L1", "north")]
    frames, _, _ = seen(list(source_of(folder).existing()))
    assert frames[0].serial is None


@pytest.mark.parametrize("seconds", [-86_400, 0, 300_000_000_000])
def test_absurd_times_of_change_stop_nothing(
    folder: Path, picture: Callable[..., bytes], seconds: int
) -> None:
    (folder / "a.png").write_bytes(picture())
    os.utime(folder / "a.png", (seconds, seconds))
    frames, refused, _ = seen(list(source_of(folder).existing()))
    assert len(frames) + len(refused) == 1


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, stop: Event) -> None:
    with pytest.raises(NoFolderError, match="nowhere"):
        list(source_of(tmp_path / "nowhere").existing())
    with pytest.raises(NoFolderError, match="nowhere"):
        next(source_of(tmp_path / "nowhere").watched(stop, poll_s=0.01, settle_s=0.01))


def test_a_watched_file_is_taken_once_and_only_when_complete(
    folder: Path, picture: Callable[..., bytes], stop: Event
) -> None:
    content = picture(size=(120, 90))
    (folder / "old.png").write_bytes(picture())
    written = threading.Event()

    def write_slowly() -> None:
        with (folder / "new.png").open("wb") as file:
            for start in range(0, len(content), len(content) // 12):
                file.write(content[start : start + len(content) // 12])
                file.flush()
                time.sleep(0.08)  # 1 s in all, several times as long as a file must stay unchanged
        written.set()

    writer = threading.Thread(target=write_slowly)
    writer.start()
    came: list[tuple[str, bytes, bool]] = []
    deadline = time.monotonic() + 20
    for item in source_of(folder).watched(stop, poll_s=0.05, settle_s=0.3):
        if isinstance(item, Candidate):
            frame = item.read()
            assert isinstance(frame, Frame)
            came.append((Path(frame.name).name, frame.data, written.is_set()))
        if len(came) == 2 and not stop.is_set():
            threading.Timer(0.5, stop.set).start()  # long enough for it to come again, if it would
        assert time.monotonic() < deadline
    writer.join(10)
    assert [name for name, _, _ in came] == ["old.png", "new.png"]
    assert came[1][1:] == (content, True)


def test_a_watched_folder_that_drops_out_is_waited_for(
    folder: Path, picture: Callable[..., bytes], stop: Event
) -> None:
    (folder / "a.png").write_bytes(picture())
    names: list[str] = []
    rounds = 0
    for item in source_of(folder).watched(stop, poll_s=0.02, settle_s=0):
        if isinstance(item, Candidate):
            names.append(Path(getattr(item.read(), "name")).name)  # noqa: B009
        if item is not None:
            continue
        rounds += 1
        if rounds == 2:
            folder.rename(folder.with_name("away"))
        if rounds == 4:
            (folder.with_name("away") / "b.png").write_bytes(picture())
            folder.with_name("away").rename(folder)
        if "b.png" in names or rounds > 200:
            stop.set()
    assert names == ["a.png", "b.png"]
