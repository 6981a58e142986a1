"""Acts of retention: letting go what the policy says, each in one transaction with the event that tells.

Images are let go first, then maps, then rows: an image's name stands in its row. An act comes before the
files it names are removed; another event tells that they are, and without it they are removed again.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Engine, Select, delete, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from db import events, rescores, review_queue
from db.engine import dialect_of, session_factory
from db.imagestore import ImageStore
from db.inspections import IDS_PER_QUERY
from db.ledger import lots_let_go, merkle, released
from db.ledger.facts import Kind
from db.ledger.released import ACT, IMAGE, MAP
from db.retention import archive as archives
from db.retention import months, samples
from db.retention.due import Act, Due, candidates, due
from db.retention.images import remove_files
from db.retention.policy import What, lock
from db.retention.turn import Turn
from db.tables import AnomalyMap, Event, Inspection, ReleasedFact, Rescore, Result, Review, ToReview

APPLIED: Final = "retention.applied"
# Inspections of one act: on SQLite the line waits while they are let go, some 0.1 s.
AT_ONCE: Final = {"sqlite": 2_000, "postgresql": 20_000}


def last_applied(session: Session) -> datetime | None:
    """Give when a worker last let go all that was due, None where none ever did."""
    newest = select(Event.at).where(Event.kind == APPLIED).order_by(Event.id.desc()).limit(1)
    return session.scalar(newest)


def plan(session: Session, now: datetime) -> list[Act]:
    """Say what `apply` would let go, by product and verdict."""
    found = []
    for one in due(session, now):
        query = candidates(session, one, ready=False).subquery()
        number = session.scalar(select(func.count()).select_from(query))
        if number:
            found.append(Act(None, one.what, one.product, one.verdict, number))
    return found


def apply(
    engine: Engine,
    store: ImageStore,
    actor: str,
    *,
    archive: bool,
    turn: Turn | None = None,
    now: datetime | None = None,
    signature: dict[str, Any] | None = None,
) -> Iterator[Act]:
    """Let go what the policy says, act by act, until nothing is due; a rule that changes meanwhile ends.

    With `archive`, rows are kept in a schema of their own: RetentionError on SQLite, which has none.
    The turn says when to stop before, and hears what had to be left. May be stopped anywhere and repeated;
    goes through all that was ever let go, so not every minute. Raises what the database raises when it is
    away, and db.imagestore.ImageStoreUnavailableError.
    """
    turn = turn or Turn()
    sessions, reading = session_factory(engine), session_factory(engine, read_only=True)
    remove_files(reading, sessions, store, actor, Turn(turn.go_on))
    with reading() as session:
        todo = due(session, now or datetime.now(UTC))
    rows = [one for one in todo if one.what == "rows"]
    if archive and rows:
        archives.require(engine.dialect.name)
    for one in todo:
        if one.what != "rows":
            yield from _let_go(reading, sessions, one, actor, signature, turn)
    samples.remove_files(reading, sessions, store, actor, turn)
    if not remove_files(reading, sessions, store, actor, turn):
        return  # rows name the images that are still to be removed
    busy: list[datetime] = []
    yield from months.let_go(sessions, todo, actor, turn, busy, archive=archive, signature=signature)
    for one in rows:
        yield from _let_go(reading, sessions, one, actor, signature, turn, without=busy, archive=archive)
    with reading() as session:
        if any(session.scalar(candidates(session, one, without=busy, ready=False).limit(1)) for one in rows):
            turn.left.append("rows of which something waits to be sealed, or whose rule was changed")


def _let_go(
    reading: sessionmaker[Session],
    sessions: sessionmaker[Session],
    one: Due,
    actor: str,
    signature: dict[str, Any] | None,
    turn: Turn,
    without: Sequence[datetime] = (),
    *,
    archive: bool = False,
) -> Iterator[Act]:
    last: UUID | None = None
    while not turn.is_over():
        with reading() as session:  # on SQLite, looking for the next would keep the line waiting
            query = candidates(session, one, after=last, without=without)
            found = list(session.scalars(query.limit(AT_ONCE[dialect_of(session)])))
        if not found:
            return
        last = found[-1]
        with sessions.begin() as session:
            lock(session)
            if not one.still_in_force(session):
                return
            ids = list(_still(session, one, found))
            act = _act(session, one, ids, actor, signature, archive=archive) if ids else None
        if act is not None:
            yield Act(act, one.what, one.product, one.verdict, len(ids))


def _still(session: Session, one: Due, ids: Sequence[UUID]) -> Iterator[UUID]:
    """Give those that are due now: since they were found, lots may have been held and rows reviewed."""
    for group in _some(ids):
        some = Inspection.id.in_(group)
        if one.what == "rows":  # then whoever reviews one has done so before, or finds it gone
            session.execute(select(Inspection.id).where(some).order_by(Inspection.id).with_for_update())
        yield from session.scalars(candidates(session, one).where(some))


def _act(
    session: Session,
    one: Due,
    ids: list[UUID],
    actor: str,
    signature: dict[str, Any] | None,
    *,
    archive: bool,
) -> UUID:
    things: list[tuple[int, UUID]]
    went: list[lots_let_go.Went] = []
    more: dict[str, Any] = {}
    if one.what == "rows":
        went = lots_let_go.count(session, (Inspection.id.in_(some) for some in _some(ids)))
        more = {"archived": archive, **lots_let_go.told(went)}
        things = [(kind.value, id_) for kind in (Kind.INSPECTION, Kind.RESULT) for id_ in ids]
        things += sorted((Kind.REVIEW.value, id_) for id_ in _reviews(session, ids))
    else:
        things = [(IMAGE if one.what == "images" else MAP, id_) for id_ in ids]
    root = merkle.root_of(released.leaf(*thing) for thing in things)
    detail = one.told(len(ids), len(things), root, signature, **more)
    act = events.record(session, ACT, actor, one.product, detail)
    lots_let_go.add(session, act, went)
    for kind in dict(things):
        released.add(session, act, kind, [id_ for of, id_ in things if of == kind])
    if archive:
        archives.keep(session, act, archives.ALL)
    _delete(session, act, one.what)
    return act


def _reviews(session: Session, ids: Sequence[UUID]) -> Iterator[UUID]:
    for some in _some(ids):
        yield from session.scalars(select(Review.id).where(Review.inspection_id.in_(some)))


def _some(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(ids), IDS_PER_QUERY):
        yield ids[start : start + IDS_PER_QUERY]


def _delete(session: Session, act: UUID, what: What) -> None:
    def named(kind: int) -> Select[Any]:
        return select(ReleasedFact.fact).where(ReleasedFact.act == act, ReleasedFact.kind == kind)

    quietly = {"synchronize_session": False}
    if what == "maps":
        emptied = update(AnomalyMap).where(AnomalyMap.inspection_id.in_(named(MAP))).values(data=b"")
        session.execute(emptied, execution_options=quietly)
        rescores.let_go(session, Rescore.inspection_id.in_(named(MAP)), only_maps=True)
    if what == "images":  # nobody can look at them any more
        review_queue.forget(session, ToReview.inspection_id.in_(named(IMAGE)))
    if what == "rows":
        results, inspections = named(Kind.RESULT.value), named(Kind.INSPECTION.value)
        review_queue.forget(session, ToReview.inspection_id.in_(inspections))
        rescores.let_go(session, Rescore.inspection_id.in_(inspections))
        for statement in (
            delete(Review).where(Review.id.in_(named(Kind.REVIEW.value))),
            delete(AnomalyMap).where(AnomalyMap.inspection_id.in_(results)),
            delete(Result).where(Result.inspection_id.in_(results)),
            delete(Inspection).where(Inspection.id.in_(inspections)),
        ):
            session.execute(statement, execution_options=quietly)
