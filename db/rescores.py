"""Rescores: what a model says of inspections that another has judged. Verdicts stay as they are."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, select, text, update
from sqlalchemy.orm import Session

from db.engine import dialect_of
from db.insert import insert_missing
from db.ledger.released import IMAGE, MAP, is_let_go
from db.matching import Filter, matching
from db.results import NewResult
from db.tables import Inspection, Rescore, Rescoring, Result
from db.text import readable

RESCORE: Final = "rescore"  # the origins
SHADOW: Final = "shadow"
_NO_MAP: Final = dict.fromkeys(("map", "bits", "low", "high", "width", "height", "sha256"))


@dataclass(frozen=True)
class ToScore:
    """An inspection to score; without `keeps_map` retention has let its map go, and no other is kept."""

    inspection: Inspection
    keeps_map: bool


@dataclass(frozen=True)
class Turned:
    """An inspection of which the model says something else than the verdict that stands."""

    inspection_id: UUID
    stands: str
    rescored: str
    score: float | None
    threshold: float | None
    error: str | None


def asked_for(session: Session, one: Rescoring) -> Select[Any]:
    """Select the ids of the inspections that a rescoring asks for."""
    query = matching(session, _filter(one), Inspection.id)
    return query.where(*_within(one), ~is_let_go(IMAGE, Inspection.id))


def to_do(session: Session, one: Rescoring) -> Select[Any]:
    """Select the ids of what is left to do: what the model could not score before is tried once more."""
    query = asked_for(session, one)
    if one.cursor is not None:
        query = query.where(Inspection.id > one.cursor)
    return query.where(~exists().where(_of(one), Rescore.error.is_(None)))


def next_slice(session: Session, one: Rescoring, images: int) -> list[ToScore]:
    """Give the next inspections to score, in the order of their ids."""
    ids = list(session.scalars(to_do(session, one).order_by(Inspection.id).limit(images)))
    query = select(Inspection, is_let_go(MAP, Inspection.id)).where(Inspection.id.in_(ids))
    return [ToScore(row[0], not row[1]) for row in session.execute(query.order_by(Inspection.id))]


def record(session: Session, one: Rescoring, scored: Sequence[NewResult], last: UUID) -> bool:
    """Keep what was said of a slice that ends with `last`, together with how far the rescoring is.

    Says False, and keeps nothing, where it was cancelled or somebody else went on with it meanwhile.
    """
    moved = update(Rescoring).where(Rescoring.id == one.id, Rescoring.state == "running", not_gone_on(one))
    beyond = one.trying_to is None or last >= one.trying_to
    moved = moved.values(
        cursor=last,
        trying_to=None if beyond else one.trying_to,
        tries=0,
        done=Rescoring.done + len(scored),
        failed_images=Rescoring.failed_images + sum(item.error is not None for item in scored),
        updated_at=datetime.now(UTC),
    )
    if session.scalar(moved.returning(Rescoring.id)) is None:
        return False
    there = still_there(session, [item.inspection_id for item in scored])
    rows = [
        row_of(item, one.model_version, RESCORE, one.id) for item in scored if item.inspection_id in there
    ]
    before = delete(Rescore).where(
        Rescore.inspection_id.in_(there),
        Rescore.model_version == one.model_version,
        Rescore.error.is_not(None),
    )
    session.execute(before, execution_options={"synchronize_session": False})
    insert_missing(session, Rescore, Rescore.inspection_id, rows)
    return True


def let_go(session: Session, of: ColumnElement[bool], *, only_maps: bool = False) -> None:
    """Remove the rescores of inspections that go, or only their maps; `of` is a condition on Rescore."""
    statement = update(Rescore).where(of).values(map=None) if only_maps else delete(Rescore).where(of)
    session.execute(statement, execution_options={"synchronize_session": False})


def compared(session: Session, one: Rescoring) -> list[tuple[str, str, int]]:
    """Count, by the verdict that stands and what the model says, all that was asked for and is scored."""
    query = _beside(session, one, Result.verdict, Rescore.verdict, func.count())
    query = query.group_by(Result.verdict, Rescore.verdict).order_by(Result.verdict, Rescore.verdict)
    return [(row[0], row[1], row[2]) for row in session.execute(query)]


def turned(session: Session, one: Rescoring, limit: int | None = None) -> Iterator[Turned]:
    """Give, newest first, those of which the model says something else than their verdict."""
    query = _beside(
        session,
        one,
        Inspection.id,
        Result.verdict,
        Rescore.verdict,
        Rescore.score,
        Rescore.threshold,
        Rescore.error,
    ).where(Result.verdict != Rescore.verdict)
    for row in session.execute(query.order_by(Inspection.id.desc()).limit(limit)):
        yield Turned(*row)


def _beside(session: Session, one: Rescoring, *columns: Any) -> Select[Any]:
    query = matching(session, _filter(one), *columns).where(*_within(one))
    return query.join(Rescore, _of(one))


def _of(one: Rescoring) -> ColumnElement[bool]:
    return and_(Rescore.inspection_id == Inspection.id, Rescore.model_version == one.model_version)


def _filter(one: Rescoring) -> Filter:
    given: dict[str, Any] = {name: value for name, value in one.filter.items() if name != "limit"}
    for name in ("since", "until"):
        if name in given:
            given[name] = datetime.fromisoformat(given[name])
    return Filter(product=one.product, **given)


def _within(one: Rescoring) -> Iterator[ColumnElement[bool]]:
    # What has no verdict is for the line to judge, not for us.
    yield Result.inspection_id.is_not(None)
    yield Inspection.id >= one.first
    yield Inspection.id <= one.last


def not_gone_on(one: Rescoring) -> ColumnElement[bool]:
    """Say, in SQL, that nobody went on with it since it was read."""
    return Rescoring.cursor.is_not_distinct_from(one.cursor)


def still_there(session: Session, ids: Sequence[UUID]) -> set[UUID]:
    """Give those of the inspections that retention has not let go, which it then can't until the commit."""
    if dialect_of(session) == "postgresql":
        # Before the inspections: retention, which drops a month of them, takes this lock first as well.
        session.execute(text("LOCK TABLE rescores IN ROW EXCLUSIVE MODE"))
    there = select(Inspection.id).where(Inspection.id.in_(ids)).order_by(Inspection.id)
    return set(session.scalars(there.with_for_update(read=True, key_share=True)))


def row_of(
    item: NewResult, model_version: str, origin: str, rescoring_id: UUID | None = None
) -> dict[str, Any]:
    """Give the row of `rescores` for what a model said."""
    map_ = _NO_MAP
    if item.map is not None:
        map_ = asdict(item.map)
        map_["map"] = map_.pop("data")
    return {
        "inspection_id": item.inspection_id,
        "model_version": model_version,
        "origin": origin,
        "rescoring_id": rescoring_id,
        "verdict": item.verdict,
        "score": item.score,
        "threshold": item.threshold,
        **map_,
        "scored_at": item.judged_at,
        "worker": item.worker,
        "error": None if item.error is None else readable(item.error),
    }
