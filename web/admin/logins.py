"""Logins: who is logged in from where, and ending one."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response

from db import logins, users
from web.access import COOKIE, Permission, Who, needs
from web.site import Here

router = APIRouter(prefix="/admin/logins", include_in_schema=False)
LoginId = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="Id of a login, of no use to log in.")]


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def listed(request: Request, site: Here) -> Response:
    """Show who is logged in."""
    with site.reading() as session:
        rows = logins.active(session, *site.settings.login_lasts())
        names = {user.name: user.full_name for user in users.everyone(session)}
    own = logins.id_of(request.cookies.get(COOKIE, ""))
    return site.page(request, "admin/logins.html", rows=rows, names=names, own=own)


@router.post("/{login_id}/end", dependencies=[needs(Permission.ADMIN)])
def end(site: Here, who: Who, login_id: LoginId) -> Response:
    """End a login: its browser has to log in again."""
    site.act(lambda session: logins.end_id(session, login_id, who.name))
    return RedirectResponse("/admin/logins", 303)
