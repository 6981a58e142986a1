"""The proof: blocks of sealed facts, keys, and what retention let go."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base


class UnsealedFact(Base):
    """The ledger's waiting room: a row per fact that is in no block yet, gone with the block that takes it.

    It is written in the fact's own transaction, so it appears when the fact does: a commit that comes late
    can't be passed over, as it could by a mark in time or by the highest id seen.
    """

    __tablename__ = "unsealed_facts"

    number: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    kind: Mapped[int] = mapped_column(SmallInteger)  # db.ledger.facts.Kind
    fact: Mapped[UUID]  # its id; of a model version, whose id is a hash, the first 128 bits
    since: Mapped[datetime]  # by the clock of the database


class LedgerKey(Base):
    """A public key that may sign blocks; the one before signs for it, and it accepts that one's blocks."""

    __tablename__ = "ledger_keys"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1, 2, 3, ...
    id: Mapped[str] = mapped_column(String(64), unique=True)  # sha256 of the public key's 32 bytes
    public_key: Mapped[bytes] = mapped_column(LargeBinary(32))
    introduced_at: Mapped[datetime]
    overlap_until: Mapped[datetime | None]  # until then the key before may sign as well
    signature: Mapped[bytes] = mapped_column(LargeBinary(64))  # of the key before; of the first, its own
    acceptance: Mapped[bytes] = mapped_column(LargeBinary(64))  # of the key itself, of the same bytes


class Block(Base):
    """The signed head of a block of facts; it names the head before by its hash."""

    __tablename__ = "blocks"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)  # 1, 2, 3, ...
    previous: Mapped[bytes] = mapped_column(LargeBinary(32))
    root: Mapped[bytes] = mapped_column(LargeBinary(32))
    leaves: Mapped[int]
    sealed_at: Mapped[datetime]
    key_id: Mapped[str] = mapped_column(String(64), ForeignKey("ledger_keys.id"))
    signature: Mapped[bytes] = mapped_column(LargeBinary(64))


class SealedFact(Base):
    """A leaf of a block. A fact can be in one block only."""

    __tablename__ = "sealed_facts"
    __table_args__ = (UniqueConstraint("block", "position"),)

    kind: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    fact: Mapped[UUID] = mapped_column(primary_key=True)
    block: Mapped[int] = mapped_column(BigInteger, ForeignKey("blocks.number"))
    position: Mapped[int]
    form: Mapped[int] = mapped_column(SmallInteger)  # which columns the leaf was made of: db.ledger.facts
    leaf: Mapped[bytes] = mapped_column(LargeBinary(32))


class ReleasedFact(Base):
    """A fact that retention let go, or the bytes behind one; `act` is the event that says why."""

    __tablename__ = "released_facts"
    __table_args__ = (Index(None, "act", "kind", "fact"),)

    kind: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    fact: Mapped[UUID] = mapped_column(primary_key=True)
    act: Mapped[UUID] = mapped_column(ForeignKey("events.id"))


class ReleasedLot(Base):
    """How many inspections of a lot, product and verdict an act of retention let go, rows and all.

    What is gone can't be counted any more. The act, which is sealed, states the root over its rows here.
    """

    __tablename__ = "released_lots"
    __table_args__ = (Index(None, "act"),)

    lot: Mapped[str] = mapped_column(primary_key=True)
    act: Mapped[UUID] = mapped_column(ForeignKey("events.id"), primary_key=True)
    product: Mapped[str] = mapped_column(primary_key=True)
    verdict: Mapped[str] = mapped_column(String(16), primary_key=True)
    inspections: Mapped[int]


class Anchor(Base):
    """How far the block heads have been told to a place outside. Operational, no fact."""

    __tablename__ = "anchors"

    place: Mapped[str] = mapped_column(primary_key=True)
    block: Mapped[int] = mapped_column(BigInteger)  # the last one told
    failing_since: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)


class Verification(Base):
    """Somebody's wish to verify the ledger, and how far it is. Operational: what came of it is an event.

    `since` and `until` bound when facts were sealed; `blobs` is how many of the bytes behind them are hashed,
    None: all. The unique index lets one at most wait, and one run.
    """

    __tablename__ = "verifications"
    __table_args__ = (
        CheckConstraint("state IN ('requested', 'running', 'done', 'failed')", name="state"),
        CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
        CheckConstraint("(state = 'done') = (event IS NOT NULL)", name="event"),
        Index(
            "uq_verifications_state",
            "state",
            unique=True,
            postgresql_where=text("state IN ('requested', 'running')"),
            sqlite_where=text("state IN ('requested', 'running')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    requested_by: Mapped[str]
    requested_at: Mapped[datetime]
    since: Mapped[datetime | None]
    until: Mapped[datetime | None]
    blobs: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(16), default="requested")
    facts: Mapped[int] = mapped_column(default=0)  # that there are to verify, as of its beginning
    done: Mapped[int] = mapped_column(default=0)
    tries: Mapped[int] = mapped_column(default=0)  # counted before they are made
    started_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    event: Mapped[UUID | None] = mapped_column(ForeignKey("events.id"))
    error: Mapped[str | None] = mapped_column(Text)
