"""Makers of facts for the tests of db."""

import hashlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import inspections, models, results
from db.ids import uuid7, uuid7_time

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def new_inspection() -> Callable[..., inspections.NewInspection]:
    ticks = itertools.count()

    def make(**changes: Any) -> inspections.NewInspection:
        later = NOON + next(ticks) * timedelta(microseconds=1)
        known = uuid7_time(changes["id"]) if "id" in changes else later
        captured_at = changes.get("captured_at", known)
        values: dict[str, Any] = {
            "id": uuid7(captured_at if captured_at.tzinfo else None),
            "product": "tile",
            "station": "s1",
            "line": None,
            "serial": None,
            "lot": None,
            "captured_at": captured_at,
            "received_at": captured_at,
            "image_sha256": "a" * 64,
            "image_key": "sha256/aa/" + "a" * 64,
            "image_bytes": 1000,
            "image_width": 320,
            "image_height": 240,
            "image_format": "png",
        }
        return inspections.NewInspection(**{**values, **changes})

    return make


@pytest.fixture
def new_result() -> Callable[..., results.NewResult]:
    def make(inspection_id: UUID, **changes: Any) -> results.NewResult:
        values: dict[str, Any] = {
            "inspection_id": inspection_id,
            "verdict": "error",
            "score": None,
            "threshold": None,
            "model_version": None,
            "worker": "w1",
            "attempts": 1,
            "judged_at": NOON,
            "timings": {"total_ms": 1.5},
            "regions": [],
            "error": "grey where colour was learnt",
            "map": None,
        }
        return results.NewResult(**{**values, **changes})

    return make


@pytest.fixture
def model_version(sessions: sessionmaker[Session]) -> str:
    """A registered model of the product tile."""
    manifest = '{"format":1}'
    version = hashlib.sha256(manifest.encode()).hexdigest()
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        models.register(session, version, "tile", manifest, "b" * 64, 100)
    return version


@pytest.fixture
def accepted(
    sessions: sessionmaker[Session], new_inspection: Callable[..., inspections.NewInspection]
) -> Callable[..., list[UUID]]:
    """Accept a number of inspections of the product tile and give their ids, in the order of the ids."""

    def accept(number: int = 1, **changes: Any) -> list[UUID]:
        new = [new_inspection(**changes) for _ in range(number)]
        with sessions.begin() as session:
            models.ensure_product(session, changes.get("product", "tile"))
            return sorted(inspections.accept(session, new))

    return accept
