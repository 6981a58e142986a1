"""Shadow scoring: a challenger says its own of a share of what the champion judges, and decides nothing.

Which inspections follows from their ids alone, so that every worker picks the same. Whoever records verdicts
offers them (`offer`): those that are chosen wait in `shadows` until a worker has time, each counted before it
is tried (`begin`), and leave together with what the challenger said of them (`record`).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, delete, false, func, literal, or_, select, update
from sqlalchemy.orm import Session

from db import clock, rescores, review_queue
from db.insert import insert_missing
from db.ledger.released import IMAGE, MAP, is_let_go
from db.policies import Rules
from db.rescores import SHADOW, ToScore
from db.results import HELD, NewResult
from db.tables import CHALLENGER, GoldenTrial, Inspection, ModelAlias, ModelVersion, Policy, Rescore, Shadow

_RANDOM_BITS: Final = 62  # of an id: db.ids.uuid7
_LONGEST: Final = 1000  # inspections that wait, where fewer suffice for a decision
_BESIDE: Final = (  # who scores beside a `model`, and the share of what it judges
    select(ModelAlias.model_version, Policy.shadow_share)
    .join(ModelVersion, ModelVersion.product == ModelAlias.product)
    .outerjoin(Policy, Policy.product == ModelAlias.product)
    .where(ModelVersion.id == bindparam("model"), ModelAlias.alias == CHALLENGER)
)


@dataclass(frozen=True)
class Waiting:
    """An inspection that a challenger has yet to score, and how often a worker ended over it."""

    item: ToScore
    tries: int

    @property
    def id(self) -> UUID:
        return self.item.inspection.id


def chosen(id_: UUID, share: float) -> bool:
    """Say whether an inspection is among the share (0 to 1) that a challenger scores."""
    return id_.int & ((1 << _RANDOM_BITS) - 1) < share * (1 << _RANDOM_BITS)


def offer(session: Session, judged: Sequence[NewResult]) -> None:
    """Let what one model just judged wait for its product's challenger, in the same transaction.

    Not what got no verdict but an error, or was judged while its station was held: there is nothing to be
    compared with; nor golden samples, which are no parts.
    """
    model = next((one.model_version for one in judged if one.model_version is not None), None)
    if model is None:
        return
    beside = session.execute(_BESIDE, {"model": model}).one_or_none()
    if beside is None:
        return
    share: float | None = beside[1]
    share = Rules.shadow_share if share is None else share
    told = [one.inspection_id for one in judged if one.error is None and HELD not in one.timings]
    ids = [id_ for id_ in told if chosen(id_, share)]
    if not ids:
        return
    golden = set(session.scalars(select(GoldenTrial.inspection_id).where(GoldenTrial.inspection_id.in_(ids))))
    rows = [
        {"inspection_id": id_, "model_version": beside[0], "tries": 0} for id_ in ids if id_ not in golden
    ]
    insert_missing(session, Shadow, Shadow.inspection_id, rows)


def challengers(session: Session) -> list[ModelAlias]:
    """Give who scores beside a champion, of all products."""
    query = select(ModelAlias).where(ModelAlias.alias == CHALLENGER).order_by(ModelAlias.product)
    return list(session.scalars(query))


def stands(session: Session, one: ModelAlias, *, locked: bool = False) -> bool:
    """Say whether a challenger still is the one that it was; `locked` keeps it so until the commit."""
    query = select(ModelAlias.model_version).where(
        ModelAlias.product == one.product,
        ModelAlias.alias == CHALLENGER,
        ModelAlias.model_version == one.model_version,
        ModelAlias.changed_at == one.changed_at,
    )
    return session.scalar(query.with_for_update(read=True) if locked else query) is not None


def waiting(session: Session, one: ModelAlias) -> int:
    """Count what a challenger has yet to score."""
    query = select(func.count()).select_from(Shadow).where(Shadow.model_version == one.model_version)
    return session.scalars(query).one()


def next_slice(session: Session, one: ModelAlias, images: int) -> tuple[list[Waiting], list[UUID]]:
    """Give what to score next, the least tried first and the oldest of it, and the ids of what is gone."""
    next_ones = (
        select(Shadow.inspection_id, Shadow.tries)
        .where(Shadow.model_version == one.model_version)
        .order_by(Shadow.tries, Shadow.inspection_id)
        .limit(images)
    )
    tries: dict[UUID, int] = {row[0]: row[1] for row in session.execute(next_ones)}
    query = select(Inspection, is_let_go(MAP, Inspection.id)).where(
        Inspection.id.in_(tries), ~is_let_go(IMAGE, Inspection.id)
    )
    found = {row[0].id: ToScore(row[0], not row[1]) for row in session.execute(query)}
    there = [Waiting(found[id_], number) for id_, number in tries.items() if id_ in found]
    return there, [id_ for id_ in tries if id_ not in found]


def begin(session: Session, ids: Collection[UUID]) -> None:
    """Count a try of each, before it is made: should it end the worker, the count stands."""
    counted = update(Shadow).where(Shadow.inspection_id.in_(ids)).values(tries=Shadow.tries + 1)
    session.execute(counted, execution_options={"synchronize_session": False})


def record(session: Session, one: ModelAlias, scored: Sequence[NewResult]) -> bool:
    """Keep what a challenger said; says no, and keeps nothing, where it is none any more.

    When it was scored is told by the database's clock, as when it became challenger.
    """
    if not stands(session, one, locked=True):
        return False
    there = rescores.still_there(session, [item.inspection_id for item in scored])
    at = clock.now(session)
    rows = [
        {**rescores.row_of(item, one.model_version, SHADOW), "scored_at": at}
        for item in scored
        if item.inspection_id in there
    ]
    added = insert_missing(session, Rescore, Rescore.inspection_id, rows)
    review_queue.offer_disagreements(session, added, one.model_version)
    forget(session, [item.inspection_id for item in scored])
    return True


def forget(session: Session, ids: Collection[UUID]) -> None:
    """Let no challenger score these any more."""
    gone = delete(Shadow).where(Shadow.inspection_id.in_(ids))
    session.execute(gone, execution_options={"synchronize_session": False})


def tidy(session: Session, one: ModelAlias, wanted: int) -> None:
    """Forget the oldest of what waits where a challenger can't keep up, and what waits for a former one.

    The newest 1000 stay, or the `wanted` images that a decision takes.
    """
    mine = Shadow.model_version == one.model_version
    newest = select(Shadow.inspection_id).where(mine).order_by(Shadow.inspection_id.desc())
    first = session.scalar(newest.offset(max(_LONGEST, wanted)).limit(1))
    former = select(ModelAlias.model_version).where(ModelAlias.alias == CHALLENGER)
    too_old = false() if first is None else mine & (Shadow.inspection_id <= first)
    gone = delete(Shadow).where(or_(Shadow.model_version.not_in(former), too_old))
    session.execute(gone, execution_options={"synchronize_session": False})


def is_shadow() -> ColumnElement[bool]:
    """Say, in SQL, of a rescore that it is a challenger's; spelt out, since an index holds only those."""
    return Rescore.origin == literal(SHADOW, literal_execute=True)
