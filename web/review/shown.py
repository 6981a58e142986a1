"""What a reviewer is shown of a part, and asked."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from db import comparison, history, review_claims, review_queue
from db.approvals import ApprovalSettings
from db.comparison import Opinion
from db.review_claims import Claim
from db.review_queue import Source
from db.tables import Result, Review
from web.access import Permission, Principal
from web.review.asked import Ordered
from web.site import Site

# What a review calls the part, by the verdict that it is of (db.reviews).
_MEANS: Final = {
    ("ng", "confirm"): "it is bad",
    ("ng", "overrule"): "it is good",
    ("ok", "confirm"): "it is good",
    ("ok", "overrule"): "it is bad",
}
_SEEN: Final = "seen; say in words what became of it"
KEYS: Final = {"confirm": "C", "overrule": "O", "inconclusive": "I"}


@dataclass(frozen=True)
class Button:
    verdict: str
    label: str
    means: str
    key: str


@dataclass(frozen=True)
class Form:
    """What a review is asked for; `known` is the newest review that its reviewer sees with it.

    `signs` says whether overruling takes a password: "must" or "may", None where there is no ng to overrule.
    `other` is who else looks at the part just now, `filled` what was typed before.
    """

    inspection_id: UUID
    judged: str
    buttons: tuple[Button, ...]
    reason_codes: tuple[str, ...]
    signs: str | None
    known: UUID | None
    other: Claim | None
    next: str | None = None
    filled: dict[str, str] = field(default_factory=dict)
    told: str | None = None  # why what was typed was not taken
    meanwhile: tuple[Review, ...] = ()


@dataclass(frozen=True)
class Shown:
    """A part with all that a reviewer goes by."""

    detail: history.Detail
    sources: list[Source]
    opinions: list[Opinion]
    form: Form | None
    claim: Claim | None  # the reviewer's own
    came_round: bool = False


def lasting() -> timedelta:
    """Give for how long a part is given to nobody else."""
    return timedelta(minutes=ApprovalSettings().review_claim_minutes)


def form(session: Session, detail: history.Detail, who: Principal, **more: Any) -> Form | None:
    """Give what somebody may say of an inspection; None for who may not review, and where no verdict is yet.

    `more` are fields of the form.
    """
    if detail.result is None or not who.may(Permission.REVIEW):
        return None
    settings, judged = ApprovalSettings(), detail.result.verdict
    claim = review_claims.holder_of(session, detail.inspection.id)
    signs = "must" if "overrule" in settings.acts() else "may"
    return Form(
        inspection_id=detail.inspection.id,
        judged=judged,
        buttons=_buttons(detail.result),
        reason_codes=tuple(settings.codes()),
        signs=signs if judged == "ng" else None,
        known=detail.reviews[-1].id if detail.reviews else None,
        other=None if claim is None or claim.holder == who.name else claim,
        **more,
    )


def _buttons(result: Result) -> tuple[Button, ...]:
    judged = result.verdict
    found = [Button("confirm", "Confirm", _MEANS.get((judged, "confirm"), _SEEN), KEYS["confirm"])]
    if judged in {"ok", "ng"}:
        found.append(Button("overrule", "Overrule", _MEANS[judged, "overrule"], KEYS["overrule"]))
    found.append(Button("inconclusive", "Inconclusive", "nobody can tell", KEYS["inconclusive"]))
    return tuple(found)


def next_part(site: Site, who: Principal, asked: Ordered) -> Shown | None:
    """Claim the next part for somebody and give it, None where nothing waits that nobody else looks at."""
    out = site.act(
        lambda session: review_claims.hand_out(session, asked.wanted(), who.name, lasting(), asked.after)
    )
    if out is None:
        return None
    with site.reading() as session:
        return _shown(session, out.claim.inspection_id, who, out.claim, came_round=out.came_round)


def one_part(site: Site, who: Principal, id_: UUID) -> Shown:
    """Claim a certain part for somebody, unless another looks at it, and give it.

    Raises db.history.UnknownInspectionError and LetGoError.
    """
    with site.reading() as session:
        history.inspection(session, id_)
    claim = site.act(lambda session: review_claims.claim(session, id_, who.name, lasting()))
    with site.reading() as session:
        return _shown(session, id_, who, claim if claim.holder == who.name else None)


def _shown(
    session: Session, id_: UUID, who: Principal, claim: Claim | None, *, came_round: bool = False
) -> Shown:
    detail = history.inspection(session, id_)
    return Shown(
        detail=detail,
        sources=review_queue.sources_of(session, id_),
        opinions=comparison.opinions(session, id_),
        form=form(session, detail, who),
        claim=claim,
        came_round=came_round,
    )
