"""The tables. Facts (INSERT_ONLY) are never changed or removed: triggers of the migrations refuse it.

Whoever inserts an inspection, a result, a review, an event or a model version hands it to the ledger in the
same transaction (`db.ledger.unsealed.add`; `db.insert.insert_missing` does). One that never was is found by
`pyramidion audit verify`.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.types import Id, Json, JsonOrNull, UTCDateTime

CHAMPION = "champion"  # the alias of the version that judges
VERDICTS = ("ok", "ng", "inconclusive", "error")
INSERT_ONLY = (
    "inspections",
    "results",
    "anomaly_maps",
    "model_versions",
    "reviews",
    "events",
    "ledger_keys",
    "blocks",
    "sealed_facts",
    "released_facts",
    "released_lots",
)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  (SQLAlchemy's interface)
        datetime: UTCDateTime(),
        UUID: Id(),
        float: Double(),
        str: String(255),
        dict[str, Any]: Json,
        dict[str, float]: Json,
        list[dict[str, float]]: Json,
    }


class Product(Base):
    __tablename__ = "products"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    deadline_ms: Mapped[int | None]  # from acceptance to verdict; what takes longer is late


class Station(Base):
    __tablename__ = "stations"

    name: Mapped[str] = mapped_column(primary_key=True)
    line: Mapped[str | None]
    created_at: Mapped[datetime]


class Inspection(Base):
    """One image of one part, as accepted: the truth that everything else is counted against."""

    __tablename__ = "inspections"
    __table_args__ = (
        CheckConstraint("length(image_sha256) = 64", name="sha256"),
        CheckConstraint("image_bytes > 0 AND image_width > 0 AND image_height > 0", name="sizes"),
        Index(None, "product", "id"),
        Index(None, "station", "id"),
        Index(None, "lot", "id"),
        Index(None, "serial"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    id: Mapped[UUID] = mapped_column(
        primary_key=True
    )  # UUIDv7 given by the producer: retries can't double it
    product: Mapped[str] = mapped_column(ForeignKey("products.name"))
    station: Mapped[str] = mapped_column(ForeignKey("stations.name"))
    line: Mapped[str | None]
    serial: Mapped[str | None]
    lot: Mapped[str | None]
    captured_at: Mapped[datetime]
    received_at: Mapped[datetime]
    image_sha256: Mapped[str] = mapped_column(String(64))
    image_key: Mapped[str]
    image_bytes: Mapped[int]
    image_width: Mapped[int]  # of the upright image
    image_height: Mapped[int]
    image_format: Mapped[str] = mapped_column(String(16))


class ModelVersion(Base):
    __tablename__ = "model_versions"
    __table_args__ = (Index(None, "product", "created_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)  # sha256 of the manifest's bytes
    product: Mapped[str] = mapped_column(ForeignKey("products.name"))
    created_at: Mapped[datetime]
    manifest: Mapped[str] = mapped_column(Text)  # text, not JSON: the id is the hash of exactly these bytes
    weights_sha256: Mapped[str] = mapped_column(String(64))
    training_images: Mapped[int]
    note: Mapped[str | None] = mapped_column(Text)


class ModelAlias(Base):
    """Which version plays which part now; its history stands in the events."""

    __tablename__ = "model_aliases"

    product: Mapped[str] = mapped_column(ForeignKey("products.name"), primary_key=True)
    alias: Mapped[str] = mapped_column(String(32), primary_key=True)
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.id"))
    changed_at: Mapped[datetime]
    changed_by: Mapped[str]


class Result(Base):
    """The one verdict on an inspection."""

    __tablename__ = "results"
    __table_args__ = (
        CheckConstraint("verdict IN ('ok', 'ng', 'inconclusive', 'error')", name="verdict"),
        CheckConstraint("(verdict = 'error') = (error IS NOT NULL)", name="error"),
        CheckConstraint(
            "verdict = 'error' OR "
            "(score IS NOT NULL AND threshold IS NOT NULL AND model_version IS NOT NULL)",
            name="judged",
        ),
        CheckConstraint("attempts >= 1", name="attempts"),
        Index(None, "verdict", "inspection_id"),
        Index(None, "score", "inspection_id"),
        Index(None, "model_version"),
        Index(
            "ix_results_defects",
            "inspection_id",
            postgresql_where=text("regions <> '[]'::jsonb"),
            sqlite_where=text("regions <> '[]'"),
        ),
        {"postgresql_partition_by": "RANGE (inspection_id)"},
    )

    inspection_id: Mapped[UUID] = mapped_column(ForeignKey("inspections.id"), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(16))
    score: Mapped[float | None]
    threshold: Mapped[float | None]
    model_version: Mapped[str | None] = mapped_column(String(64), ForeignKey("model_versions.id"))
    worker: Mapped[str]
    attempts: Mapped[int]
    judged_at: Mapped[datetime]
    timings: Mapped[dict[str, float]]  # milliseconds by step; late_ms: by how much it missed its deadline
    regions: Mapped[list[dict[str, float]]]  # x, y, width, height, area in pixels of the upright image; peak
    error: Mapped[str | None] = mapped_column(Text)


class AnomalyMap(Base):
    """A quantised anomaly map: value = low + pixel / (2**bits - 1) * (high - low).

    Retention leaves `data` empty and the rest as it is: the result's leaf is made of it.
    """

    __tablename__ = "anomaly_maps"
    __table_args__ = (
        CheckConstraint("encoding = 'png'", name="encoding"),
        CheckConstraint("bits IN (8, 16)", name="bits"),
        CheckConstraint("low <= high AND width > 0 AND height > 0", name="scale"),
        {"postgresql_partition_by": "RANGE (inspection_id)"},
    )

    inspection_id: Mapped[UUID] = mapped_column(ForeignKey("results.inspection_id"), primary_key=True)
    encoding: Mapped[str] = mapped_column(String(8))
    bits: Mapped[int]
    low: Mapped[float]
    high: Mapped[float]
    width: Mapped[int]
    height: Mapped[int]
    data: Mapped[bytes]
    sha256: Mapped[str] = mapped_column(String(64))


class Review(Base):
    """What a person said about a verdict; the latest one counts."""

    __tablename__ = "reviews"
    __table_args__ = (
        CheckConstraint("verdict IN ('confirm', 'overrule', 'inconclusive')", name="verdict"),
        Index(None, "inspection_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    inspection_id: Mapped[UUID] = mapped_column(ForeignKey("inspections.id"))
    verdict: Mapped[str] = mapped_column(String(16))
    reviewer: Mapped[str]
    reason_code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    signature: Mapped[dict[str, Any] | None] = mapped_column(JsonOrNull)  # as db.signatures makes it


class Event(Base):
    """Something that somebody did or that happened, for the audit trail."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "kind", "id"), Index(None, "subject", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str]
    subject: Mapped[str | None]
    detail: Mapped[dict[str, Any]]


