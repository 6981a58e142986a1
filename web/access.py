"""Who may do what: the one place that lets a request in or refuses it.

Every route names one permission with `needs(...)`, which `require_guards` sees to when the app is made.
People come with the cookie of a login and have what their roles grant, machines with a token and its scopes.
Until an account with a role exists, whoever sits at this machine may look, and nobody else gets in.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, params
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from db import logins, tokens
from db.roles import Role, Scope
from web.settings import is_loopback
from web.site import Here, Site

COOKIE: Final = "pyramidion_login"
FORM_FIELD: Final = "form_token"
FORM_HEADER: Final = "x-form-token"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_API: Final = "/api/"


class Permission(StrEnum):
    """What a route takes."""

    OPEN = "open"  # nothing: who asks is not even looked up
    ACCOUNT = "account"  # being logged in
    READ = "read"
    SAVE = "save filters"
    EXPORT = "export"
    REVIEW = "review"
    MODELS = "models"  # promote, roll back, train, schedule, policies, golden samples
    ALARMS = "close alarms"
    REPLAY = "replay"
    AUDIT = "audit"  # events, the ledger's state, verifying, evidence
    ADMIN = "administrate"
    UPLOAD = "upload"
    METRICS = "metrics"


P = Permission
_EVERYBODY: Final = frozenset({P.ACCOUNT, P.READ, P.SAVE})
GRANTS: Final[dict[Role, frozenset[Permission]]] = {
    "viewer": _EVERYBODY,
    "inspector": _EVERYBODY | {P.REVIEW, P.EXPORT},
    "engineer": _EVERYBODY | {P.REVIEW, P.EXPORT, P.MODELS, P.ALARMS, P.REPLAY, P.METRICS},
    "auditor": _EVERYBODY | {P.EXPORT, P.REPLAY, P.AUDIT},
    "admin": _EVERYBODY | {P.EXPORT, P.AUDIT, P.ADMIN, P.METRICS},
}
SCOPE_GRANTS: Final[dict[Scope, frozenset[Permission]]] = {
    "read": frozenset({P.READ, P.EXPORT}),
    "upload": frozenset({P.UPLOAD}),
    "metrics": frozenset({P.METRICS}),
}


@dataclass(frozen=True)
class Principal:
    """Who a request comes from: a person, a machine with a token, or whoever sits at this machine."""

    name: str  # the actor in events
    permissions: frozenset[Permission]
    full_name: str = ""
    roles: tuple[str, ...] = ()
    form_token: str = ""  # what forms carry; empty for whom no browser acts
    station: str | None = None  # the only one that a token may upload for
    is_person: bool = False
    must_change_password: bool = False

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions


NOBODY: Final = Principal(name="", permissions=frozenset())
THIS_MACHINE: Final = Principal(name="this machine", permissions=frozenset({P.READ, P.METRICS}))


class NotLoggedInError(Exception):
    """A request by nobody that is known, where that takes somebody."""

    def __init__(self, why: str = "Log in first.") -> None:
        super().__init__(why)


class PasswordToChangeError(Exception):
    """Somebody else chose the password: before anything else, its owner chooses another one."""


class NoAccountYetError(Exception):
    """Nobody can log in yet, and the request doesn't come from this machine."""

    def __init__(self) -> None:
        super().__init__(
            "Nobody can log in yet. On the server, `pyramidion users add NAME --role admin` opens the first "
            "account; until then the page is shown only on that machine, as http://localhost, where it "
            "listens there only"
        )


class NotAllowedError(Exception):
    """Somebody known asked for what the roles or scopes don't grant."""

    def __init__(self, who: Principal, permission: Permission) -> None:
        roles = [role for role, granted in GRANTS.items() if permission in granted]
        takes = f"takes the role {' or '.join(roles)}" if roles else "takes a token with the right scope"
        has = f"you are {' and '.join(who.roles)}" if who.roles else f"{who.name} has none"
        super().__init__(f"This {takes}; {has}. An admin can change that")


class ForeignFormError(Exception):
    """A form that was not filled in on this page, or before the last login."""

    def __init__(self) -> None:
        super().__init__(
            "This form is not from the page as it is now: you logged in anew since, or another site sent it. "
            "Nothing was changed; open the page again and repeat it"
        )


