"""Stations: on which line each stands, and when it was last heard of."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from db import stations
from db.text import LONGEST_NAME
from web.access import Permission, Who, needs
from web.admin.fields import Name, NameField, acted
from web.site import Here, Site

router = APIRouter(prefix="/admin/stations", include_in_schema=False)
ROWS = 200


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def listed(request: Request, site: Here, after: Annotated[Name | None, Query()] = None) -> Response:
    """Show stations, with when each was last heard of."""
    return _show(request, site, after)


@router.post("/line", dependencies=[needs(Permission.ADMIN)])
def set_line(
    request: Request,
    site: Here,
    who: Who,
    station: NameField,
    line: Annotated[str | None, Form(max_length=LONGEST_NAME)] = None,
) -> Response:
    """Say on which line a station stands."""
    return acted(
        lambda: site.act(lambda session: stations.set_line(session, station, line, who.name)),
        "/admin/stations",
        lambda wrong: _show(request, site, wrong=wrong),
    )


def _show(request: Request, site: Site, after: str | None = None, wrong: str | None = None) -> Response:
    with site.reading() as session:
        rows = stations.overview(session, ROWS + 1, after)
    more = f"/admin/stations?after={quote(rows[ROWS - 1].name, safe='')}" if len(rows) > ROWS else None
    return site.page(
        request, "admin/stations.html", 422 if wrong else 200, rows=rows[:ROWS], more_at=more, wrong=wrong
    )
