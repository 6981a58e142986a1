"""The page, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from db.settings import DatabaseSettings
from web import blobs, health, metrics, pages
from web.problems import answer_problems
from web.security import BasicAuthentication, SecurityHeaders, ThisMachineOnly
from web.settings import WebSettings
from web.site import open_site

STATIC = Path(__file__).parent / "static"


def create_app(settings: WebSettings, database: DatabaseSettings | None = None) -> FastAPI:
    """Make the page over a database; that of the environment and the settings file unless one is given.

    With a password set, everything but /healthz asks for it; without, only requests to this machine's own
    name are answered (call `refuse_open_bind` before listening). Nothing is connected before the first
    request. Raises SettingsError where the database or the image store can't be used.
    """
    site = open_site(database or DatabaseSettings())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        site.engine.dispose()

    # no API documents: their pages load scripts from outside, and there is no API yet
    app = FastAPI(title="Pyramidion", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.state.site = site
    app.include_router(pages.router)
    app.include_router(blobs.router)
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.mount("/static", StaticFiles(directory=STATIC))
    answer_problems(app)
    if settings.web_password is None:
        app.add_middleware(ThisMachineOnly)
    else:
        app.add_middleware(BasicAuthentication, settings.web_user, settings.web_password)
    app.add_middleware(SecurityHeaders)  # last, so outermost: refusals carry them too
    return app
