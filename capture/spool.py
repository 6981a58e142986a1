"""A station's spool: frames wait on its own disk until they are accepted, whatever breaks meanwhile."""

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote
from uuid import UUID

from capture.frames import Frame, frames_of, to_bytes
from db.durable import write_durably
from db.home import make_private

SUFFIX = ".frame"
CURE = "make room there, or set PYRAMIDION_SPOOL_FOLDER to a folder on another disk"


class SpoolError(Exception):
    """The spool can't be used; the message names the folder, the reason and the cure."""


class Spool:
    """One station's folder of waiting frames, held by one process at a time.

    The lock is the kernel's: it goes with its process, however that ends. Raises SpoolError where the folder
    can't be made, or where another process captures for the same station.
    """

    def __init__(self, root: Path, station: str) -> None:
        self.folder = root / folder_name(station)
        self._rejected = self.folder / "rejected"
        try:
            make_private(self._rejected)
            self._lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable("can't be used", error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            os.close(self._lock)
            raise SpoolError(
                f"the spool {self.folder} is in use by process {holder or '(unknown)'}: another capture "
                f"runs for station {station!r}. Stop it, or give this one another station or "
                "PYRAMIDION_SPOOL_FOLDER"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode("ascii"), 0)
        for leftover in (self.folder / "tmp").glob("*"):  # of a writer that was killed: never became a frame
            leftover.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have the spool; what waits stays."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def put(self, frames: Sequence[Frame]) -> Path:
        """Keep the frames in one file and give it; once it returns, they outlive a power cut.

        Raises SpoolError, with nothing half-written, where the disk is full or fails.
        """
        path = self.folder / f"{frames[0].id}.{len(frames)}{SUFFIX}"
        self._write(path.name, b"".join(map(to_bytes, frames)))
        return path

    def pending(self) -> list[Path]:
        """List the files of waiting frames, those captured first first (their ids begin with the time)."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def waiting(self) -> int:
        """Count the frames that wait."""
        return sum(map(number_in, self.pending()))

    def size(self) -> int:
        """Count the bytes of the files that wait."""
        return sum(map(size_of, self.pending()))

    def ids(self) -> frozenset[UUID]:
        """Give the ids of the frames that wait and can be read."""
        return frozenset(frame.id for path in self.pending() for frame in self.read(path)[0])

    def read(self, path: Path) -> tuple[list[Frame], str | None]:
        """Read a file of frames: those that are whole, and why others are not, None where all are."""
        try:
            frames, damage = frames_of(path.read_bytes())
        except OSError as error:
            return [], f"it can't be read: {error.strerror}"
        if damage is None and len(frames) != number_in(path):
            damage = f"it holds {len(frames)} frames, its name says {number_in(path)}"
        return frames, damage

    def remove(self, path: Path) -> None:
        """Forget frames that are accepted elsewhere. Losing this to a power cut is harmless.

        Raises SpoolError.
        """
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(f"can't let go of {path.name}", error) from error

    def set_aside(self, frame: Frame, reason: str) -> Path:
        """Keep a frame's image in the folder of rejects, with the reason beside it in NAME.reason.json.

        May be repeated. Raises SpoolError.
        """
        kept = f"{frame.id}-{_safe(Path(frame.name).name)}"
        about = {
            "reason": reason,
            "id": str(frame.id),
            "name": frame.name,
            "product": frame.product,
            "station": frame.station,
            "serial": frame.serial,
            "lot": frame.lot,
            "captured_at": frame.captured_at.isoformat(),
        }
        self._give_reason(kept, about)
        self._write(f"rejected/{kept}", frame.data)
        return self._rejected / kept

    def set_file_aside(self, path: Path, reason: str) -> Path:
        """Move a damaged file to the folder of rejects, as set_aside() does an image. Raises SpoolError."""
        self._give_reason(path.name, {"reason": reason})
        try:
            path.replace(self._rejected / path.name)
        except FileNotFoundError:
            pass  # a person took it away
        except OSError as error:
            raise self._unusable(f"can't set {path.name} aside", error) from error
        return self._rejected / path.name

    def _give_reason(self, kept: str, about: dict[str, str | None]) -> None:
        self._write(f"rejected/{kept}.reason.json", json.dumps(about, indent=2).encode("ascii") + b"\n")

    def _write(self, name: str, content: bytes) -> None:
        if self._lock < 0:
            raise SpoolError(f"the spool {self.folder} was closed; open it anew")
        try:
            write_durably(self.folder, name, content)
        except OSError as error:
            raise self._unusable("can't be written to", error) from error

    def _unusable(self, what: str, error: OSError) -> SpoolError:
        return SpoolError(f"the spool {self.folder} {what}: {error.strerror}; {CURE}")


def number_in(path: Path) -> int:
    """Give how many frames a file of the spool holds, by its name; 1 where that doesn't tell."""
    count = path.name.removesuffix(SUFFIX).rpartition(".")[2]
    return int(count) if count.isdecimal() else 1


def size_of(path: Path) -> int:
    """Give the size of a file of the spool in bytes; 0 where a person took it away."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def folder_name(station: str) -> str:
    """Give a folder name that is the station's alone, readable, and safe on every file system."""
    return _safe(station)


def _safe(name: str) -> str:
    """Give a file name for any text: different texts, different names; at most 140 characters."""
    plain = quote(name, safe=" ", errors="surrogatepass").replace(" ", "_")
    if plain == name and not plain.startswith(".") and len(plain) <= 120:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{digest}~{plain[-120:]}"
