"""Whether line and models are still what they were: drift, golden samples, alarms. Operational, no facts.

What happens to an alarm or a golden sample stands in the events.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base


class DriftSample(Base):
    """What a worker saw in one batch of a station's images, written with their verdicts.

    Gone when its window is closed. A row a batch, so that no worker waits for another.
    """

    __tablename__ = "drift_samples"
    __table_args__ = (Index(None, "product", "station", "model_version", "starts_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(ForeignKey("products.name"))
    station: Mapped[str] = mapped_column(ForeignKey("stations.name"))
    model_version: Mapped[str] = mapped_column(String(64), ForeignKey("model_versions.id"))
    starts_at: Mapped[datetime]  # of the window
    written_at: Mapped[datetime]  # by the database's clock
    verdicts: Mapped[dict[str, Any]]  # counts
    seen: Mapped[dict[str, Any]]  # lists, an entry an image: score, brightness, ...


class DriftWindow(Base):
    """What a station's images of one stretch of time looked like beside what its model was trained on."""

    __tablename__ = "drift_windows"

    product: Mapped[str] = mapped_column(ForeignKey("products.name"), primary_key=True)
    station: Mapped[str] = mapped_column(ForeignKey("stations.name"), primary_key=True)
    model_version: Mapped[str] = mapped_column(String(64), ForeignKey("model_versions.id"), primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(primary_key=True)
    ends_at: Mapped[datetime]
    images: Mapped[int]
    late: Mapped[int] = mapped_column(default=0)  # images that came after it was closed
    verdicts: Mapped[dict[str, Any]]  # counts
    statistics: Mapped[dict[str, Any]]  # by name: value, limit; empty where the images were too few


class Alarm(Base):
    """Something that a person should look at; open once at a time for a product, station and statistic."""

    __tablename__ = "alarms"
    __table_args__ = (
        CheckConstraint("kind IN ('drift', 'golden')", name="kind"),
        CheckConstraint("(closed_at IS NULL) = (closed_by IS NULL)", name="closed"),
        Index(
            "uq_alarms_open",
            "product",
            "station",
            "statistic",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
            sqlite_where=text("closed_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    product: Mapped[str] = mapped_column(ForeignKey("products.name"))
    station: Mapped[str] = mapped_column(ForeignKey("stations.name"))
    statistic: Mapped[str]  # of drift: psi, ks, ng_rate, brightness, ...; of golden samples: their name
    since: Mapped[datetime]  # when what it tells of began
    opened_at: Mapped[datetime]
    said: Mapped[str] = mapped_column(Text)  # a sentence for people
    detail: Mapped[dict[str, Any]]
    holds: Mapped[bool]  # the station's verdicts on the product are inconclusive while it is open
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None]


class GoldenSample(Base):
    """A part that is known to be good or bad, as a station shows it: what its verdict must be is known."""

    __tablename__ = "golden_samples"
    __table_args__ = (
        CheckConstraint("expected IN ('ok', 'ng')", name="expected"),
        Index(
            "uq_golden_samples_name",
            "product",
            "station",
            "name",
            unique=True,
            postgresql_where=text("retired_at IS NULL"),
            sqlite_where=text("retired_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    product: Mapped[str] = mapped_column(ForeignKey("products.name"))
    station: Mapped[str] = mapped_column(ForeignKey("stations.name"))
    name: Mapped[str]
    expected: Mapped[str] = mapped_column(String(8))
    image_sha256: Mapped[str] = mapped_column(String(64))
    image_bytes: Mapped[int]
    image_width: Mapped[int]  # of the upright image
    image_height: Mapped[int]
    image_format: Mapped[str] = mapped_column(String(16))
    added_by: Mapped[str]
    added_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]


class GoldenTrial(Base):
    """A golden sample that was sent through the pipeline, and what became of it.

    No foreign key to the inspection: months of those are dropped as a whole.
    """

    __tablename__ = "golden_trials"
    __table_args__ = (
        CheckConstraint("(passed IS NULL) = (checked_at IS NULL)", name="checked"),
        Index(None, "sample", "inspection_id"),
        Index(
            "ix_golden_trials_open",
            "inspection_id",
            postgresql_where=text("checked_at IS NULL"),
            sqlite_where=text("checked_at IS NULL"),
        ),
    )

    inspection_id: Mapped[UUID] = mapped_column(primary_key=True)
    sample: Mapped[UUID] = mapped_column(ForeignKey("golden_samples.id"))
    sent_at: Mapped[datetime]
    passed: Mapped[bool | None]
    checked_at: Mapped[datetime | None]


class GoldenSchedule(Base):
    """When a product's golden samples are sent: once a shift, say. Its changes stand in the events."""

    __tablename__ = "golden_schedules"

    product: Mapped[str] = mapped_column(ForeignKey("products.name"), primary_key=True)
    cron: Mapped[str]
    time_zone: Mapped[str]
    enabled: Mapped[bool]
    changed_by: Mapped[str]
    changed_at: Mapped[datetime]
    last_due: Mapped[datetime]  # served up to here
