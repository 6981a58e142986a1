"""A station's spool: frames wait on its own disk until they are accepted, whatever breaks meanwhile."""

import fcntl
import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from capture.frames import DamagedFrameError, Frame, from_bytes, to_bytes
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

    def put(self, frame: Frame) -> Path:
        """Keep the frame and give its file; once it returns, the frame outlives a power cut.

        Raises SpoolError, with nothing half-written, where the disk is full or fails.
        """
        path = self.folder / f"{frame.id}{SUFFIX}"
        self._write(path.name, to_bytes(frame))
        return path

    def pending(self) -> list[Path]:
        """List the waiting frames, those captured first first (their ids begin with the time)."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def read(self, path: Path) -> Frame:
        """Read a waiting frame; raises DamagedFrameError, also where the disk can't give it back."""
        try:
            return from_bytes(path.read_bytes())
        except OSError as error:
            raise DamagedFrameError(f"it can't be read: {error.strerror}") from error

    def remove(self, path: Path) -> None:
        """Forget a frame that is accepted elsewhere. Losing this to a power cut is harmless.

        Raises SpoolError.
        """
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(f"can't let go of {path.name}", error) from error

    def set_aside(self, path: Path, reason: str, frame: Frame | None = None) -> Path:
        """Move a frame's image (the spool file itself, where it is damaged) to the folder of rejects.

        The reason stands beside it in NAME.reason.json. May be repeated. Raises SpoolError.
        """
        about: dict[str, object] = {"reason": reason}
        if frame is None:
            kept = path.name
        else:
            kept = f"{frame.id}-{_safe(Path(frame.name).name)}"
            about |= {
                "id": str(frame.id),
                "name": frame.name,
                "product": frame.product,
                "station": frame.station,
                "serial": frame.serial,
                "lot": frame.lot,
                "captured_at": frame.captured_at.isoformat(),
            }
        self._write(f"rejected/{kept}.reason.json", json.dumps(about, indent=2).encode("ascii") + b"\n")
        if frame is None:
            try:
                path.replace(self._rejected / kept)
            except FileNotFoundError:
                pass  # a person took it away
            except OSError as error:
                raise self._unusable(f"can't set {path.name} aside", error) from error
        else:
            self._write(f"rejected/{kept}", frame.data)
            self.remove(path)
        return self._rejected / kept

    def _write(self, name: str, content: bytes) -> None:
        if self._lock < 0:
            raise SpoolError(f"the spool {self.folder} was closed; open it anew")
        try:
            write_durably(self.folder, name, content)
        except OSError as error:
            raise self._unusable("can't be written to", error) from error

    def _unusable(self, what: str, error: OSError) -> SpoolError:
        return SpoolError(f"the spool {self.folder} {what}: {error.strerror}; {CURE}")


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
