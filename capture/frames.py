"""A frame: one image on its way from a source to the database, and the form in which it waits on disk."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

MAGIC = b"PYRAMIDION FRAME 1\n"


class DamagedFrameError(Exception):
    """A spool file that isn't the frame that was written; the message is the reason."""


@dataclass(frozen=True)
class Frame:
    """`data` is the image file as it came; `name` is what people know it by (a path, a frame number)."""

    id: UUID
    product: str
    station: str
    line: str | None
    serial: str | None
    lot: str | None
    captured_at: datetime
    name: str
    data: bytes

    @cached_property
    def sha256(self) -> str:
        """Of the image file, in hexadecimal digits."""
        return hashlib.sha256(self.data).hexdigest()

    def __post_init__(self) -> None:
        if self.captured_at.tzinfo is None:
            raise ValueError(f"captured_at of {self.name!r} needs a time zone: {self.captured_at}")


def to_bytes(frame: Frame) -> bytes:
    """Write magic, one line of JSON, and the image as it is; another frame may follow."""
    header = {
        "id": str(frame.id),
        "product": frame.product,
        "station": frame.station,
        "line": frame.line,
        "serial": frame.serial,
        "lot": frame.lot,
        "captured_at": frame.captured_at.isoformat(),
        "name": frame.name,
        "bytes": len(frame.data),
        "sha256": frame.sha256,
    }
    return b"".join((MAGIC, json.dumps(header).encode("ascii"), b"\n", frame.data))


def frames_of(content: bytes) -> tuple[list[Frame], str | None]:
    """Read what to_bytes() wrote, one frame after the other.

    Gives those before the first that is damaged, and what is wrong with that one, None where all are whole.
    """
    frames: list[Frame] = []
    start = 0
    while start < len(content) or not frames:
        try:
            frame, start = _next(content, start)
        except DamagedFrameError as error:
            return frames, str(error)
        frames.append(frame)
    return frames, None


def _next(content: bytes, start: int) -> tuple[Frame, int]:
    if not content.startswith(MAGIC, start):
        raise DamagedFrameError(f"it doesn't begin with {MAGIC!r}")
    end = content.find(b"\n", start + len(MAGIC))
    if end < 0:
        raise DamagedFrameError("its header is cut off")
    try:
        header = json.loads(content[start + len(MAGIC) : end])
        size, sha256 = int(header["bytes"]), str(header["sha256"])
        frame = Frame(
            id=UUID(header["id"]),
            product=header["product"],
            station=header["station"],
            line=header["line"],
            serial=header["serial"],
            lot=header["lot"],
            captured_at=datetime.fromisoformat(header["captured_at"]),
            name=header["name"],
            data=content[end + 1 : end + 1 + max(size, 0)],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFrameError(f"its header can't be read: {error!r}") from error
    if len(frame.data) != size:
        raise DamagedFrameError(f"it holds {len(frame.data)} of {size} bytes of the image")
    if frame.sha256 != sha256:
        raise DamagedFrameError("the image's bytes were altered")
    return frame, end + 1 + size
