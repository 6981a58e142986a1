"""What people should look at, and why: parts of which nobody has yet said whether the verdict is right.

Whoever records a verdict, or what a challenger says of it, offers it here in the same transaction; the first
review takes it out. So asking for the next one costs as little at a million inspections as at a hundred.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, exists, func, literal, select
from sqlalchemy.orm import Session

from db.insert import insert_missing
from db.ledger.released import IMAGE, is_let_go
from db.tables import GoldenTrial, Inspection, Rescore, Result, Review, ToReview

if TYPE_CHECKING:
    from db.results import NewResult

Source = Literal["ng", "inconclusive", "error", "disagreement", "borderline"]
SOURCES: Final[tuple[Source, ...]] = get_args(Source)
ANY: Final = "any"  # beside the sources: each part once, whatever it is there for
BORDERLINE: Final = 0.05  # share of the threshold, unless PYRAMIDION_REVIEW_BORDERLINE says otherwise
COUNTED: Final = 1000  # more than that are not counted


@dataclass(frozen=True)
class Wanted:
    """Which part of the queue; what is None doesn't matter. The oldest capture comes first, or the newest."""

    source: Source | None = None
    product: str | None = None
    line: str | None = None
    lot: str | None = None
    newest_first: bool = False


@dataclass(frozen=True)
class Count:
    """`parts` are there, and more where it is not `complete`."""

    parts: int
    complete: bool


def offer(session: Session, judged: Collection["NewResult"], borderline: float) -> None:
    """Let what was just judged wait for a review, where it should have one; golden samples are no parts.

    `borderline` is the share of the threshold within which a score is near it: 0.05 is 5 %.
    """
    why = {one.inspection_id: list(_sources(one, borderline)) for one in judged}
    ids = [id_ for id_, found in why.items() if found]
    if not ids:
        return
    is_trial = exists().where(GoldenTrial.inspection_id == Inspection.id)
    parts = session.execute(_parts().where(Inspection.id.in_(ids), ~is_trial))
    rows = [(row, source) for row in parts for source in why[row.inspection_id]]
    _add(session, [{**row._asdict(), "source": source} for row, source in rows])


def _sources(one: "NewResult", borderline: float) -> Iterator[Source]:
    for source in ("ng", "inconclusive", "error"):
        if one.verdict == source:
            yield source
    if one.verdict not in {"ok", "ng"} or one.score is None or one.threshold is None:
        return
    if abs(one.score - one.threshold) <= borderline * one.threshold:
        yield "borderline"


def offer_disagreements(session: Session, ids: Collection[UUID], model_version: str) -> None:
    """Let those of the ids wait of which a challenger says something else than the verdict that stands."""
    differ = (
        _parts()
        .join(Result, Result.inspection_id == Inspection.id)
        .join(Rescore, (Rescore.inspection_id == Inspection.id) & (Rescore.model_version == model_version))
        .where(Inspection.id.in_(ids), Rescore.verdict != Result.verdict, ~_is_reviewed(Inspection.id))
    )
    _add(session, [{"source": "disagreement", **row._asdict()} for row in session.execute(differ)])


def sources_of(session: Session, id_: UUID) -> list[Source]:
    """Give what a part is in the queue for; nothing where it is not there."""
    found = set(session.scalars(select(ToReview.source).where(ToReview.inspection_id == id_)))
    return [source for source in SOURCES if source in found]


def counts(session: Session, wanted: Wanted) -> dict[str, Count]:
    """Count by source, and all as ANY, up to COUNTED each; the source that is wanted doesn't matter."""
    found: dict[str, Count] = {}
    for source in (None, *SOURCES):
        some = matching(Wanted(source, wanted.product, wanted.line, wanted.lot)).limit(COUNTED + 1).subquery()
        number = session.scalars(select(func.count()).select_from(some)).one()
        found[source or ANY] = Count(min(number, COUNTED), number <= COUNTED)
    return found


def matching(wanted: Wanted) -> Select[UUID]:
    """Select the ids that are wanted, each once, in their order; some may be gone or reviewed meanwhile."""
    query = select(ToReview.inspection_id)
    if wanted.source is not None:
        query = query.where(ToReview.source == wanted.source)
    else:
        query = query.group_by(ToReview.inspection_id)
    for column, value in (
        (ToReview.product, wanted.product),
        (ToReview.line, wanted.line),
        (ToReview.lot, wanted.lot),
    ):
        if value is not None:
            query = query.where(column == value)
    by = ToReview.inspection_id
    return query.order_by(by.desc() if wanted.newest_first else by)


def without_those_gone(session: Session, ids: Sequence[UUID]) -> list[UUID]:
    """Give those that can still be looked at and nobody has reviewed, in their order; others leave the queue.

    Retention may have let a part or its image go, or somebody reviewed it just when it was offered.
    """
    there = select(Inspection.id).where(
        Inspection.id.in_(ids), ~_is_reviewed(Inspection.id), ~is_let_go(IMAGE, Inspection.id)
    )
    left = set(session.scalars(there))
    gone = [id_ for id_ in ids if id_ not in left]
    if gone:
        forget(session, ToReview.inspection_id.in_(gone))
    return [id_ for id_ in ids if id_ in left]


def forget(session: Session, of: ColumnElement[bool]) -> None:
    """Take parts out of the queue; `of` is a condition on ToReview."""
    session.execute(delete(ToReview).where(of), execution_options={"synchronize_session": False})


def _parts() -> Select[UUID, str, str | None, str | None]:
    return select(Inspection.id.label("inspection_id"), Inspection.product, Inspection.line, Inspection.lot)


def _is_reviewed(id_: Any) -> ColumnElement[bool]:
    return exists(select(literal(1)).where(Review.inspection_id == id_))


def _add(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    insert_missing(session, ToReview, ToReview.inspection_id, rows)
