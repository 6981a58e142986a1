"""Acts of retention: letting go what the policy says, each in one transaction with the event that tells.

Images are let go first, then maps, then rows: an image's name stands in its row. An act comes before the
files it names are removed; `images_removed` tells that they are, and without it they are removed again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, aliased, sessionmaker

from db import events, partitions
from db.ids import first_id
from db.imagestore import ImageStore
from db.inspections import IDS_PER_QUERY
from db.ledger import merkle, released
from db.ledger.facts import Kind
from db.ledger.released import ACT, IMAGE, MAP, is_let_go
from db.retention.policy import Rule, What, holds, lock, rule_for, rules
from db.tables import VERDICTS, AnomalyMap, Event, Inspection, Product, ReleasedFact, Result, Review
from db.types import Id

IMAGES_REMOVED: Final = "retention.images_removed"
APPLIED: Final = "retention.applied"
AT_ONCE: Final = 20_000  # things of one act: the shared images are looked for once for each
_LOCKED: Final = "55P03"  # PostgreSQL's lock_not_available
_ORDER: Final[tuple[What, ...]] = ("images", "maps", "rows")
# Whoever stores an image that is there already makes it new after half of that (db.imagestore): what is
# younger may belong to an inspection whose row is about to be committed.
_YOUNG: Final = timedelta(days=1)


@dataclass(frozen=True)
class Act:
    """What was let go, or with `id` None would be; `month` where it was a whole partition."""

    id: UUID | None
    what: What
    product: str | None
    verdict: str | None
    inspections: int
    month: datetime | None = None


@dataclass(frozen=True)
class Due:
    """What a rule lets go of a product and verdict: inspections captured and judged before `until`."""

    what: What
    rule: Rule
    days: int
    product: str
    verdict: str | None  # None: all there are
    until: datetime


def due(session: Session, now: datetime) -> list[Due]:
    """Give what the policy lets go at a time, in the order in which it has to go."""
    in_force = rules(session)
    by_month = session.get_bind().dialect.name == "postgresql"
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


def last_applied(session: Session) -> datetime | None:
    """Give when a worker last let go all that was due, None where none ever did."""
    newest = select(Event.at).where(Event.kind == APPLIED).order_by(Event.id.desc()).limit(1)
    return session.scalar(newest)


def plan(session: Session, now: datetime) -> list[Act]:
    """Say what `apply` would let go, by product and verdict."""
    found = []
    for one in due(session, now):
        candidates = _candidates(session, one, images_first=False).subquery()
        number = session.scalar(select(func.count()).select_from(candidates))
        if number:
            found.append(Act(None, one.what, one.product, one.verdict, number))
    return found


def apply(
    sessions: sessionmaker[Session],
    store: ImageStore,
    actor: str,
    *,
    archive: bool,
    now: datetime | None = None,
    signature: dict[str, Any] | None = None,
) -> Iterator[Act]:
    """Let go what the policy says, act by act, until nothing is due.

    May be stopped anywhere and repeated; goes through all that was ever let go, so not every minute. Raises
    what the database raises when it is away, and db.imagestore.ImageStoreUnavailableError.
    """
    now = now or datetime.now(UTC)
    _remove_images(sessions, store, actor)
    with sessions() as session:
        todo = due(session, now)
    months_done = False
    for one in todo:
        if one.what == "rows" and not months_done:
            if not _remove_images(sessions, store, actor):
                return  # rows name the images that are still to be removed
            months_done = True
            yield from _months(sessions, todo, actor, archive=archive, signature=signature)
        while True:
            act_done = _let_go(sessions, one, actor, signature)
            if act_done is None:
                break
            if one.what == "images":
                _remove_images(sessions, store, actor)
            yield act_done


def _candidates(session: Session, one: Due, *, images_first: bool = True) -> Select[Any]:
    """Select the inspections that it lets go, oldest first: judged, and of no lot that is held.

    With `images_first` rows are due only where the image was let go already.
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
    if one.what == "images":
        return query.where(~is_let_go(IMAGE, Inspection.id))
    if one.what == "maps":
        has_map = exists().where(AnomalyMap.inspection_id == Inspection.id)
        return query.where(has_map, ~is_let_go(MAP, Inspection.id))
    return query.where(is_let_go(IMAGE, Inspection.id)) if images_first else query


