"""A frame: one image on its way from a source to the database, and the form in which it waits on disk."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
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

    def __post_init__(self) -> None:
        if self.captured_at.tzinfo is None:
            raise ValueError(f"captured_at of {self.name!r} needs a time zone: {self.captured_at}")


def to_bytes(frame: Frame) -> bytes:
    """Write magic, one line of JSON, and the image as it is."""
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
        "sha256": hashlib.sha256(frame.data).hexdigest(),
    }
    return b"".join((MAGIC, json.dumps(header).encode("ascii"), b"\n", frame.data))


def from_bytes(content: bytes) -> Frame:
    """Read what to_bytes() wrote; raises DamagedFrameError for anything else."""
    if not content.startswith(MAGIC):
        raise DamagedFrameError(f"it doesn't begin with {MAGIC!r}")
    end = content.find(b"\n", len(MAGIC))
    if end < 0:
        raise DamagedFrameError("its header is cut off")
    data = content[end + 1 :]
    try:
        header = json.loads(content[len(MAGIC) : end])
        expected = int(header["bytes"]), str(header["sha256"])
        frame = Frame(
            id=UUID(header["id"]),
            product=header["product"],
            station=header["station"],
            line=header["line"],
            serial=header["serial"],
            lot=header["lot"],
            captured_at=datetime.fromisoformat(header["captured_at"]),
            name=header["name"],
            data=data,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFrameError(f"its header can't be read: {error!r}") from error
    if len(data) != expected[0]:
        raise DamagedFrameError(f"it holds {len(data)} of {expected[0]} bytes of the image")
    if hashlib.sha256(data).hexdigest() != expected[1]:
        raise DamagedFrameError("the image's bytes were altered")
    return frame
