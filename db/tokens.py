"""Tokens: what stations and other machines show the API instead of a password.

A token's text is `pyr_` and 40 letters and digits, told once, when it is made; kept is its hash. 200 random
bits can't be guessed, so a fast hash does. Each change leaves an event.
"""

import hashlib
import secrets
import string
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import events, roles
from db.ids import uuid7
from db.tables import Token
from db.text import require_name

PREFIX: Final = "pyr_"
_LETTERS: Final = string.ascii_letters + string.digits
_LENGTH: Final = 40
USED_EVERY: Final = timedelta(minutes=1)  # more exactly it is not noted when a token was used


class TokenError(Exception):
    """A token that can't be; the message says why."""


class UnknownTokenError(TokenError):
    """A token that there is none of, or that is revoked."""

    def __init__(self, token: str) -> None:
        super().__init__(
            f"there is no token {token!r}, or it is revoked already; `pyramidion tokens list` lists them"
        )


def make(
    session: Session,
    name: str,
    scopes: Sequence[str],
    actor: str,
    *,
    station: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[Token, str]:
    """Make a token, and give it with its text, which nobody can give again.

    Raises TokenError, db.roles.UnknownRoleError, and db.text.UnkeepableNameError.
    """
    name = " ".join(name.split())
    require_name("token name", name)
    require_name("station", station)
    known = roles.scopes(scopes)
    now = datetime.now(UTC)
    if not known:
        raise TokenError(f"a token without a scope can do nothing: give one of {', '.join(roles.SCOPES)}")
    if station is not None and "upload" not in known:
        raise TokenError(f"a token for station {station!r} only makes sense with the scope upload")
    if expires_at is not None and expires_at <= now:
        raise TokenError(f"{expires_at:%Y-%m-%d %H:%M} UTC is past: a token expires later than now")
    if session.scalar(select(Token.id).where(Token.name == name, Token.revoked_at.is_(None))) is not None:
        raise TokenError(f"there is a token {name!r} already: revoke it first, or choose another name")
    text = PREFIX + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
    token = Token(
        id=uuid7(now),
        name=name,
        secret_sha256=_hash(text),
        scopes=known,
        station=station,
        created_by=actor,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(token)
    detail = {"token": str(token.id), "scopes": known, "station": station}
    detail["expires_at"] = None if expires_at is None else expires_at.isoformat()
    events.record(session, "token.made", actor, name, detail)
    return token, text


def revoke(session: Session, name: str, actor: str, why: str) -> Token:
    """Let a token open nothing any more, by its name. Raises UnknownTokenError."""
    token = session.scalar(
        select(Token).where(Token.name == name, Token.revoked_at.is_(None)).with_for_update()
    )
    if token is None:
        raise UnknownTokenError(name)
    return _revoke(session, token, actor, why)


def revoke_id(session: Session, id_: UUID, actor: str, why: str) -> Token:
    """Let a token open nothing any more. Raises UnknownTokenError."""
    token = session.get(Token, id_, with_for_update=True)
    if token is None or token.revoked_at is not None:
        raise UnknownTokenError(str(id_))
    return _revoke(session, token, actor, why)


def _revoke(session: Session, token: Token, actor: str, why: str) -> Token:
    token.revoked_at, token.revoked_by = datetime.now(UTC), actor
    events.record(session, "token.revoked", actor, token.name, {"token": str(token.id), "why": why})
    return token


def find(session: Session, text: str) -> Token | None:
    """Give the token of this text where it still opens something."""
    if not text.startswith(PREFIX) or len(text) != len(PREFIX) + _LENGTH:
        return None
    token = session.scalar(select(Token).where(Token.secret_sha256 == _hash(text)))
    if token is None or token.revoked_at is not None:
        return None
    return None if token.expires_at is not None and token.expires_at <= datetime.now(UTC) else token


def is_to_be_noted(token: Token, now: datetime) -> bool:
    """Whether `used_at` is too old to stand."""
    return token.used_at is None or now - token.used_at >= USED_EVERY


def everything(session: Session, limit: int | None = None, after: UUID | None = None) -> Sequence[Token]:
    """Give tokens, newest first, also those that open nothing any more; those made before `after`."""
    query = select(Token).order_by(Token.id.desc()).limit(limit)
    return session.scalars(query if after is None else query.where(Token.id < after)).all()


def state(token: Token, now: datetime) -> str:
    """Say in a word whether a token opens anything: in force, expired or revoked."""
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and token.expires_at <= now else "in force"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
