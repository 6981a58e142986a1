"""Where a model comes from and what became of it: its images, its run, its gate, and who let it judge."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db import models
from db.tables import Dataset, Event, ModelVersion, TrainingRun


@dataclass(frozen=True)
class Reign:
    """A time in which a version judges; `until` is None for the present one."""

    version: str
    since: datetime
    until: datetime | None
    by: str
    why: str
    rolled_back: bool


@dataclass(frozen=True)
class Lineage:
    """All that is known of a version; what is None was not told: it was trained at the command line, say.

    `dataset` is the hash that its manifest names. `events` are those about it, oldest first.
    """

    version: ModelVersion
    manifest: dict[str, Any]
    dataset: str | None
    frozen: Dataset | None
    run: TrainingRun | None
    examined: dict[str, Any] | None
    events: tuple[Event, ...]


def of(session: Session, version: ModelVersion) -> Lineage:
    manifest = json.loads(version.manifest)
    dataset = manifest.get("dataset")
    run = select(TrainingRun).where(TrainingRun.model_version == version.id).order_by(TrainingRun.id)
    told = _events(session, version)
    exams = [event.detail for event in told if event.kind == "model.examined"]
    return Lineage(
        version,
        manifest,
        dataset,
        None if dataset is None else session.get(Dataset, dataset),
        session.scalars(run).first(),
        exams[-1] if exams else None,
        tuple(told),
    )


def reigns(session: Session, product: str) -> list[Reign]:
    """Give who judged a product from when until when, the first one first."""
    told = list(models.promotions(session, product))
    ends = [*(event.at for event in told[1:]), None][: len(told)]
    return [
        Reign(
            event.detail["model"],
            event.at,
            until,
            event.actor,
            event.detail["why"],
            bool(event.detail.get("rolled_back")),
        )
        for event, until in zip(told, ends, strict=True)
    ]


def _events(session: Session, version: ModelVersion) -> list[Event]:
    about = or_(*(Event.detail[name].as_string() == version.id for name in ("model", "before")))
    query = select(Event).where(
        Event.subject == version.product, Event.kind.startswith("model.", autoescape=True), about
    )
    return list(session.scalars(query.order_by(Event.id)))