class Needs:
    """Lets requests in that may do something; the route's function finds who it is through `Who`."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, request: Request, site: Here) -> None:
        if getattr(request.state, "let_in_by", None) is self:
            return  # before its body was read (web.idempotency)
        await self._let_in(request, site)
        request.state.let_in_by = self

    async def _let_in(self, request: Request, site: Site) -> None:
        if self.permission is P.OPEN:
            request.state.who = NOBODY
            return
        who = await run_in_threadpool(_identify, site, request)
        request.state.who = who
        if who.must_change_password and self.permission is not P.ACCOUNT:
            raise PasswordToChangeError
        if not who.may(self.permission):
            raise NotLoggedInError if who is THIS_MACHINE else NotAllowedError(who, self.permission)
        if who.form_token and request.method not in SAFE:
            await _require_own_form(request, who)


def needs(permission: Permission) -> params.Depends:
    """Give the dependency that a route names in `dependencies=[...]`."""
    return params.Depends(Needs(permission))


async def _who(request: Request) -> Principal:
    who: Principal = request.state.who
    return who


Who = Annotated[Principal, Depends(_who)]


def guard_of(route: BaseRoute) -> Needs:
    """Give the guard that a route names. Raises RuntimeError unless it is exactly one."""
    asked = route.dependencies if isinstance(route, APIRoute) else []
    found = [one.dependency for one in asked if isinstance(one.dependency, Needs)]
    if len(found) != 1:
        raise RuntimeError(f"{getattr(route, 'path', route)} names {len(found)} permissions, not one")
    return found[0]


def permission_of(route: BaseRoute) -> Permission:
    """Give the permission that a route names. Raises RuntimeError unless it is exactly one."""
    return guard_of(route).permission


def still_may(site: Site, request: Request, permission: Permission) -> bool:
    """Whether who asked may still do it; for answers that go on for long.

    Looking on is no use of a login, unless it may do nothing but look: a wall stays, an inspector's browser
    that was left open does not.
    """
    try:
        who = _identify(site, request, looks_on=True)
    except (NotLoggedInError, NoAccountYetError):
        return False
    return who.may(permission) and not who.must_change_password


def require_guards(router: APIRouter) -> None:
    """Raise RuntimeError unless each route names exactly one permission."""
    for route in router.routes:
        permission_of(route)


def require_same_origin(request: Request) -> None:
    """Raise ForeignFormError for what a browser says another site sent."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in {"same-origin", "none"}:
        raise ForeignFormError
    origin = request.headers.get("origin")
    if site is None and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ForeignFormError  # plain http to another machine: there browsers name no Sec-Fetch-Site


async def _require_own_form(request: Request, who: Principal) -> None:
    require_same_origin(request)
    given = request.headers.get(FORM_HEADER)
    is_form = "form" in request.headers.get("content-type", "") and not request.url.path.startswith(_API)
    if given is None and is_form:
        field = (await request.form()).get(FORM_FIELD)
        given = field if isinstance(field, str) else None
    if given is None or not _equal(given, who.form_token):
        raise ForeignFormError


def _identify(site: Site, request: Request, *, looks_on: bool = False) -> Principal:
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return _machine(site, text.strip())
    cookie = request.cookies.get(COOKIE)
    person = None if cookie is None else _person(site, cookie, looks_on=looks_on)
    if person is not None:
        return person
    if site.somebody_can_log_in():
        raise NotLoggedInError("Log in first." if cookie is None else "The login has ended. Log in again.")
    if not site.is_local or not is_loopback(_host(request)):
        raise NoAccountYetError
    return THIS_MACHINE


def _person(site: Site, cookie: str, *, looks_on: bool) -> Principal | None:
    with site.looking_up() as session:
        found = logins.find(session, cookie, *site.settings.login_lasts())
    if found is None:
        return None
    login, user = found
    granted = _granted(GRANTS, user.roles)
    is_use = not looks_on or granted <= _EVERYBODY
    if is_use and datetime.now(UTC) - login.seen_at > logins.NOTED_EVERY:
        with site.writing() as session:
            logins.note(session, login.id)
    return Principal(
        name=user.name,
        permissions=granted | {P.ACCOUNT},
        full_name=user.full_name,
        roles=tuple(user.roles),
        form_token=logins.form_token(cookie),
        is_person=True,
        must_change_password=user.password_changed_at is None,
    )


def _machine(site: Site, text: str) -> Principal:
    with site.looking_up() as session:
        token = tokens.find(session, text)
    if token is None:
        raise NotLoggedInError(
            "This token opens nothing: it is mistyped, revoked or expired. An admin makes another one "
            "(`pyramidion tokens make`)"
        )
    now = datetime.now(UTC)
    if tokens.is_to_be_noted(token, now):
        with site.writing() as session:
            session.merge(token).used_at = now
    granted = _granted(SCOPE_GRANTS, token.scopes)
    return Principal(name=f"token {token.name}", permissions=granted, station=token.station)


def _granted(grants: Mapping[Any, frozenset[Permission]], names: Sequence[str]) -> frozenset[Permission]:
    """Give what roles or scopes grant together; one that a newer release knows grants nothing here."""
    return frozenset[Permission]().union(*(grants[name] for name in names if name in grants))


def _host(request: Request) -> str:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:  # a Host header that is none
        return ""


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
