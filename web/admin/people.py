"""Accounts: opening one, its roles, its password, and whether it may be used."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from db import users
from db.roles import ROLES
from db.tables import User
from web.access import Permission, Who, needs
from web.admin.fields import NameField, Password, ReasonField, acted
from web.site import Here, Site

router = APIRouter(prefix="/admin/people", include_in_schema=False)
Roles = Annotated[list[str] | None, Form(alias="role", max_length=len(ROLES))]
NewPassword = Annotated[Password, Form()]


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def listed(request: Request, site: Here) -> Response:
    """Show all accounts."""
    return _list(request, site)


@router.post("", dependencies=[needs(Permission.ADMIN)])
def add(
    request: Request,
    site: Here,
    who: Who,
    name: NameField,
    full_name: NameField,
    password: NewPassword,
    roles: Roles = None,
) -> Response:
    """Open an account; its owner has to choose another password first."""
    return acted(
        lambda: site.act(
            lambda session: users.add(session, name, full_name, password, who.name, roles or [])
        ),
        "/admin/people",
        lambda wrong: _list(
            request, site, wrong, {"name": name, "full_name": full_name, "roles": roles or []}
        ),
    )


@router.api_route("/{name}", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def one(request: Request, site: Here, name: str) -> Response:
    """Show an account, and what can be changed of it."""
    return _one(request, site, name)


@router.post("/{name}/roles", dependencies=[needs(Permission.ADMIN)])
def set_roles(
    request: Request, site: Here, who: Who, name: str, why: ReasonField, roles: Roles = None
) -> Response:
    """Give an account these roles and no others."""
    return _do(
        request, site, name, lambda session: users.set_roles(session, name, roles or [], who.name, why)
    )


@router.post("/{name}/password", dependencies=[needs(Permission.ADMIN)])
def reset_password(request: Request, site: Here, who: Who, name: str, password: NewPassword) -> Response:
    """Give an account a password that its owner has to change, and unlock it."""
    return _do(request, site, name, lambda session: users.reset_password(session, name, password, who.name))


@router.post("/{name}/disable", dependencies=[needs(Permission.ADMIN)])
def disable(request: Request, site: Here, who: Who, name: str, why: ReasonField) -> Response:
    """Let nobody act by an account from now on."""
    return _do(request, site, name, lambda session: users.disable(session, name, who.name, why))


@router.post("/{name}/enable", dependencies=[needs(Permission.ADMIN)])
def enable(request: Request, site: Here, who: Who, name: str, why: ReasonField) -> Response:
    """Let the same person act by an account again."""
    return _do(request, site, name, lambda session: users.enable(session, name, who.name, why))


def state(user: User, now: datetime) -> str:
    """Say what an account is good for just now."""
    if user.disabled_at is not None:
        return "disabled"
    if user.locked_until is not None and user.locked_until > now:
        return "locked"
    return "in use" if user.password_changed_at is not None else "has to choose a password"


def _do(request: Request, site: Site, name: str, work: Callable[[Session], object]) -> Response:
    return acted(
        lambda: site.act(work),
        f"/admin/people/{users.plain(name)}",
        lambda wrong: _one(request, site, name, wrong),
    )


def _list(
    request: Request, site: Site, wrong: str | None = None, given: dict[str, Any] | None = None
) -> Response:
    now = datetime.now(UTC)
    with site.reading() as session:
        rows = [(user, state(user, now)) for user in users.everyone(session)]
    empty = {"name": "", "full_name": "", "roles": []}
    return site.page(
        request,
        "admin/people.html",
        422 if wrong else 200,
        rows=rows,
        roles=ROLES,
        given=given or empty,
        wrong=wrong,
    )


def _one(request: Request, site: Site, name: str, wrong: str | None = None) -> Response:
    with site.reading() as session:
        user = users.get(session, name)
    return site.page(
        request,
        "admin/person.html",
        422 if wrong else 200,
        user=user,
        state=state(user, datetime.now(UTC)),
        roles=ROLES,
        wrong=wrong,
    )
