"""Accounts and logins, over the API."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from db import logins, users
from db.roles import ROLES, Role
from db.tables import User as Row
from web.access import Permission, Who, needs
from web.admin.fields import Name, Password
from web.admin.logins import LoginId
from web.admin.people import state
from web.api import Listed, api_router, problems
from web.asked import Reason
from web.site import Here, Site

router = api_router("Users")
UserName = Annotated[str, Path(max_length=64, description="Name of a user.", examples=["ada"])]
Roles = Annotated[list[Role], Field(max_length=len(ROLES), examples=[["inspector"]])]
NOT_THERE = problems(404)


class User(BaseModel):
    """An account."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["ada"])
    full_name: str = Field(examples=["Ada Lovelace"])
    roles: list[str] = Field(description="None: the account only signs.", examples=[["inspector"]])
    state: str = Field(
        description="in use, has to choose a password, locked, or disabled", examples=["in use"]
    )
    created_at: datetime
    password_changed_at: datetime | None = Field(description="By its owner; null until then.")
    failed_attempts: int = Field(description="Wrong passwords since the last right one.")
    locked_until: datetime | None
    disabled_at: datetime | None


class NewUser(BaseModel):
    """An account to open."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(examples=["ada"])
    full_name: Name = Field(description="As signatures print it.", examples=["Ada Lovelace"])
    password: Password = Field(description="Its owner has to choose another.", examples=["a first sentence"])
    roles: Roles = []


class NewRoles(BaseModel):
    """The roles that an account is to have, and no others."""

    model_config = ConfigDict(extra="forbid")

    roles: Roles
    why: Reason = Field(examples=["works on line 3 now"])


class NewPassword(BaseModel):
    """A password that its owner has to change."""

    model_config = ConfigDict(extra="forbid")

    password: Password = Field(examples=["another sentence"])


class Why(BaseModel):
    """The reason of an act."""

    model_config = ConfigDict(extra="forbid")

    why: Reason = Field(examples=["left the plant"])


class Login(BaseModel):
    """A browser that somebody is logged in with."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Of no use to log in.")
    user: str
    address: str = Field(description="Of the browser, or of the proxy before it.")
    began_at: datetime
    seen_at: datetime = Field(description="To the minute.")


@router.get("/users", dependencies=[needs(Permission.ADMIN)], summary="List accounts")
def listed(site: Here) -> Listed[User]:
    """Give all accounts by name; none is ever removed."""
    with site.reading() as session:
        return Listed[User](items=[_user(row) for row in users.everyone(session)], next=None)


@router.post("/users", status_code=201, dependencies=[needs(Permission.ADMIN)], summary="Open an account")
def add(site: Here, who: Who, new: NewUser) -> User:
    """Open an account; a name is never given to another person."""
    return _user(
        site.act(
            lambda session: users.add(session, new.name, new.full_name, new.password, who.name, new.roles)
        )
    )


@router.get(
    "/users/{name}", dependencies=[needs(Permission.ADMIN)], responses=NOT_THERE, summary="Give one account"
)
def one(site: Here, name: UserName) -> User:
    """Give an account by its name."""
    with site.reading() as session:
        return _user(users.get(session, name))


@router.put(
    "/users/{name}/roles",
    dependencies=[needs(Permission.ADMIN)],
    responses=NOT_THERE,
    summary="Give an account other roles",
)
def set_roles(site: Here, who: Who, name: UserName, new: NewRoles) -> User:
    """Give an account these roles and no others; the last admin stays one."""
    return _do(site, name, lambda session: users.set_roles(session, name, new.roles, who.name, new.why))


@router.put(
    "/users/{name}/password",
    dependencies=[needs(Permission.ADMIN)],
    responses=NOT_THERE,
    summary="Reset a password",
)
def reset_password(site: Here, who: Who, name: UserName, new: NewPassword) -> User:
    """Give an account a password that its owner has to change, end its logins, and unlock it."""
    return _do(site, name, lambda session: users.reset_password(session, name, new.password, who.name))


@router.post(
    "/users/{name}/disable",
    dependencies=[needs(Permission.ADMIN)],
    responses=NOT_THERE,
    summary="Disable an account",
)
def disable(site: Here, who: Who, name: UserName, reason: Why) -> User:
    """Let nobody act by an account; the last admin can't be disabled."""
    return _do(site, name, lambda session: users.disable(session, name, who.name, reason.why))


@router.post(
    "/users/{name}/enable",
    dependencies=[needs(Permission.ADMIN)],
    responses=NOT_THERE,
    summary="Enable an account",
)
def enable(site: Here, who: Who, name: UserName, reason: Why) -> User:
    """Let the same person act by an account again."""
    return _do(site, name, lambda session: users.enable(session, name, who.name, reason.why))


@router.get("/logins", dependencies=[needs(Permission.ADMIN)], summary="List who is logged in")
def all_logins(site: Here) -> Listed[Login]:
    """Give the logins that let somebody in, last used first."""
    with site.reading() as session:
        rows = logins.active(session, *site.settings.login_lasts())
    return Listed[Login](items=[Login.model_validate(row) for row in rows], next=None)


@router.post(
    "/logins/{login_id}/end",
    status_code=204,
    dependencies=[needs(Permission.ADMIN)],
    responses=NOT_THERE,
    summary="End a login",
)
def end_login(site: Here, who: Who, login_id: LoginId) -> None:
    """End a login: its browser has to log in again."""
    site.act(lambda session: logins.end_id(session, login_id, who.name))


def _do(site: Site, name: str, work: Callable[[Session], object]) -> User:
    site.act(work)
    with site.reading() as session:
        return _user(users.get(session, name))


def _user(row: Row) -> User:
    shown = {field: getattr(row, field) for field in User.model_fields if field != "state"}
    return User(**shown, state=state(row, datetime.now(UTC)))
