"""Whether the page can do its work, for whoever watches over it."""

import logging

from fastapi import APIRouter
from sqlalchemy.exc import DBAPIError
from starlette.responses import JSONResponse

from db import migrate
from web.access import Permission, needs
from web.site import Here

log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)


@router.api_route("/healthz", methods=["GET", "HEAD"], dependencies=[needs(Permission.OPEN)])
def healthz(site: Here) -> JSONResponse:
    """Answer 200 where the database is reachable and migrated, else 503 with the reason.

    It needs no password, so it names no hosts and no users; those are in the log.
    """
    try:
        migrate.require_head(site.engine)
    except migrate.OutdatedDatabaseError as error:
        log.warning("unhealthy: %s", error)
        found = "no tables" if error.found is None else f"revision {error.found}"
        return _failing(
            f"the database has {found}, this program needs revision {error.wanted}: run `pyramidion migrate`"
        )
    except DBAPIError as error:
        log.warning("unhealthy: %s", error)
        return _failing("the database can't be reached: `pyramidion doctor` on the server says why")
    return JSONResponse({"status": "ok", "database": "reachable", "revision": migrate.head()})


def _failing(reason: str) -> JSONResponse:
    return JSONResponse({"status": "failing", "reason": reason}, 503)