def _not_held(session: Session) -> list[ColumnElement[bool]]:
    held = list(holds(session))
    return [or_(Inspection.lot.is_(None), Inspection.lot.not_in(held))] if held else []


def _let_go(
    sessions: sessionmaker[Session], one: Due, actor: str, signature: dict[str, Any] | None
) -> Act | None:
    with sessions.begin() as session:
        lock(session)
        ids = list(session.scalars(_candidates(session, one).limit(AT_ONCE)))
        if not ids:
            return None
        things: list[tuple[int, UUID]]
        if one.what == "rows":
            things = [(kind.value, id_) for kind in (Kind.INSPECTION, Kind.RESULT) for id_ in ids]
            things += sorted((Kind.REVIEW.value, id_) for id_ in _reviews(session, ids))
        else:
            things = [(IMAGE if one.what == "images" else MAP, id_) for id_ in ids]
        root = merkle.root_of(released.leaf(*thing) for thing in things)
        detail = _told(one, len(ids), len(things), root, signature)
        act = events.record(session, ACT, actor, one.product, detail)
        for kind in dict(things):
            released.add(session, act, kind, [id_ for of, id_ in things if of == kind])
        _delete(session, act, one.what)
    return Act(act, one.what, one.product, one.verdict, len(ids))


def _reviews(session: Session, ids: Sequence[UUID]) -> Iterator[UUID]:
    for start in range(0, len(ids), IDS_PER_QUERY):
        some = ids[start : start + IDS_PER_QUERY]
        yield from session.scalars(select(Review.id).where(Review.inspection_id.in_(some)))


def _told(
    one: Due, inspections: int, things: int, root: bytes, signature: dict[str, Any] | None, **more: Any
) -> dict[str, Any]:
    return {
        "what": one.what,
        "verdict": one.verdict,
        "days": one.days,
        "until": one.until.isoformat(),
        "policy": str(one.rule.event),
        "inspections": inspections,
        "facts": things,
        "root": root.hex(),
        "signature": signature,
        **more,
    }


def _delete(session: Session, act: UUID, what: What) -> None:
    def named(kind: int) -> Select[Any]:
        return select(ReleasedFact.fact).where(ReleasedFact.act == act, ReleasedFact.kind == kind)

    quietly = {"synchronize_session": False}
    if what == "maps":
        emptied = update(AnomalyMap).where(AnomalyMap.inspection_id.in_(named(MAP))).values(data=b"")
        session.execute(emptied, execution_options=quietly)
    if what == "rows":
        results, inspections = named(Kind.RESULT.value), named(Kind.INSPECTION.value)
        for statement in (
            delete(Review).where(Review.id.in_(named(Kind.REVIEW.value))),
            delete(AnomalyMap).where(AnomalyMap.inspection_id.in_(results)),
            delete(Result).where(Result.inspection_id.in_(results)),
            delete(Inspection).where(Inspection.id.in_(inspections)),
        ):
            session.execute(statement, execution_options=quietly)


def _remove_images(sessions: sessionmaker[Session], store: ImageStore, actor: str) -> bool:
    """Remove the files of acts that no event says it of, save those that others need.

    Gives False where some are too young: they are looked for again the next time.
    """
    with sessions() as session:
        finished = set(session.scalars(select(Event.subject).where(Event.kind == IMAGES_REMOVED)))
        acts = [
            event.id
            for event in session.scalars(select(Event).where(Event.kind == ACT).order_by(Event.id))
            if event.detail.get("what") == "images" and str(event.id) not in finished
        ]
    young = 0
    for act in acts:
        with sessions() as session:
            hashes = _unneeded(session, act)
        left = store.remove(sorted(hashes), older_than=datetime.now(UTC) - _YOUNG)
        young += left
        if not left:
            with sessions.begin() as session:
                events.record(session, IMAGES_REMOVED, actor, str(act), {"images": len(hashes)})
    return not young


