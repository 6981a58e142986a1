"""What is being done: images that wait, history that is scored again, and by whom. Operational, no facts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base


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


class Lease(Base):
    """Who does something that one at a time should do. Operational, no fact."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str]
    until: Mapped[datetime]


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
        Index(
            "ix_rescores_shadow",
            "model_version",
            "scored_at",
            postgresql_where=text("origin = 'shadow'"),
            sqlite_where=text("origin = 'shadow'"),
        ),
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


class Shadow(Base):
    """The challengers' waiting room: an inspection that one has yet to score, from its verdict until then.

    Operational, no fact. No foreign key to the inspections, as of Rescore: what retention lets go meanwhile
    leaves unscored.
    """

    __tablename__ = "shadows"
    __table_args__ = (Index(None, "model_version", "tries", "inspection_id"),)

    inspection_id: Mapped[UUID] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(String(64), ForeignKey("model_versions.id"))  # the challenger
    tries: Mapped[int] = mapped_column(default=0)  # counted before they are made, as Attempt's


class ToReview(Base):
    """What people should look at, by the reason for it (db.review_queue): gone when somebody reviewed it.

    Operational, no fact; as small as what is left to do. No foreign key to the inspections, as of Rescore.
    """

    __tablename__ = "to_review"
    __table_args__ = (
        CheckConstraint(
            "source IN ('ng', 'inconclusive', 'error', 'disagreement', 'borderline')", name="source"
        ),
        # All that is asked for stands in it: a filter that few match reads no rows.
        Index(None, "source", "inspection_id", "product", "line", "lot"),
        Index(None, "lot", "source", "inspection_id"),
    )

    inspection_id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(String(16), primary_key=True)
    product: Mapped[str]
    line: Mapped[str | None]
    lot: Mapped[str | None]
