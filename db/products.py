"""Products: setting one up by hand, and what there is of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db import events, models
from db.inspections import require_product
from db.tables import (
    Attempt,
    GoldenSample,
    GoldenSchedule,
    Inspection,
    ModelVersion,
    Policy,
    Product,
    Schedule,
    TrainingRun,
)

CREATED: Final = "product.created"
COUNTED_TO: Final = 10_000  # further a product's inspections are not counted


class ProductThereError(Exception):
    """A product that was to be set up is there already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a product {name!r} already: choose another name, or change that one")


@dataclass(frozen=True)
class Overview:
    """A product and what depends on it; `inspections` ends at COUNTED_TO, `golden` are samples in use."""

    name: str
    created_at: datetime
    deadline_ms: int | None
    inspections: int
    pending: int
    last_received_at: datetime | None
    champion: str | None
    models: int
    runs: int
    golden: int
    has_policy: bool
    has_schedule: bool
    has_golden_schedule: bool


def create(session: Session, name: str, deadline_ms: int | None, actor: str) -> str:
    """Set a product up by hand, and give its name; training one does it as well.

    Raises ProductThereError and db.text.UnkeepableNameError.
    """
    name = " ".join(name.split())
    if not models.ensure_product(session, name):
        raise ProductThereError(name)
    events.record(session, CREATED, actor, name)
    if deadline_ms is not None:
        models.set_deadline(session, name, deadline_ms, actor)
    return name


def overview(session: Session, limit: int | None = None, after: str | None = None) -> list[Overview]:
    """Give products by name, those after `after`."""
    query = select(Product).order_by(Product.name).limit(limit)
    found = session.scalars(query if after is None else query.where(Product.name > after)).all()
    return _of(session, found)


def one(session: Session, name: str) -> Overview:
    """Give one product. Raises db.inspections.UnknownProductError."""
    require_product(session, name)
    return _of(session, [session.get_one(Product, name, populate_existing=True)])[0]


def _of(session: Session, products: Sequence[Product]) -> list[Overview]:
    names = [product.name for product in products]
    champions = models.champions(session, names)
    kept, runs = _count(session, ModelVersion.product, names), _count(session, TrainingRun.product, names)
    golden = _count(session, GoldenSample.product, names, GoldenSample.retired_at.is_(None))
    policies, schedules, golden_schedules = (
        _count(session, column, names)
        for column in (Policy.product, Schedule.product, GoldenSchedule.product)
    )
    waiting = select(Inspection.product, func.count()).join(Attempt, Attempt.inspection_id == Inspection.id)
    by_product = waiting.where(Inspection.product.in_(names)).group_by(Inspection.product)
    pending = {row[0]: row[1] for row in session.execute(by_product)}
    return [
        Overview(
            name=name,
            created_at=product.created_at,
            deadline_ms=product.deadline_ms,
            inspections=_inspections(session, name),
            pending=pending.get(name, 0),
            last_received_at=_last(session, name),
            champion=champions[name].id if name in champions else None,
            models=kept.get(name, 0),
            runs=runs.get(name, 0),
            golden=golden.get(name, 0),
            has_policy=name in policies,
            has_schedule=name in schedules,
            has_golden_schedule=name in golden_schedules,
        )
        for name, product in zip(names, products, strict=True)
    ]


def _count(
    session: Session, column: InstrumentedAttribute[str], names: list[str], *where: Any
) -> dict[str, int]:
    found = session.execute(select(column, func.count()).where(column.in_(names), *where).group_by(column))
    return {row[0]: row[1] for row in found}


def _inspections(session: Session, product: str) -> int:
    some = select(Inspection.id).where(Inspection.product == product).limit(COUNTED_TO).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _last(session: Session, product: str) -> datetime | None:
    newest = select(Inspection.received_at).where(Inspection.product == product)
    return session.scalar(newest.order_by(Inspection.id.desc()).limit(1))
