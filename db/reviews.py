"""Reviews: what people say of verdicts. They are added, never changed; the newest one counts.

What a review says depends on the verdict: to confirm an ng, or to overrule an ok, is to call the part bad;
to overrule an ng, or to confirm an ok, is to call it good (db.reviewed, db.trends). A verdict of inconclusive
or error calls it neither, so there is nothing to overrule: it can be confirmed, and the reason says what was
done with the part.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db import approvals, events, history, review_queue
from db.ids import uuid7
from db.ledger import unsealed
from db.ledger.facts import Kind
from db.ledger.heads import moment
from db.ledger.signed import bound
from db.tables import Inspection, Result, Review, ReviewClaim, ToReview
from db.text import readable, require_name

VERDICTS: Final = ("confirm", "overrule", "inconclusive")
OTHER: Final = "other"
LONGEST_REASON: Final = 4000  # characters


MADE: Final = "review.made"  # the event


class ReviewError(Exception):
    """A review that can't be; the message says why."""


class ReviewedMeanwhileError(Exception):
    """Others reviewed it since the reviewer looked; `reviews` has what they said, the oldest first."""

    def __init__(self, reviews: Sequence[Review]) -> None:
        self.reviews = tuple(reviews)
        said = "; ".join(
            f"{one.reviewer} said {one.verdict} at {one.created_at:%Y-%m-%d %H:%M:%S} UTC" for one in reviews
        )
        super().__init__(
            f"meanwhile {said}. Yours was not taken: look at what was said, then add yours knowingly"
        )


def record(
    session: Session,
    inspection_id: UUID,
    verdict: str,
    reviewer: str,
    reason_code: str | None = None,
    reason: str | None = None,
    signature: dict[str, Any] | None = None,
    known: UUID | Literal["all"] | None = "all",
) -> Review:
    """Add a review of the verdict on an inspection, and leave an event; the part leaves the review queue.

    `signature` is what db.signatures gives, of the reviewer; it is bound to this review. `known` is the
    newest review that the reviewer has seen, None for none: any newer one raises ReviewedMeanwhileError.
    Raises ReviewError, db.history.UnknownInspectionError, db.approvals.SignatureRequiredError and, for a
    reviewer's name that can't be kept, db.text.UnkeepableNameError.
    """
    require_name("reviewer", reviewer)
    # One after the other: else two who review at once would not see each other.
    session.execute(
        select(Inspection.id).where(Inspection.id == inspection_id).with_for_update(key_share=True)
    )
    _require_sense(_verdict_on(session, inspection_id), verdict, inspection_id, signature)
    reason = readable(reason).strip() if reason else None
    _require_reason(verdict, reason_code, reason)
    if known != "all":
        _require_known(session, inspection_id, known)
    if signature is not None and signature["user"] != reviewer:
        raise ReviewError(f"{signature['user']} can't sign what {reviewer} says: whoever reviews, signs")
    at = datetime.now(UTC)
    review = Review(
        id=uuid7(at),
        inspection_id=inspection_id,
        verdict=verdict,
        reviewer=reviewer,
        reason_code=reason_code,
        reason=reason or None,
        created_at=at,
    )
    _require_newest(session, review)
    if signature is not None:
        review.signature = bound(signature, _unsigned(review))
    session.add(review)
    session.flush()
    unsealed.add(session, Kind.REVIEW, [review.id])
    told = {"review": str(review.id), "verdict": verdict, "reason_code": reason_code}
    events.record(session, MADE, reviewer, str(inspection_id), told | {"signed": signature is not None}, at)
    review_queue.forget(session, ToReview.inspection_id == inspection_id)
    session.execute(delete(ReviewClaim).where(ReviewClaim.inspection_id == inspection_id))
    return review


def of(session: Session, inspection_id: UUID, after: UUID | None = None) -> Sequence[Review]:
    """Give the reviews of an inspection, those after one, the oldest first."""
    query = select(Review).where(Review.inspection_id == inspection_id).order_by(Review.id)
    return session.scalars(query if after is None else query.where(Review.id > after)).all()


def _verdict_on(session: Session, inspection_id: UUID) -> str:
    result = session.get(Result, inspection_id)
    if result is not None:
        return result.verdict
    history.inspection(session, inspection_id)  # says why, where it is not there
    raise ReviewError(f"inspection {inspection_id} has no verdict yet that could be reviewed: it is pending")


def _require_sense(judged: str, verdict: str, inspection_id: UUID, signature: dict[str, Any] | None) -> None:
    if verdict not in VERDICTS:
        raise ReviewError(f"a review says {', '.join(VERDICTS)}, not {verdict!r}")
    if verdict == "overrule" and judged not in {"ok", "ng"}:
        raise ReviewError(
            f"inspection {inspection_id} was judged {judged}, neither ok nor ng: there is nothing to "
            "overrule. Confirm it, and say as the reason what became of the part; or capture the part again"
        )
    if (judged, verdict) == ("ng", "overrule"):
        approvals.require("overrule", signature)


def _require_reason(verdict: str, code: str | None, reason: str | None) -> None:
    codes = approvals.ApprovalSettings().codes()
    if code is not None and code not in codes:
        raise ReviewError(
            f"reason code {code!r} is none of {', '.join(codes)}, which PYRAMIDION_REASON_CODES names"
        )
    if verdict == "overrule" and code is None:
        raise ReviewError(f"whoever overrules gives a reason code: one of {', '.join(codes)}")
    if code == OTHER and not reason:
        raise ReviewError("the reason code other takes the reason in words as well")
    if reason and len(reason) > LONGEST_REASON:
        raise ReviewError(f"the reason has {len(reason)} characters; {LONGEST_REASON} can be kept")


def _require_known(session: Session, inspection_id: UUID, known: UUID | None) -> None:
    newer = of(session, inspection_id, known)
    if newer:
        session.expunge_all()  # they are told when this session is over
        raise ReviewedMeanwhileError(newer)


def _require_newest(session: Session, review: Review) -> None:
    """The newest review counts: one that a slow clock made older than the last would silently not."""
    last = session.scalar(select(func.max(Review.created_at)).where(_of(review)))
    if last is not None and last >= review.created_at:
        raise ReviewError(
            f"the last review of it is of {last:%Y-%m-%d %H:%M:%S} UTC, and here it is "
            f"{review.created_at:%Y-%m-%d %H:%M:%S} UTC: set this machine's clock, then review again"
        )


def _of(review: Review) -> Any:
    return Review.inspection_id == review.inspection_id


def _unsigned(review: Review) -> dict[str, Any]:
    """Give the review as its leaf will have it (db.ledger.facts), but for the signature."""
    return {
        "id": str(review.id),
        "inspection_id": str(review.inspection_id),
        "verdict": review.verdict,
        "reviewer": review.reviewer,
        "reason_code": review.reason_code,
        "reason": review.reason,
        "created_at": moment(review.created_at),
    }
