"""What is due: by which rule, and which inspections; and what an act makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, or_, select
from sqlalchemy.orm import Session

from db import partitions
from db.engine import dialect_of
from db.ids import first_id
from db.ledger.facts import Kind
from db.ledger.released import IMAGE, MAP, POLICY, is_let_go
from db.retention.policy import RetentionError, Rule, What, holds, rule_for, rules
from db.tables import VERDICTS, AnomalyMap, Event, Inspection, Product, Result, Review, UnsealedFact

_ORDER: Final[tuple[What, ...]] = ("images", "maps", "rows")


@dataclass(frozen=True)
class Due:
    """What a rule lets go of a product and verdict: inspections captured and judged before `until`."""

    what: What
    rule: Rule
    days: int
    product: str
    verdict: str | None  # None: all there are
    until: datetime

    def still_in_force(self, session: Session) -> bool:
        """Whether its rule was neither changed nor taken back; to be asked under the policy's lock."""
        now = rule_for(rules(session), self.product, self.verdict or "")
        return now is not None and now.event == self.rule.event

    def told(
        self, inspections: int, things: int, root: bytes, signature: dict[str, Any] | None, **more: Any
    ) -> dict[str, Any]:
        """Give what the event of an act says."""
        return {
            "what": self.what,
            "verdict": self.verdict,
            "days": self.days,
            "until": self.until.isoformat(),
            "policy": str(self.rule.event),
            "inspections": inspections,
            "facts": things,
            "root": root.hex(),
            "signature": signature,
            **more,
        }


@dataclass(frozen=True)
class Act:
    """What was let go, or with `id` None would be; `month` where it was a whole partition."""

    id: UUID | None
    what: What
    product: str | None
    verdict: str | None
    inspections: int
    month: datetime | None = None


def due(session: Session, now: datetime) -> list[Due]:
    """Give what the policy lets go at a time, in the order in which it has to go.

    Raises RetentionError for a rule that was set, or taken back, later than that.
    """
    in_force = rules(session)
    newest = session.scalar(select(Event.at).where(Event.kind == POLICY).order_by(Event.id.desc()).limit(1))
    if newest is not None and newest > now:
        raise RetentionError(
            f"a rule is from the future: it was set or taken back at {newest}, where the clock is ahead, or "
            "this one is behind; set both right"
        )
    by_month = dialect_of(session) == "postgresql"
    found = []
    for what in _ORDER:
        for product in session.scalars(select(Product.name).order_by(Product.name)):
            for verdict in VERDICTS:
                rule = rule_for(in_force, product, verdict)
                days = None if rule is None else rule.terms.days(what)
                if rule is None or days is None:
                    continue
                until = now - timedelta(days=days)
                if what == "rows" and by_month:  # whole months can be dropped
                    until = partitions.month_of(until)
                found.append(Due(what, rule, days, product, verdict, until))
    return found


def candidates(
    session: Session,
    one: Due,
    *,
    after: UUID | None = None,
    without: Sequence[datetime] = (),
    ready: bool = True,
) -> Select[Any]:
    """Select the inspections that it lets go, oldest first: judged, and of no lot that is held.

    Those beyond `after`, and of no month of `without`. Rows are `ready` where all that was said is sealed,
    and the image was let go already.
    """
    query = (
        select(Inspection.id)
        .join(Result, Result.inspection_id == Inspection.id)
        .where(
            Inspection.product == one.product,
            Result.verdict == one.verdict,
            Inspection.id < first_id(one.until),
            Result.inspection_id < first_id(one.until),
            Result.judged_at < one.until,  # a station's clock may be years behind
            *_not_held(session),
        )
        .order_by(Inspection.id)
    )
    if after is not None:
        query = query.where(Inspection.id > after)
    for month in without:
        query = query.where(
            or_(Inspection.id < first_id(month), Inspection.id >= first_id(partitions.after(month)))
        )
    if one.what == "images":
        return query.where(~is_let_go(IMAGE, Inspection.id))
    if one.what == "maps":
        has_map = exists().where(AnomalyMap.inspection_id == Inspection.id)
        return query.where(has_map, ~is_let_go(MAP, Inspection.id))
    if not ready:
        return query
    # What is in no block yet the sealer would find vanished.
    query = query.where(*(Inspection.id.not_in(waiting) for waiting in unsealed()))
    return query.where(is_let_go(IMAGE, Inspection.id))


def _not_held(session: Session) -> list[ColumnElement[bool]]:
    held = list(holds(session))
    return [or_(Inspection.lot.is_(None), Inspection.lot.not_in(held))] if held else []


def unsealed() -> list[Select[Any]]:
    """Select the inspections of which something is in no block yet: itself, its result, a review."""
    of_itself = (Kind.INSPECTION.value, Kind.RESULT.value)
    of_review = (UnsealedFact.fact == Review.id) & (UnsealedFact.kind == Kind.REVIEW.value)
    return [
        select(UnsealedFact.fact).where(UnsealedFact.kind.in_(of_itself)),
        select(Review.inspection_id).join(UnsealedFact, of_review),
    ]
