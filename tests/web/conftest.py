"""A page that really listens, over a database with a few inspections in it."""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from argon2 import PasswordHasher
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy.orm import Session, sessionmaker
from starlette.routing import BaseRoute

from db import inspections, models, results, users
from db.ids import uuid7
from db.imagestore import ImageStore, open_image_store
from db.settings import DatabaseSettings
from tests.conftest import missing
from tests.web import browsers
from tests.web.serving import served
from web.app import create_app
from web.settings import WebSettings

START = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
THRESHOLD = 0.2
PASSWORD = "correct horse: battery"
REGION = {"x": 60.0, "y": 40.0, "width": 30.0, "height": 20.0, "area": 480.0, "peak": 0.8}


def png(pixels: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(out, "PNG")
    return out.getvalue()


def part_image(seed: int) -> bytes:
    """A grey part, 160 x 120, with a bright scratch where REGION is."""
    pixels = np.random.default_rng(seed).integers(100, 130, (120, 160), dtype=np.uint8)
    pixels[40:60, 60:90] = 220
    return png(pixels)


def map_image() -> bytes:
    """A map, 40 x 30, of 0 but for 255 where REGION is."""
    pixels = np.zeros((30, 40), dtype=np.uint8)
    pixels[10:15, 15:23] = 255
    return png(pixels)


@dataclass
class Plant:
    """Fills the database as intake and workers would."""

    sessions: sessionmaker[Session]
    store: ImageStore
    model: str = ""
    made: int = 0

    def accept(self, **facts: Any) -> UUID:
        """Accept one more image, a second after the one before."""
        at = START + timedelta(seconds=self.made)
        self.made += 1
        data = facts.pop("data", None) or part_image(self.made)
        new = inspections.NewInspection(
            **{
                "id": uuid7(at),
                "product": "tile",
                "station": "s1",
                "line": None,
                "serial": f"T-{self.made:04}",
                "lot": "L1",
                "captured_at": at,
                "received_at": at,
                "image_sha256": hashlib.sha256(data).hexdigest(),
                "image_key": self.store.put(data),
                "image_bytes": len(data),
                "image_width": 160,
                "image_height": 120,
                "image_format": "PNG",
                **facts,
            }
        )
        with self.sessions.begin() as session:
            models.ensure_product(session, new.product)
            inspections.accept(session, [new])
        return new.id

    def judge(self, id_: UUID, verdict: str, **facts: Any) -> None:
        failed = verdict == "error"
        data = map_image()
        with self.sessions.begin() as session:
            manifest = '{"format": 1}'
            self.model = hashlib.sha256(manifest.encode()).hexdigest()
            models.register(session, self.model, "tile", manifest, "0" * 64, 100)
            new = results.NewResult(
                **{
                    "inspection_id": id_,
                    "verdict": verdict,
                    "score": None if failed else {"ok": 0.05, "inconclusive": 0.2}.get(verdict, 0.8),
                    "threshold": None if failed else THRESHOLD,
                    "model_version": None if failed else self.model,
                    "worker": "worker-7",
                    "attempts": 3 if failed else 1,
                    "judged_at": START + timedelta(minutes=1),
                    "timings": {"queue_ms": 12.5, "decode_ms": 3.25, "score_ms": 20.0},
                    "regions": [REGION] if verdict == "ng" else [],
                    "error": "the worker died three times on this image" if failed else None,
                    "map": None
                    if failed
                    else results.NewMap(8, 0.0, 0.8, 40, 30, data, hashlib.sha256(data).hexdigest()),
                    **facts,
                }
            )
            assert results.record(session, [new]) == {id_}

    def inspect(self, verdict: str, **facts: Any) -> UUID:
        id_ = self.accept(**facts)
        self.judge(id_, verdict)
        return id_


@pytest.fixture
def plant(database: DatabaseSettings, sessions: sessionmaker[Session]) -> Plant:
    return Plant(sessions, open_image_store(database))


_ROUTES: list[BaseRoute] = []


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve the page with given settings on a free port, as `pyramidion serve` does, and give its address."""
    with ExitStack() as closing:

        def start(database: DatabaseSettings, **settings: Any) -> str:
            app = create_app(WebSettings(**settings), database)
            # What routes take is found out at the first request, for half a second: once is enough.
            app.router.routes[:] = _ROUTES or app.router.routes
            _ROUTES[:] = app.router.routes
            return closing.enter_context(served(app))

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium, as the system has it."""
    if browsers.find() is None:
        missing(f"none of {', '.join(browsers.NAMES)} is here: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = browsers.launch(playwright)
        yield opened
        opened.close()


@pytest.fixture
def account(sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Open accounts with the password PASSWORD, which hashes with the least effort."""
    monkeypatch.setattr(users, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))

    def open_(name: str, *roles: str) -> None:
        with sessions.begin() as session:
            users.add(session, name, name.capitalize(), "given by the administrator", "admin", roles)
        with sessions.begin() as session:
            users.change_password(session, name, "given by the administrator", PASSWORD)

    return open_


@pytest.fixture
def page(database: DatabaseSettings, serve: Callable[..., str]) -> Iterator[httpx.Client]:
    """A client of a page without accounts, as whoever sits at its machine sees it."""
    with httpx.Client(base_url=serve(database), timeout=20) as client:
        yield client
