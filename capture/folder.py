"""The folder source: image files that are there, or that appear while it is watched."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event
from uuid import UUID

from capture.frames import Frame
from capture.images import Limits, too_many_bytes
from capture.intake import Refusal
from capture.sources import Candidate, Item, Skipped
from capture.watch import Watch
from db.ids import EPOCH, uuid7
from db.text import UnkeepableNameError, require_name

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp"})
TEMPORARY_SUFFIXES = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp", "~")


class NoFolderError(Exception):
    """The folder to capture from can't be listed."""


@dataclass(frozen=True)
class Oddity:
    """What lies in a folder of images and can't be taken: refused if it should be, else skipped."""

    path: Path
    reason: str
    refused: bool


@dataclass(frozen=True)
class FolderSource:
    """Images of `folder` and of all folders in it, as frames of one product at one station.

    The same file, unchanged, is the same inspection whenever it is captured: its id is made from product,
    station, absolute path, size and time of change, and that time is when it counts as captured.
    """

    folder: Path
    product: str
    station: str
    limits: Limits
    line: str | None = None
    lot: str | None = None
    serial_from_name: bool = False

    def existing(self) -> Iterator[Item]:
        """Give what is there now, in natural order; raises NoFolderError."""
        for found in walk(self.folder):
            yield self._item(found)

    def watched(self, stop: Event, *, poll_s: float, settle_s: float) -> Iterator[Item]:
        """Give what is there and what appears, once it stayed unchanged for `settle_s`, until `stop` is set.

        It looks again and again instead of being notified, since network drives don't notify. Raises
        NoFolderError where the folder isn't there at the start; one that goes away later is waited for.
        """
        watch = Watch(settle_s)
        ready: list[Path | Oddity] = [found for found in walk(self.folder) if watch.is_ready(*_look(found))]
        while not stop.is_set():
            for found in ready:
                yield self._item(found)
            yield None
            stop.wait(poll_s)
            try:
                ready = [found for found in walk(self.folder) if watch.is_ready(*_look(found))]
            except NoFolderError:
                ready = []  # a drive that dropped out comes back
            else:
                watch.forget_absent()

    def _item(self, found: Path | Oddity) -> Item:
        if isinstance(found, Oddity):
            return (
                self._refusal(found.path, found.reason) if found.refused else _skip(found.path, found.reason)
            )
        try:
            facts = found.stat()
        except OSError as error:
            return self._refusal(found, _why(error))
        if not stat.S_ISREG(facts.st_mode):
            return self._refusal(found, "it is no ordinary file")
        try:
            require_name("serial", found.stem if self.serial_from_name else None)
        except UnkeepableNameError as error:
            return self._refusal(found, str(error))
        try:
            captured_at = max(EPOCH + timedelta(microseconds=facts.st_mtime_ns // 1000), EPOCH)
            id_ = uuid7(captured_at, self._entropy(found, facts))
        except OverflowError:
            return self._refusal(found, f"its time of change, {facts.st_mtime:.0f} s after 1970, is no date")
        return Candidate(id_, lambda: self._read(found, facts, captured_at, id_))

    def _read(
        self, path: Path, facts: os.stat_result, captured_at: datetime, id_: UUID
    ) -> Frame | Refusal | Skipped:
        if facts.st_size > self.limits.max_bytes:
            return self._refusal(path, too_many_bytes(facts.st_size, self.limits), id_)
        try:
            with path.open("rb") as file:
                data = file.read(self.limits.max_bytes + 1)
                now = os.fstat(file.fileno())
        except OSError as error:
            return self._refusal(path, _why(error))
        if (now.st_size, now.st_mtime_ns) != (facts.st_size, facts.st_mtime_ns) or len(data) != facts.st_size:
            return _skip(
                path, "it is being written; it is taken once complete, by --watch or another capture"
            )
        return Frame(
            id=id_,
            product=self.product,
            station=self.station,
            line=self.line,
            serial=path.stem if self.serial_from_name else None,
            lot=self.lot,
            captured_at=captured_at,
            name=str(path),
            data=data,
        )

    def _entropy(self, path: Path, facts: os.stat_result) -> bytes:
        what = (self.product, self.station, os.path.abspath(path), facts.st_size, facts.st_mtime_ns)  # noqa: PTH100
        return hashlib.sha256("\0".join(map(str, what)).encode("utf-8", "surrogateescape")).digest()

    def _refusal(self, path: Path, reason: str, id_: UUID | None = None) -> Refusal:
        return Refusal(id_, str(path), reason, self.product, self.station)


def image_files(folder: Path) -> list[Path]:
    """List the image files of a folder and its folders, in natural order; raises NoFolderError."""
    return [found for found in walk(folder) if isinstance(found, Path)]


def walk(folder: Path) -> Iterator[Path | Oddity]:
    """Give the image files, told by their suffix, in natural order, folders within at their place.

    Hidden and temporary files are passed over; what else can't be taken comes as an Oddity.
    Raises NoFolderError where `folder` itself can't be listed.
    """
    try:
        entries = _entries(folder)
    except OSError as error:
        raise NoFolderError(f"can't capture from {folder}: {_why(error)}; name a folder of images") from error
    yield from _take(entries)


def _take(entries: list[os.DirEntry[str]]) -> Iterator[Path | Oddity]:
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name.lower().endswith(TEMPORARY_SUFFIXES):
            continue
        if entry.is_dir(follow_symlinks=False):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                yield Oddity(path, "it is a folder with the name of an image", refused=True)
            try:
                inner = _entries(path)
            except OSError as error:
                yield Oddity(path, f"the folder can't be listed: {_why(error)}", refused=True)
            else:
                yield from _take(inner)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path
        elif entry.is_symlink() and path.is_dir():
            yield Oddity(path, "links to folders are not followed", refused=False)
        else:
            yield Oddity(path, f"no image: {path.suffix or 'no suffix'}", refused=False)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: _natural(entry.name))


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Order part2 before part10; the name itself decides between 1.png and 01.png."""
    pieces = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(0, int(digits), "") if digits else (1, 0, text.casefold()) for digits, text in pieces], name


def _look(found: Path | Oddity) -> tuple[str, object, bool]:
    """Give path, what changes when it changes, and whether it must settle before it is taken."""
    if isinstance(found, Oddity):
        return str(found.path), found.reason, False
    try:
        facts = found.stat()
    except OSError as error:
        return str(found), _why(error), True
    return str(found), (facts.st_size, facts.st_mtime_ns), True


def _skip(path: Path, reason: str) -> Skipped:
    return Skipped(str(path), reason)


def _why(error: OSError) -> str:
    return error.strerror or str(error)
