"""The page, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from db.approvals import ApprovalSettings
from db.ledger.settings import LedgerSettings
from db.settings import DatabaseSettings, Settings
from db.settings_shown import Shown, shown
from web import health, metrics
from web.access import require_guards
from web.admin.parts import PARTS as ADMIN
from web.audit import api as audit_api
from web.audit import evidence, replaying, verifying
from web.audit import pages as audit
from web.bodies import BodyLimits
from web.inspections import api as inspections_api
from web.inspections import blobs, exports
from web.inspections import pages as inspections
from web.live import alarms
from web.live import api as live_api
from web.live import pages as live
from web.live.hub import Hub
from web.login import pages as login
from web.lots import api as lots_api
from web.lots import pages as lots
from web.models.parts import PARTS as MODELS
from web.problems import answer_problems
from web.reference import api as reference_api
from web.reference import pages as reference
from web.review import api as review_api
from web.review import pages as review
from web.security import SecurityHeaders
from web.settings import WebSettings, is_loopback
from web.site import open_site
from web.upload import api as upload
from web.upload.uploads import Uploads

STATIC = Path(__file__).parent / "static"
OWN_SETTINGS: dict[str, type[Settings]] = {
    "Database and images": DatabaseSettings,
    "Ledger": LedgerSettings,
    "Reviews and signatures": ApprovalSettings,
    "Page": WebSettings,
}


def create_app(
    settings: WebSettings,
    database: DatabaseSettings | None = None,
    host: str | None = None,
    in_force: Shown | None = None,
) -> FastAPI:
    """Make the page over a database; that of the environment and the settings file unless one is given.

    `host` is the address that it will listen on, that of the settings unless one is given; `in_force` is what
    Admin shows as settings, those that the page itself reads unless given. Nothing is connected before the
    first request. Raises SettingsError where the database or the image store can't be used.
    """
    is_local = is_loopback(host or settings.web_host)
    database = database or DatabaseSettings()
    site = open_site(settings, database, is_local=is_local)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.live.close()
        site.close()

    app = FastAPI(
        title="Pyramidion",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.site = site
    app.state.uploads = Uploads(site)
    app.state.live = Hub(site)
    app.state.retention_archive = database.retention_archive
    app.state.settings_shown = in_force or shown(OWN_SETTINGS)
    for part in (
        inspections,
        inspections_api,
        exports,
        blobs,
        live,
        alarms,
        live_api,
        lots,
        lots_api,
        audit,
        verifying,
        evidence,
        replaying,
        audit_api,
        login,
        health,
        metrics,
        reference,
        reference_api,
        upload,
        review,
        review_api,
        *ADMIN,
        *MODELS,
    ):
        require_guards(part.router)
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=STATIC), "static")
    answer_problems(app)
    app.add_middleware(BodyLimits, settings.web_upload_max_bytes)
    app.add_middleware(SecurityHeaders, settings.web_https)  # last, so outermost: refusals carry them too
    return app
