"""What happened: what is judged, by which model, with which verdict, and what people did and said."""

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
from db.types import JsonOrNull


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
        Index(None, "model_version", "inspection_id"),
        Index(
            "ix_results_defects",
            "inspection_id",
            postgresql_where=text("regions <> '[]'::jsonb"),
            sqlite_where=text("regions <> '[]'"),
        ),
        Index(
            "ix_results_late",
            "inspection_id",
            postgresql_where=text("(timings ->> 'late_ms') IS NOT NULL"),
            sqlite_where=text("json_extract(timings, '$.late_ms') IS NOT NULL"),
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
    timings: Mapped[dict[str, float]]  # milliseconds by step; late_ms, held: see db.results
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
    __table_args__ = (Index(None, "kind", "id"), Index(None, "subject", "id"), Index(None, "actor", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str]
    subject: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
