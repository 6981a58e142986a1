"""The page, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from db.settings import DatabaseSettings
from web import health, metrics
from web.access import require_guards
from web.bodies import BodyLimits
from web.inspections import blobs
from web.inspections import pages as inspections
from web.login import pages as login
from web.problems import answer_problems
from web.reference import api as reference_api
from web.reference import pages as reference
from web.security import SecurityHeaders
from web.settings import WebSettings, is_loopback
from web.site import open_site

STATIC = Path(__file__).parent / "static"


def create_app(
    settings: WebSettings, database: DatabaseSettings | None = None, host: str | None = None
) -> FastAPI:
    """Make the page over a database; that of the environment and the settings file unless one is given.

    `host` is the address that it will listen on, that of the settings unless one is given. Nothing is
    connected before the first request. Raises SettingsError where the database or the image store can't be
    used.
    """
    is_local = is_loopback(host or settings.web_host)
    site = open_site(settings, database or DatabaseSettings(), is_local=is_local)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        site.engine.dispose()

    app = FastAPI(
        title="Pyramidion",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.site = site
    for part in (inspections, blobs, login, health, metrics, reference, reference_api):
        require_guards(part.router)
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=STATIC), "static")
    answer_problems(app)
    app.add_middleware(BodyLimits, settings.web_upload_max_bytes)
    app.add_middleware(SecurityHeaders, settings.web_https)  # last, so outermost: refusals carry them too
    return app