class User(Base):
    """A person who may sign. Operational, no fact: what happens to an account stands in the events.

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


class Attempt(Base):
    """The waiting room: one row per accepted inspection without a verdict, gone when the verdict stands.

    Operational, no fact. Being as small as the backlog, it lets the sweeper look every few seconds without
    searching all inspections ever made.
    """

    __tablename__ = "attempts"
    __table_args__ = (Index(None, "waiting_since", "inspection_id"),)

    inspection_id: Mapped[UUID] = mapped_column(ForeignKey("inspections.id"), primary_key=True)
    attempts: Mapped[int] = mapped_column(default=0)
    waiting_since: Mapped[datetime]  # last_enqueued_at, or received_at where it never was
    last_enqueued_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)


class Rescoring(Base):
    """Somebody's wish to score inspections again, and how far it is. Operational, no fact (ADR 0025).

    Its inspections have ids from `first` to `last` and match `filter`. Those up to `cursor` are done; those
    up to `trying_to` are being tried, and `tries` times a worker ended over them.
    """

    __tablename__ = "rescorings"
    __table_args__ = (
        CheckConstraint("state IN ('requested', 'running', 'done', 'cancelled', 'failed')", name="state"),
        CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(ForeignKey("products.name"))
    model_version: Mapped[str] = mapped_column(String(64), ForeignKey("model_versions.id"))
    filter: Mapped[dict[str, Any]]  # since, until, station, line, lot, verdict, limit: those that were given
    first: Mapped[UUID]
    last: Mapped[UUID]
    requested_by: Mapped[str]
    requested_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), default="requested")
    total: Mapped[int]
    done: Mapped[int] = mapped_column(default=0)
    failed_images: Mapped[int] = mapped_column(default=0)  # of those that are done
    cursor: Mapped[UUID | None]
    trying_to: Mapped[UUID | None]
    tries: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    error: Mapped[str | None] = mapped_column(Text)


class Rescore(Base):
    """What another model says of an inspection. Operational, no fact: it decides nothing.

    No foreign key to the inspections: months of those are dropped as a whole, and the database would look
    through all that is here meanwhile. What retention lets go takes its rescores along.
    """

    __tablename__ = "rescores"
    __table_args__ = (
        CheckConstraint("origin IN ('rescore', 'shadow')", name="origin"),
        CheckConstraint("verdict IN ('ok', 'ng', 'inconclusive', 'error')", name="verdict"),
        CheckConstraint("(verdict = 'error') = (error IS NOT NULL)", name="error"),
        CheckConstraint("verdict = 'error' OR (score IS NOT NULL AND threshold IS NOT NULL)", name="scored"),
    )

    inspection_id: Mapped[UUID] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(String(64), ForeignKey("model_versions.id"), primary_key=True)
    origin: Mapped[str] = mapped_column(String(16))
    rescoring_id: Mapped[UUID | None] = mapped_column(ForeignKey("rescorings.id"))
    verdict: Mapped[str] = mapped_column(String(16))
    score: Mapped[float | None]
    threshold: Mapped[float | None]
    map: Mapped[bytes | None]  # as anomaly_maps keeps its own, PNG; None also where retention let it go
    bits: Mapped[int | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    sha256: Mapped[str | None] = mapped_column(String(64))
    scored_at: Mapped[datetime]
    worker: Mapped[str]
    error: Mapped[str | None] = mapped_column(Text)


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


class Lease(Base):
    """Who does something that one at a time should do. Operational, no fact."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]


