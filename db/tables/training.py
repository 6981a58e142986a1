"""How models come about: runs, what they train on, when, and what a product asks of a new one."""

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
from db.types import Json, JsonOrNull


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
    dataset: Mapped[str | None] = mapped_column(String(64))  # of datasets, once it is taken
    gate_passed: Mapped[bool | None]  # of a run that succeeded and was examined
    gate_said: Mapped[list[str] | None] = mapped_column(JsonOrNull)
    started_at: Mapped[datetime | None]  # by its first trainer
    ended_at: Mapped[datetime | None]
    log: Mapped[str] = mapped_column(Text)  # its end


class Dataset(Base):
    """What a model was trained on, named by the hash of its entries, which the model's manifest states.

    Insert-only: with the manifest sealed, it can be proved years later which images made a model.
    """

    __tablename__ = "datasets"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)  # as db.datasets hashes the entries
    product: Mapped[str] = mapped_column(ForeignKey("products.name"))
    made_at: Mapped[datetime]
    entries: Mapped[list[dict[str, Any]]] = mapped_column(Json)  # id, sha256, group, part, in their order
    summary: Mapped[dict[str, Any]]  # how many by part and station, and what was left out for which reason


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


class Policy(Base):
    """What a product asks of a new model, and who lets it judge. A product without a row has the defaults.

    Operational, no fact: its changes stand in the events.
    """

    __tablename__ = "policies"
    __table_args__ = (
        CheckConstraint("false_reject_rate > 0 AND false_reject_rate < 1", name="false_reject_rate"),
        CheckConstraint("confidence >= 0.5 AND confidence < 1", name="confidence"),
        CheckConstraint("promotion IN ('person', 'automatic')", name="promotion"),
        CheckConstraint("shadow_share > 0 AND shadow_share <= 1", name="shadow_share"),
        CheckConstraint("shadow_images >= 1", name="shadow_images"),
    )

    product: Mapped[str] = mapped_column(ForeignKey("products.name"), primary_key=True)
    false_reject_rate: Mapped[float | None]  # None: what the candidate was calibrated for
    confidence: Mapped[float]  # of the gate's intervals
    promotion: Mapped[str] = mapped_column(String(16))
    shadow_share: Mapped[float]  # of the line's images
    shadow_images: Mapped[int]  # before a challenger may be promoted
    retrain_on_drift: Mapped[bool]
    hold_on_golden: Mapped[bool]  # a failed golden sample makes its station's verdicts inconclusive
    changed_by: Mapped[str]
    changed_at: Mapped[datetime]
