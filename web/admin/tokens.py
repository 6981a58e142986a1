"""Tokens of stations and other machines: making one, whose text is shown once, and revoking it."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from db import tokens
from db.roles import SCOPES
from web.access import Permission, Who, needs
from web.admin.fields import REFUSALS, Name, NameField, ReasonField, acted, sentence
from web.site import Here, Site

router = APIRouter(prefix="/admin/tokens", include_in_schema=False)
ROWS = 200
LONGEST_DAYS = 3650
NO_TRACE = {"Cache-Control": "no-store"}  # neither the browser nor anything between keeps the text


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def listed(request: Request, site: Here, after: Annotated[UUID | None, Query()] = None) -> Response:
    """Show tokens with when each was last used."""
    return _show(request, site, after)


@router.post("", dependencies=[needs(Permission.ADMIN)])
def make(
    request: Request,
    site: Here,
    who: Who,
    name: NameField,
    scopes: Annotated[list[str] | None, Form(alias="scope", max_length=len(SCOPES))] = None,
    station: Annotated[Name | None, Form()] = None,
    days: Annotated[int | None, Form(ge=1, le=LONGEST_DAYS)] = None,
) -> Response:
    """Make a token. Its text stands in this answer alone, so it is no redirect."""
    until = None if days is None else datetime.now(UTC) + timedelta(days=days)
    try:
        token, text = site.act(
            lambda session: tokens.make(
                session, name, scopes or [], who.name, station=station, expires_at=until
            )
        )
    except REFUSALS as error:
        return _show(request, site, wrong=sentence(error))
    return site.page(request, "admin/token.html", 201, NO_TRACE, token=token, text=text)


@router.post("/{id_}/revoke", dependencies=[needs(Permission.ADMIN)])
def revoke(request: Request, site: Here, who: Who, id_: UUID, why: ReasonField) -> Response:
    """Let a token open nothing any more."""
    return acted(
        lambda: site.act(lambda session: tokens.revoke_id(session, id_, who.name, why)),
        "/admin/tokens",
        lambda wrong: _show(request, site, wrong=wrong),
    )


def _show(request: Request, site: Site, after: UUID | None = None, wrong: str | None = None) -> Response:
    now = datetime.now(UTC)
    with site.reading() as session:
        rows = tokens.everything(session, ROWS + 1, after)
    return site.page(
        request,
        "admin/tokens.html",
        422 if wrong else 200,
        rows=[(token, tokens.state(token, now)) for token in rows[:ROWS]],
        more_at=f"/admin/tokens?after={rows[ROWS - 1].id}" if len(rows) > ROWS else None,
        scopes=SCOPES,
        longest_days=LONGEST_DAYS,
        wrong=wrong,
    )