class TrainingRun(Base):
    """A training that somebody asked for, and how it goes: the trainers' queue. Operational, no fact."""

    __tablename__ = "training_runs"
    __table_args__ = (
        CheckConstraint("why IN ('on demand', 'schedule', 'drift')", name="why"),
        CheckConstraint(
            "state IN ('requested', 'running', 'succeeded', 'failed', 'cancelled')", name="state"
        ),
        CheckConstraint("(state = 'succeeded') = (model_version IS NOT NULL)", name="model"),
        CheckConstraint("state <> 'failed' OR reason IS NOT NULL", name="reason"),
        CheckConstraint(
            "state <> 'running' OR (holder IS NOT NULL AND lease_until IS NOT NULL)", name="held"
        ),
        Index(
            "uq_training_runs_open",
            "product",
            unique=True,
            postgresql_where=text("state IN ('requested', 'running')"),
            sqlite_where=text("state IN ('requested', 'running')"),
        ),
        Index(None, "product", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(ForeignKey("products.name"))
    why: Mapped[str] = mapped_column(String(16))
    requested_by: Mapped[str]
    requested_at: Mapped[datetime]  # this and all times below by the database's clock
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]
    holder: Mapped[str | None]  # the trainer that has it, or had it last
    lease_until: Mapped[datetime | None]  # of one that is requested again: not to be taken before
    heartbeat_at: Mapped[datetime | None]
    epoch: Mapped[int | None]  # whole ones
    epochs: Mapped[int | None]  # at most
    loss: Mapped[float | None]  # on held-out images
    eta_s: Mapped[float | None]
    model_version: Mapped[str | None] = mapped_column(String(64), ForeignKey("model_versions.id"))
    reason: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None]  # by its first trainer
    ended_at: Mapped[datetime | None]
    log: Mapped[str] = mapped_column(Text)  # its end


class TrainingImages(Base):
    """What a run trains on, as its first trainer chose it: the next one's checkpoint is of no other images.

    Beside the run, since heartbeats write that row every few seconds. Operational, no fact.
    """

    __tablename__ = "training_images"

    run: Mapped[UUID] = mapped_column(ForeignKey("training_runs.id"), primary_key=True)
    sha256s: Mapped[list[str]] = mapped_column(Json)


class Schedule(Base):
    """When a product is trained again. Operational, no fact: its changes stand in the events."""

    __tablename__ = "schedules"
    __table_args__ = (CheckConstraint("min_new >= 0", name="min_new"),)

    product: Mapped[str] = mapped_column(ForeignKey("products.name"), primary_key=True)
    cron: Mapped[str]
    time_zone: Mapped[str]
    min_new: Mapped[int]  # good images since the last run that succeeded
    enabled: Mapped[bool]
    changed_by: Mapped[str]
    changed_at: Mapped[datetime]
    last_due: Mapped[datetime]  # served up to here; of a new schedule, when it was made
    last_skipped: Mapped[str | None] = mapped_column(Text)  # why the last due time asked for no run
