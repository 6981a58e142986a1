"""What a product asks of a new model, and who lets it judge."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from sqlalchemy.orm import Session

from db import approvals, clock, events, inspections, models
from db.insert import insert_into
from db.tables import Policy

Promotion = Literal["person", "automatic"]
CHANGED: Final = "policy.changed"


class PolicyError(ValueError):
    """A rule that makes no sense; the message says which, and what it may be."""


@dataclass(frozen=True)
class Rules:
    """The defaults are safe: nothing is promoted without a person, and no verdict is changed.

    `false_reject_rate` of None is what a candidate was calibrated for; `confidence` is that of the gate's
    intervals. A challenger scores `shadow_share` of the line's images, `shadow_images` at least, before it
    may be promoted.
    """

    false_reject_rate: float | None = None
    confidence: float = 0.95
    promotion: Promotion = "person"
    shadow_share: float = 0.1
    shadow_images: int = 200
    retrain_on_drift: bool = False
    hold_on_golden: bool = False

    def __post_init__(self) -> None:
        rate = self.false_reject_rate
        if rate is not None and not 0 < rate < 1:
            raise PolicyError(f"the gate's false-reject rate lies between 0 and 1, not at {rate}")
        if not 0.5 <= self.confidence < 1:
            raise PolicyError(f"the gate's confidence is at least 0.5 and below 1, not {self.confidence}")
        if self.promotion not in ("person", "automatic"):
            raise PolicyError(f"a promotion is by a person or automatic, not {self.promotion!r}")
        if not 0 < self.shadow_share <= 1:
            raise PolicyError(f"the shadow's share is above 0 and at most 1, not {self.shadow_share}")
        if self.shadow_images < 1:
            raise PolicyError(f"a challenger scores at least 1 image, not {self.shadow_images}")


def of(session: Session, product: str) -> Rules:
    """Give the product's rules, the defaults where it has none of its own."""
    row = session.get(Policy, product)
    return Rules() if row is None else Rules(**{name: getattr(row, name) for name in asdict(Rules())})


def change(
    session: Session,
    product: str,
    changes: Rules | Mapping[str, Any],
    by: str,
    signature: dict[str, Any] | None = None,
) -> None:
    """Let other rules hold from now on, and leave the event, which is signed.

    `changes` names those to change, so that two people may change different ones at once; Rules change all.
    `signature` is what db.signatures gives. Raises UnknownProductError, PolicyError, and
    db.approvals.SignatureRequiredError.
    """
    approvals.require("policy", signature)
    inspections.require_product(session, product)
    models.lock(session, product)
    session.expire_all()  # what was read before the lock may be old by now
    before = of(session, product)
    rules = changes if isinstance(changes, Rules) else replace(before, **changes)
    if before == rules:
        return
    values: dict[str, Any] = {**asdict(rules), "changed_by": by, "changed_at": clock.now(session)}
    session.execute(
        insert_into(session, Policy)
        .values(product=product, **values)
        .on_conflict_do_update(index_elements=[Policy.product], set_=values)
    )
    session.expire_all()  # written past the session: what it has read is old
    detail = {"before": asdict(before), "after": asdict(rules), "signature": signature}
    events.record(session, CHANGED, by, product, detail)
