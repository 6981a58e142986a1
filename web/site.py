"""What every request needs: database, image store, templates."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from anyio import CapacityLimiter
from fastapi import Depends, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import HTMLResponse

from db import users
from db.again import again
from db.engine import READ_ONLY, key_sessions, make_engine, session_factory
from db.imagestore import ImageStore, open_image_store
from db.settings import DatabaseSettings
from web import once, wording
from web.inspections import overlay
from web.inspections.counts import Counts, Offered
from web.inspections.drawings import Drawings
from web.marks import MARKS
from web.navigation import pages_for
from web.settings import WebSettings

T = TypeVar("T")
EXPORTS_AT_ONCE = 2  # that read; the others wait for each other's pages


@dataclass(frozen=True)
class Site:
    """What every request needs."""

    engine: Engine  # its transactions are read-only
    sessions: sessionmaker[Session]
    keys: sessionmaker[Session]  # which look up some rows
    acts: sessionmaker[Session]  # which write
    store: ImageStore
    home: Path
    templates: Environment
    settings: WebSettings
    is_local: bool  # it listens on this machine's own address only
    _seen: set[str] = field(default_factory=set)
    drawings: Drawings = field(default_factory=Drawings)
    counts: Counts = field(default_factory=Counts)
    offered: Offered = field(default_factory=Offered)
    exporting: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(EXPORTS_AT_ONCE))

    def close(self) -> None:
        """Close the connections to the database."""
        self.engine.dispose()
        self.keys.kw["bind"].dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session whose rows stay readable afterwards."""
        with self.sessions.begin() as session:
            yield session

    @contextmanager
    def looking_up(self) -> Iterator[Session]:
        """The same for some rows that are found by their keys: db.engine.key_sessions."""
        with self.keys.begin() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session that is one transaction; keep it short, on SQLite the workers wait for it."""
        with self.acts.begin() as session:
            once.mark(session)
            yield session
        once.committed()

    def act(self, work: Callable[[Session], T]) -> T:
        """Do what somebody asked for in one transaction, again where another one's end came between."""
        done = again(self.acts, once.marked(work))
        once.committed()
        return done

    def somebody_can_log_in(self) -> bool:
        """Whether the page asks who looks. Accounts are never removed, so once it does, it stays so."""
        if "account" not in self._seen:
            with self.reading() as session:
                if users.somebody_can_log_in(session):
                    self._seen.add("account")
        return "account" in self._seen

    def page(
        self,
        request: Request,
        template: str,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **facts: object,
    ) -> HTMLResponse:
        """Answer with a page: `who` looks and `pages`, what the navigation offers, are there for all."""
        who = getattr(request.state, "who", None)
        pages = pages_for(who, request.url.path)
        text = self.templates.get_template(template).render(who=who, pages=pages, **facts)
        return HTMLResponse(text, status, headers)


def open_site(settings: WebSettings, database: DatabaseSettings, *, is_local: bool) -> Site:
    """Open database and image store; raises SettingsError where they can't be used."""
    engine = make_engine(database)
    templates = Environment(
        loader=PackageLoader("web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(wording.FILTERS)
    templates.globals.update(MARKS, scale=overlay.SCALE)
    return Site(
        engine=engine.execution_options(**{READ_ONLY: True}),
        sessions=session_factory(engine, read_only=True),
        keys=key_sessions(database, engine),
        acts=session_factory(engine),
        store=open_image_store(database),
        home=database.home,
        templates=templates,
        settings=settings,
        is_local=is_local,
    )


# As all that only looks into the request, it is async: what isn't takes a thread, and the way there and back.
async def _of(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Here = Annotated[Site, Depends(_of)]
