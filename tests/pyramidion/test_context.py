"""What every process opens first."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from db.imagestore import ImageStoreUnavailableError
from db.tables import Station
from pyramidion.context import open_context


def test_a_mount_point_without_its_disk_is_no_image_store(home: Path, run: Any) -> None:
    """A worker that took it for one would judge every image `error`; a new plant's store may be empty."""
    context = open_context()
    context.require_images()
    with context.sessions.begin() as session:
        session.add(Station(name="s1", line=None, created_at=datetime.now(UTC)))
    with pytest.raises(ImageStoreUnavailableError, match=r"mounted\? .*restore DIR --only-images"):
        context.require_images()
    answer = run("doctor", "--only", "images")
    assert answer.code == 1
    assert "is its disk mounted?" in answer.out
    with pytest.raises(ImageStoreUnavailableError, match="mounted"):  # whose probe is no image
        context.require_images()
    context.store.put(b"an image")
    context.require_images()
    assert run("doctor", "--only", "images").code == 0