def _unneeded(session: Session, act: UUID) -> set[str]:
    """Give the hashes of the act's images that no inspection has which keeps its image."""
    mine = (
        select(Inspection.image_sha256)
        .join(ReleasedFact, ReleasedFact.fact == Inspection.id)
        .where(ReleasedFact.act == act, ReleasedFact.kind == IMAGE)
        .distinct()
        .cte("mine")
    )
    other = aliased(Inspection)
    needed = (
        select(other.image_sha256)
        .join(mine, mine.c.image_sha256 == other.image_sha256)
        .where(~is_let_go(IMAGE, other.id))
    )
    return set(session.scalars(select(mine.c.image_sha256))) - set(session.scalars(needed))


def _months(
    sessions: sessionmaker[Session],
    todo: Sequence[Due],
    actor: str,
    *,
    archive: bool,
    signature: dict[str, Any] | None,
) -> Iterator[Act]:
    """Let whole months go of which every row is due: their partitions are dropped, which costs little."""
    rows = {(one.product, one.verdict or ""): one for one in todo if one.what == "rows"}
    with sessions() as session:
        there = partitions.months(session.connection())
    for month in there:
        end = partitions.after(month)
        if not any(end <= one.until for one in rows.values()):
            continue
        try:
            with sessions.begin() as session:
                act = _month(session, month, rows, actor, archive=archive, signature=signature)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCKED:
                raise
            continue  # a long export reads it: its rows go one by one
        if act is not None:
            yield act


def _month(
    session: Session,
    month: datetime,
    rows: dict[tuple[str, str], Due],
    actor: str,
    *,
    archive: bool,
    signature: dict[str, Any] | None,
) -> Act | None:
    lock(session)
    for table in partitions.TABLES:
        part = partitions.name_of(table, month)
        session.execute(text(f"LOCK TABLE {part} IN SHARE ROW EXCLUSIVE MODE"))
    ones = _whole(session, month, rows)
    if not ones:
        return None
    first, end = first_id(month), first_id(partitions.after(month))
    sources = (
        (Kind.INSPECTION.value, Inspection.id, Inspection.id),
        (Kind.RESULT.value, Result.inspection_id, Result.inspection_id),
        (Kind.REVIEW.value, Review.id, Review.inspection_id),
    )
    numbers: dict[int, int] = {}

    def leaves() -> Iterator[bytes]:
        for kind, fact, inspection in sources:
            query = select(fact).where(inspection >= first, inspection < end).order_by(fact)
            for id_ in session.scalars(query, execution_options={"yield_per": 5000}):
                numbers[kind] = numbers.get(kind, 0) + 1
                yield released.leaf(kind, id_)

    root = merkle.root_of(leaves())
    # The shortest term is told, which the others have passed as well.
    one = min(ones, key=lambda due_: due_.days)
    number = numbers[Kind.INSPECTION.value]
    told = replace(one, until=partitions.after(month), verdict=None)
    more = {"month": f"{month:%Y-%m}", "archived": archive}
    detail = _told(told, number, sum(numbers.values()), root, signature, **more)
    act = events.record(session, ACT, actor, None, detail)
    for kind, fact, inspection in sources:
        named = select(literal(kind), fact, literal(act, Id())).where(inspection >= first, inspection < end)
        session.execute(insert(ReleasedFact).from_select(["kind", "fact", "act"], named))
    gone = delete(Review).where(Review.inspection_id >= first, Review.inspection_id < end)
    session.execute(gone, execution_options={"synchronize_session": False})
    partitions.remove(session.connection(), month, archive=archive)
    return Act(act, "rows", None, None, number, month)


def _whole(session: Session, month: datetime, rows: dict[tuple[str, str], Due]) -> list[Due]:
    """Give what all rows of a month are due by; nothing where one of them has to stay."""
    first, end = first_id(month), first_id(partitions.after(month))
    within = (Inspection.id >= first, Inspection.id < end)
    query = (
        select(Inspection.product, Result.verdict, func.max(Result.judged_at))
        .join(Result, Result.inspection_id == Inspection.id, isouter=True)
        .where(*within)
        .group_by(Inspection.product, Result.verdict)
    )
    found = []
    for product, verdict, judged_at in session.execute(query):
        one = rows.get((product, verdict))
        if one is None or partitions.after(month) > one.until or judged_at >= one.until:
            return []
        found.append(one)
    held = list(holds(session))
    stays = select(Inspection.id).where(
        *within, or_(Inspection.lot.in_(held), ~is_let_go(IMAGE, Inspection.id))
    )
    return found if session.scalar(stays.limit(1)) is None else []
