"""The documents of the API's part for audits."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from db.ledger.verifications import SAMPLE
from web.inspections.filters import Moment


class EventRow(BaseModel):
    """Something that somebody did or that happened."""

    id: UUID
    at: datetime
    kind: str = Field(examples=["policy.changed"])
    actor: str = Field(description="Who did it: an account, a token, or a part of Pyramidion.")
    subject: str | None = Field(description="What it was done to.", examples=["tile"])
    detail: dict[str, Any] = Field(
        description="What there is to say of it, each kind in its way.",
        examples=[{"before": {"shadow_share": 0.1}, "after": {"shadow_share": 0.2}}],
    )


class Waiting(BaseModel):
    """Facts that are in no block yet."""

    facts: int
    since: datetime | None
    lag_s: float = Field(description="For how long the first in line has waited.")


class Key(BaseModel):
    """A key that blocks are signed with."""

    id: str
    public_key: str = Field(description="Ed25519, 64 hexadecimal digits.")
    introduced_at: datetime
    overlap_until: datetime | None


class Anchor(BaseModel):
    """How far the block heads were told to a place outside."""

    place: str
    block: int
    failing_since: datetime | None
    last_error: str | None


class Ledger(BaseModel):
    """How far sealing has come."""

    blocks: int
    sealed_at: datetime | None = Field(description="When the newest block was sealed.")
    head: str | None = Field(description="The newest block's hash.")
    waiting: Waiting
    late: bool = Field(description="Whether facts have waited for longer than sealing ever takes.")
    keys: list[Key]
    anchors: list[Anchor]
    last_verified: EventRow | None = Field(description="The newest verification, by whomever.")


class VerificationRow(BaseModel):
    """A verification that was asked for."""

    id: UUID
    requested_by: str
    requested_at: datetime
    since: datetime | None
    until: datetime | None
    blobs: int | None = Field(description="How many images and maps are hashed at most; null: all.")
    state: Literal["requested", "running", "done", "failed"]
    facts: int = Field(description="How many there are to verify; 0 before it begins.")
    done: int = Field(description="How many of them were looked at.")
    started_at: datetime | None
    updated_at: datetime
    error: str | None = Field(description="Why it could not be done.")
    outcome: dict[str, Any] | None = Field(
        description="What was found, once it is done: `ok`, `faults`, `bad` and more.",
        examples=[{"ok": True, "facts": 120_044, "faults": 0, "seconds": 9.1}],
    )


class VerificationAsked(BaseModel):
    """What to verify: the chain as a whole, and the facts that were sealed since <= time < until."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"since": "2026-03-01T00:00:00Z", "until": "2026-04-01T00:00:00Z", "blobs": 200}]
        },
    )

    since: Moment | None = None
    until: Moment | None = None
    blobs: int | None = Field(
        SAMPLE,
        ge=0,
        le=1_000_000,
        description="Images and maps whose bytes are hashed, drawn at random; null: all.",
    )


class ReplayRow(BaseModel):
    """An answer to a wish for a replay."""

    event: UUID
    asked_by: str
    at: datetime
    equal: bool = Field(description="Whether stored image and model give the stored verdict.")
    model: str | None
    stored: float | None = Field(description="The stored score.")
    score: float | None = Field(description="The score now.")
    differences: list[str]


class ReplaysOf(BaseModel):
    """The replays of an inspection's verdict."""

    waiting_since: datetime | None = Field(description="When the one was asked for that has no answer yet.")
    waiting_for: UUID | None = Field(description="The event of that wish.")
    answers: list[ReplayRow] = Field(description="The newest first.")
