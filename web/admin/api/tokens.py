"""Tokens, over the API."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from db import tokens
from db.roles import SCOPES, Scope
from db.tables import Token as Row
from web.access import Permission, Who, needs
from web.admin.fields import Name
from web.admin.tokens import LONGEST_DAYS, NO_TRACE
from web.api import PREFIX, Limit, Listed, api_router, problems
from web.asked import Reason
from web.site import Here

router = api_router("Tokens")


class Token(BaseModel):
    """A token, without its text."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str = Field(description="Events that it makes say `token NAME`.", examples=["cam1"])
    scopes: list[str] = Field(examples=[["upload"]])
    station: str | None = Field(description="The only one that it uploads for; null: any.")
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None
    revoked_by: str | None
    state: str = Field(description="in force, expired or revoked", examples=["in force"])


class NewToken(BaseModel):
    """A token to make."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(examples=["cam1"])
    scopes: list[Scope] = Field(min_length=1, max_length=len(SCOPES), examples=[["upload"]])
    station: Name | None = Field(default=None, examples=["cam1"])
    days: int | None = Field(
        default=None, ge=1, le=LONGEST_DAYS, description="Until it expires; null: it never does."
    )


class MadeToken(Token):
    """A new token with its text, which is shown this once."""

    text: str = Field(examples=["pyr_..."])


class Revocation(BaseModel):
    """Why a token is revoked."""

    model_config = ConfigDict(extra="forbid")

    why: Reason = Field(examples=["the station was replaced"])


@router.get("/tokens", dependencies=[needs(Permission.ADMIN)], summary="List tokens")
def listed(
    site: Here,
    after: Annotated[UUID | None, Query(description="Id of the token before the first one.")] = None,
    limit: Limit = 100,
) -> Listed[Token]:
    """Give tokens, newest first, also those that open nothing any more."""
    with site.reading() as session:
        rows = tokens.everything(session, limit + 1, after)
    more = f"{PREFIX}/tokens?after={rows[limit - 1].id}&limit={limit}" if len(rows) > limit else None
    return Listed[Token](items=[_token(row) for row in rows[:limit]], next=more)


@router.post("/tokens", status_code=201, dependencies=[needs(Permission.ADMIN)], summary="Make a token")
def make(site: Here, who: Who, new: NewToken, answer: Response) -> MadeToken:
    """Make a token; the answer holds its text, which nobody can give again."""
    until = None if new.days is None else datetime.now(UTC) + timedelta(days=new.days)
    row, text = site.act(
        lambda session: tokens.make(
            session, new.name, new.scopes, who.name, station=new.station, expires_at=until
        )
    )
    answer.headers.update(NO_TRACE)
    return MadeToken(**_token(row).model_dump(), text=text)


@router.post(
    "/tokens/{id_}/revoke",
    dependencies=[needs(Permission.ADMIN)],
    responses=problems(404),
    summary="Revoke a token",
)
def revoke(site: Here, who: Who, id_: UUID, revocation: Revocation) -> Token:
    """Let a token open nothing any more, from its next request on."""
    return _token(site.act(lambda session: tokens.revoke_id(session, id_, who.name, revocation.why)))


def _token(row: Row) -> Token:
    columns = {column.name: getattr(row, column.name) for column in row.__table__.columns}
    return Token(**columns, state=tokens.state(row, datetime.now(UTC)))
