"""What the pages of models show, read in one go."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import alarms, beside, comparison, inspections, lineage, models, promotion, runs, schedules, shadow
from db.beside import Shadow
from db.lineage import Reign
from db.promotion import Standing
from db.tables import ModelVersion, TrainingRun

VERSIONS: Final = 25  # of a page
DISAGREEMENTS: Final = 50
CHOICES: Final = 200  # beyond that a list is no help
_ID: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Line:
    """A product in the overview."""

    product: str
    champion: ModelVersion | None
    since: datetime | None
    challenger: str | None
    standing: Standing | None
    run: TrainingRun | None
    next_due: datetime | None
    alarms: int


@dataclass(frozen=True)
class Pair:
    """Models beside each other: facts of each, and what the one said of what the other judged."""

    told: list[dict[str, Any]]
    shadow: Shadow | None


@dataclass(frozen=True)
class Judging:
    """Who judges a product, who may, and who did."""

    champion: str | None
    former: str | None
    challenger: str | None
    standing: Standing | None
    reigns: list[Reign]


def find(session: Session, id_: str) -> ModelVersion:
    """Give a version; raises UnknownVersionError."""
    found = session.get(ModelVersion, id_) if _ID.fullmatch(id_) else None
    if found is None:
        raise UnknownVersionError(id_)
    return found


class UnknownVersionError(Exception):
    """There is no such model version."""

    def __init__(self, id_: str) -> None:
        super().__init__(
            f"there is no model version {id_[:64]!r}; an id has 64 hexadecimal digits; /models lists them"
        )


def overview(session: Session) -> list[Line]:
    """Give each product with who judges it and what is under way."""
    products = models.products(session)
    champions = models.champions(session, products)
    beside_it = {one.product: one for one in shadow.challengers(session)}
    open_runs = {one.product: one for one in runs.unended(session)}
    plans = {one.product: one for one in schedules.every(session)}
    raised = [one.product for one in alarms.newest(session, only_open=True)]
    now = datetime.now(UTC)
    lines = []
    for product in products:
        challenger, plan = beside_it.get(product), plans.get(product)
        due = [] if plan is None else schedules.upcoming(plan, now)
        lines.append(
            Line(
                product=product,
                champion=champions.get(product),
                since=models.champion_since(session, product),
                challenger=None if challenger is None else challenger.model_version,
                standing=None if challenger is None else promotion.standing(session, challenger),
                run=open_runs.get(product),
                next_due=due[0] if due else None,
                alarms=raised.count(product),
            )
        )
    return lines


def judging(session: Session, product: str) -> Judging:
    """Tell who judges a product; raises UnknownProductError."""
    inspections.require_product(session, product)
    champion, challenger = models.champion(session, product), models.challenger(session, product)
    return Judging(
        champion=None if champion is None else champion.id,
        former=None if champion is None else models.former_champion(session, product),
        challenger=None if challenger is None else challenger.model_version,
        standing=None if challenger is None else promotion.standing(session, challenger),
        reigns=lineage.reigns(session, product),
    )


def pair(session: Session, product: str, now: Judging, first: str | None, second: str | None) -> Pair:
    """Put two versions beside each other: those given, else champion and challenger, as far as there are.

    Raises UnknownVersionError, and UnknownModelError for one of another product.
    """
    wanted = [one for one in (first or now.champion, second or now.challenger) if one is not None]
    ids = list(dict.fromkeys(wanted))
    versions = [find(session, one) for one in ids]
    for one in versions:
        if one.product != product:
            raise models.UnknownModelError(product, one.id)
    told = [beside.told(session, one) for one in versions]
    return Pair(told, beside.shadow(session, *ids) if len(ids) == 2 else None)


def choices(session: Session, product: str) -> list[str]:
    """Give the newest versions, to choose from."""
    query = select(ModelVersion.id).where(ModelVersion.product == product)
    return list(
        session.scalars(query.order_by(ModelVersion.created_at.desc(), ModelVersion.id).limit(CHOICES))
    )


def disagreements(session: Session, shadow: Shadow | None) -> list[comparison.Disagreement]:
    """Give the newest images that the two judge differently."""
    if shadow is None or not shadow.seen.disagreements():
        return []
    return list(comparison.disagreements(session, shadow.champion, shadow.challenger, DISAGREEMENTS))
