"""The policy: how long images, maps and rows are kept, by product and verdict, and which lots are held.

Both are told by events alone, the newest of a product and verdict, or of a lot, counting: so they are sealed,
and whoever wants to know what was the policy in spring finds it there. Without any, all is kept for ever.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db import approvals, events
from db.engine import dialect_of
from db.inspections import require_product
from db.ledger.released import ACT, HELD, LIFTED, POLICY
from db.tables import VERDICTS, Event
from db.text import require_name

_LOCK: Final = 0x7265_7461_696E  # PostgreSQL advisory lock, any number that is ours alone
What = Literal["images", "maps", "rows"]


class RetentionError(Exception):
    """A policy or a hold that can't be."""


@dataclass(frozen=True)
class Terms:
    """Days after the verdict for which things are kept; None is for ever.

    With a row go its map, its image and its reviews. Raises RetentionError for less than a day, and for an
    image or a map that should outlive its row.
    """

    images_days: int | None = None
    maps_days: int | None = None
    rows_days: int | None = None

    def __post_init__(self) -> None:
        for name, days in asdict(self).items():
            if days is not None and not 1 <= days <= 36_500:
                raise RetentionError(f"{name} is {days}; give 1 to 36500 days, or nothing: kept for ever")
            if self.rows_days is not None and days is not None and days > self.rows_days:
                raise RetentionError(
                    f"{name} is {days}, rows_days {self.rows_days}: nothing can outlive its row; give "
                    f"{self.rows_days} or less, or nothing: it goes with the row"
                )

    def days(self, what: What) -> int | None:
        """Give the term that is in force for it: that of the row, where it has none of its own."""
        own = {"images": self.images_days, "maps": self.maps_days, "rows": self.rows_days}[what]
        return self.rows_days if own is None else own


@dataclass(frozen=True)
class Rule:
    """Terms for a product and a verdict, None being all of them; `event` has set them."""

    product: str | None
    verdict: str | None
    terms: Terms
    event: UUID
    at: datetime
    by: str


@dataclass(frozen=True)
class Hold:
    """A lot of which nothing goes, whatever its terms."""

    lot: str
    at: datetime
    by: str
    why: str


def rules(session: Session) -> list[Rule]:
    """Give the rules in force, by product and verdict, those for all first."""
    newest: dict[tuple[str | None, str | None], Rule | None] = {}
    for event in session.scalars(select(Event).where(Event.kind == POLICY).order_by(Event.id)):
        detail = event.detail
        key = (event.subject, detail.get("verdict"))
        days = {name: detail.get(name) for name in ("images_days", "maps_days", "rows_days")}
        gone = detail.get("removed", False)
        newest[key] = None if gone else Rule(*key, Terms(**days), event.id, event.at, event.actor)
    found = [rule for rule in newest.values() if rule is not None]
    return sorted(found, key=lambda rule: (rule.product or "", rule.verdict or ""))


def rule_for(rules: Sequence[Rule], product: str, verdict: str) -> Rule | None:
    """Give the rule that names most of them: product and verdict, else the product, else the verdict."""
    by_key = {(rule.product, rule.verdict): rule for rule in rules}
    for key in ((product, verdict), (product, None), (None, verdict), (None, None)):
        if key in by_key:
            return by_key[key]
    return None


def set_rule(
    session: Session,
    product: str | None,
    verdict: str | None,
    terms: Terms | None,
    actor: str,
    why: str,
    signature: dict[str, Any] | None = None,
) -> UUID:
    """Set the terms of a product and a verdict, or with None remove their rule; gives the event.

    Raises RetentionError, db.inspections.UnknownProductError, and db.approvals.SignatureRequiredError.
    """
    lock(session)
    _require_newest(session, (POLICY, ACT))
    if product is not None:
        require_product(session, product)
    if verdict is not None and verdict not in VERDICTS:
        raise RetentionError(f"verdict {verdict!r} is none of {', '.join(VERDICTS)}")
    before = {(one.product, one.verdict): asdict(one.terms) for one in rules(session)}.get((product, verdict))
    if terms is None and before is None:
        raise RetentionError("there is no such rule; `pyramidion retention` lists those there are")
    said: dict[str, Any] = {"removed": True} if terms is None else asdict(terms)
    approvals.require("policy", signature)
    detail = {"verdict": verdict, **said, "before": before, "why": why, "signature": signature}
    return events.record(session, POLICY, actor, product, detail)


def holds(session: Session) -> dict[str, Hold]:
    """Give the lots that are held, by name."""
    found: dict[str, Hold] = {}
    told = select(Event).where(Event.kind.in_((HELD, LIFTED))).order_by(Event.id)
    for event in session.scalars(told):
        if event.subject is None:
            continue
        if event.kind == LIFTED:
            found.pop(event.subject, None)
        else:
            found[event.subject] = Hold(event.subject, event.at, event.actor, event.detail.get("why", ""))
    return found


def _require_newest(session: Session, kinds: tuple[str, ...], lot: str | None = None) -> None:
    """Refuse to add to what a machine whose clock is ahead has told: the newest counts, by its time."""
    told = select(Event).where(Event.kind.in_(kinds)).order_by(Event.id.desc()).limit(1)
    newest = session.scalar(told if lot is None else told.where(Event.subject == lot))
    if newest is not None and newest.at >= datetime.now(UTC):
        raise RetentionError(
            f"the newest event of it is of {newest.at}, and this machine's clock is behind that: set both "
            "right, or wait until then"
        )


def lock(session: Session) -> None:
    """Let nobody hold a lot, or let things go, until the transaction ends; on SQLite nobody writes anyway."""
    if dialect_of(session) == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def hold(session: Session, lot: str, actor: str, why: str) -> None:
    """Keep all of a lot until the hold is lifted; it may be one of which nothing has come yet.

    Raises RetentionError where it is held already.
    """
    require_name("lot", lot)
    lock(session)
    _require_newest(session, (HELD, LIFTED), lot)
    if lot in holds(session):
        raise RetentionError(f"lot {lot!r} is held already; `pyramidion retention` says since when")
    events.record(session, HELD, actor, lot, {"why": why})


def lift(session: Session, lot: str, actor: str, why: str, signature: dict[str, Any] | None = None) -> None:
    """Let the policy have a lot again.

    Raises RetentionError where it is not held, and db.approvals.SignatureRequiredError.
    """
    lock(session)
    _require_newest(session, (HELD, LIFTED), lot)
    held = holds(session)
    if lot not in held:
        names = ", ".join(sorted(held)) or "none"
        raise RetentionError(f"lot {lot!r} is not held (held: {names})")
    approvals.require("retention", signature)
    events.record(session, LIFTED, actor, lot, {"why": why, "signature": signature})
