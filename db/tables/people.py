"""Who acts: people and machines, and what they left open. Operational, no facts.

What happens to an account or a token stands in the events.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base
from db.types import Json


class User(Base):
    """A person who may sign, and do on the page what the roles allow.

    A name is never given to another person, so rows are never removed.
    """

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(primary_key=True)
    full_name: Mapped[str]  # as it is printed in signatures
    password_hash: Mapped[str]  # argon2id
    created_at: Mapped[datetime]
    password_changed_at: Mapped[datetime | None]  # by the person; None while it is what somebody else chose
    failed_attempts: Mapped[int] = mapped_column(default=0)  # since the last success
    locked_until: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    roles: Mapped[list[str]] = mapped_column(
        Json, default=list, server_default="[]"
    )  # of db.roles.ROLES; none: signs only


class Login(Base):
    """A browser that a person logged in with: what its cookie holds is kept as a hash only."""

    __tablename__ = "logins"
    __table_args__ = (Index(None, "user"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # sha256 of the cookie's token
    user: Mapped[str] = mapped_column(ForeignKey("users.name"))
    began_at: Mapped[datetime]
    seen_at: Mapped[datetime]  # to the minute
    address: Mapped[str]  # of the browser, or of the proxy before it


class Token(Base):
    """What a machine shows instead of a password; its secret is kept as a hash only."""

    __tablename__ = "tokens"
    __table_args__ = (
        Index(
            "uq_tokens_name",
            "name",
            unique=True,
            postgresql_where=text("revoked_at IS NULL"),
            sqlite_where=text("revoked_at IS NULL"),
        ),
        Index("uq_tokens_secret_sha256", "secret_sha256", unique=True),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]  # who acts, in the events, as "token NAME"
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]] = mapped_column(Json)  # of db.roles.SCOPES
    station: Mapped[str | None]  # the only one that it may upload for; None: any
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]  # to the minute
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None]


class SavedFilter(Base):
    """A list of inspections that somebody wants to see again: the query of its address."""

    __tablename__ = "saved_filters"

    owner: Mapped[str] = mapped_column(ForeignKey("users.name"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    query: Mapped[str] = mapped_column(Text)
    is_shared: Mapped[bool]  # others see it as well
    saved_at: Mapped[datetime]


class ReviewClaim(Base):
    """Who looks at a part in the review queue just now, so that nobody else is given it."""

    __tablename__ = "review_claims"
    __table_args__ = (Index(None, "holder"),)

    inspection_id: Mapped[UUID] = mapped_column(primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]


class Answered(Base):
    """What the API answered to a request with an Idempotency-Key: the same request gets it again."""

    __tablename__ = "answered"
    __table_args__ = (Index(None, "at"),)

    actor: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)  # its sha256
    request_sha256: Mapped[str] = mapped_column(String(64))  # of method, path and body, with the key
    status: Mapped[int]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes] = mapped_column(LargeBinary)  # encrypted with the key
    at: Mapped[datetime]
