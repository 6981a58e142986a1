"""A trained model and accepted images for the tests of workers."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.orm import Session, sessionmaker

from db import inspections, models
from db.ids import uuid7
from db.imagestore import ImageStore, key_of, open_image_store
from db.settings import DatabaseSettings
from model import bundle, training
from model.bundle import BundlePaths


def picture(seed: int, *, defect: bool = False) -> bytes:
    """A grey gradient with noise, as PNG; a defect is a black square."""
    random = np.random.default_rng(seed)
    field = np.linspace(90, 160, 64)[None, :] + random.normal(0, 4, (64, 64))
    if defect:
        field[20:36, 24:40] = 5
    out = io.BytesIO()
    Image.fromarray(field.clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., bytes]:
    return picture


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, made_once: Callable[[str, Callable[[], Any]], Any]
) -> BundlePaths:
    """A small model of the pictures, trained once."""
    config = training.TrainConfig(size=(64, 64), epochs=4)
    pictures = [picture(seed) for seed in range(48)]
    made = made_once("trained-on-plates", lambda: training.train(pictures, config))
    return bundle.save(made, tmp_path_factory.mktemp("bundles"), product="plate")


@pytest.fixture
def store(database: DatabaseSettings) -> ImageStore:
    return open_image_store(database)


@pytest.fixture
def champion(sessions: sessionmaker[Session], store: ImageStore, trained: BundlePaths) -> str:
    """The product `plate`, judged by the trained model."""
    store.put(trained.weights.read_bytes())
    with sessions.begin() as session:
        models.ensure_product(session, "plate")
        models.register(session, trained.version, "plate", trained.manifest, trained.weights_sha256, 48)
        models.set_champion(session, "plate", trained.version, actor="test", why="test")
    return trained.version


@pytest.fixture
def accept(sessions: sessionmaker[Session], store: ImageStore) -> Callable[..., list[UUID]]:
    """Store images and accept them as inspections of the product `plate`, without queueing them."""

    def accept_all(images: list[bytes], **changes: Any) -> list[UUID]:
        now = datetime.now(UTC)
        new = []
        for key, data in zip(store.put_many(images), images, strict=True):
            values: dict[str, Any] = {
                "id": uuid7(now),
                "product": "plate",
                "station": "s1",
                "line": None,
                "serial": None,
                "lot": None,
                "captured_at": now,
                "received_at": now,
                "image_sha256": Path(key).name,
                "image_key": key,
                "image_bytes": len(data),
                "image_width": 64,
                "image_height": 64,
                "image_format": "PNG",
            }
            new.append(inspections.NewInspection(**{**values, **changes}))
        with sessions.begin() as session:
            models.ensure_product(session, new[0].product)
            inspections.accept(session, new)
        assert all(key_of(one.image_sha256) == one.image_key for one in new)
        return [one.id for one in new]

    return accept_all
