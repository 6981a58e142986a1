"""What every request needs: database, image store, templates."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import HTMLResponse

from db.engine import READ_ONLY, make_engine, session_factory
from db.imagestore import ImageStore, open_image_store
from db.settings import DatabaseSettings
from web import overlay, wording

DRAWINGS_AT_ONCE = 2  # each may hold a large image in memory, and the workers want the processors too


@dataclass(frozen=True)
class Site:
    """What every request needs."""

    engine: Engine  # its transactions are read-only
    sessions: sessionmaker[Session]
    store: ImageStore
    templates: Environment
    drawing: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(DRAWINGS_AT_ONCE)
    )

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session whose rows stay readable afterwards."""
        with self.sessions.begin() as session:
            yield session

    def render(
        self, template: str, status: int = 200, headers: Mapping[str, str] | None = None, **facts: object
    ) -> HTMLResponse:
        return HTMLResponse(self.templates.get_template(template).render(facts), status, headers)


def open_site(settings: DatabaseSettings) -> Site:
    """Open database and image store; raises SettingsError where they can't be used."""
    engine = make_engine(settings)
    templates = Environment(
        loader=PackageLoader("web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(wording.FILTERS)
    templates.globals["scale"] = overlay.SCALE
    return Site(
        engine=engine.execution_options(**{READ_ONLY: True}),
        sessions=session_factory(engine, read_only=True),
        store=open_image_store(settings),
        templates=templates,
    )


def _of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(_of)]
