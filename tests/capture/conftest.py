"""What the tests of capture share: images of every kind, frames, and a place to take them in."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.orm import Session, sessionmaker

from capture.frames import Frame
from capture.images import Limits
from capture.intake import Intake
from capture.settings import CaptureSettings
from capture.spool import Spool
from db import models
from db.ids import uuid7
from db.imagestore import open_image_store
from db.settings import DatabaseSettings


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Make an image file: picture("PNG"), picture("JPEG", seed=3, size=(40, 20)), with Pillow's options."""

    def make(
        format_: str = "PNG", *, seed: int = 0, size: tuple[int, int] = (40, 30), **options: Any
    ) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        file = BytesIO()
        Image.fromarray(pixels).save(file, format_, **options)
        return file.getvalue()

    return make


@pytest.fixture
def a_frame(picture: Callable[..., bytes]) -> Callable[..., Frame]:
    def make(data: bytes | None = None, *, seed: int = 0, **changes: Any) -> Frame:
        facts: dict[str, Any] = {
            "id": uuid7(datetime(2026, 5, 4, 12, 0, seed % 60, tzinfo=UTC), seed.to_bytes(10, "big")),
            "product": "flange",
            "station": "s1",
            "line": None,
            "serial": None,
            "lot": None,
            "captured_at": datetime(2026, 5, 4, 12, 0, seed % 60, tzinfo=UTC),
            "name": f"part{seed}.png",
            "data": picture(seed=seed) if data is None else data,
        }
        return Frame(**facts | changes)

    return make


class Queued:
    """Stands where messages would go; the queue itself has tests of its own."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []
        self.error: Exception | None = None

    def __call__(self, ids: Sequence[UUID], *, at: datetime) -> None:
        assert abs((datetime.now(UTC) - at).total_seconds()) < 60
        if self.error is not None:
            raise self.error
        self.ids.extend(ids)


@pytest.fixture
def queued() -> Queued:
    return Queued()


@pytest.fixture
def intake(database: DatabaseSettings, sessions: sessionmaker[Session], queued: Queued) -> Intake:
    with sessions.begin() as session:
        models.ensure_product(session, "flange")
    return Intake(sessions, open_image_store(database), queued, Limits.of(CaptureSettings()))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", "s1") as opened:
        yield opened


@pytest.fixture
def stop() -> Iterator[Event]:
    """Set when the test ends, so that no thread of it lives on."""
    event = Event()
    yield event
    event.set()
