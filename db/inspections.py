"""Accepting inspections, and counting how they stand."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    exists,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import Session

from db.among import among
from db.engine import dialect_of
from db.ids import first_id, uuid7_time
from db.insert import insert_missing
from db.ledger import released
from db.ledger.facts import Kind
from db.ledger.released import IMAGE, is_let_go
from db.reviewed import newest, passed_for_good
from db.tables import Attempt, GoldenTrial, Inspection, Product, Result, Review, Station
from db.text import require_name

IDS_PER_QUERY = 500  # PostgreSQL takes 65,535 parameters in one statement, SQLite 32,766
_LATELY: Final = timedelta(hours=12)  # what was captured since can't have been let go: no term is under a day


@dataclass(frozen=True)
class NewInspection:
    """An image that is stored and waits to become a row; the fields are those of the table.

    `id` is `db.ids.uuid7(captured_at)`: whoever looks for a time looks for ids. Raises ValueError for another
    one, and for a name or a time that can't be kept, before it can spoil a batch.
    """

    id: UUID
    product: str
    station: str
    line: str | None
    serial: str | None
    lot: str | None
    captured_at: datetime
    received_at: datetime
    image_sha256: str
    image_key: str
    image_bytes: int
    image_width: int
    image_height: int
    image_format: str

    def __post_init__(self) -> None:
        for what in ("product", "station", "line", "serial", "lot"):
            require_name(what, getattr(self, what))
        if self.captured_at.tzinfo is None or self.received_at.tzinfo is None:
            raise ValueError(
                f"{self.id} without a zone: captured_at {self.captured_at}, received_at {self.received_at}"
            )
        if uuid7_time(self.id) != self.captured_at:
            raise ValueError(
                f"the id {self.id} carries {uuid7_time(self.id)}, but was captured at {self.captured_at}: "
                "make it with uuid7(captured_at)"
            )


@dataclass(frozen=True)
class Counts:
    """Where the accepted inspections stand: accepted = ok + ng + inconclusive + error + pending."""

    accepted: int
    ok: int
    ng: int
    inconclusive: int
    error: int
    pending: int


class UnknownProductError(Exception):
    """An image names a product that nobody has set up."""

    def __init__(self, product: str, known: Sequence[str]) -> None:
        self.product = product
        self.known = tuple(known)
        names = ", ".join(known) or "none yet"
        super().__init__(
            f"unknown product {product!r} (known: {names}); "
            f"`pyramidion train {product} --images DIR` sets it up"
        )


def accept(
    session: Session, new: Sequence[NewInspection], waiting_since: datetime | None = None
) -> list[UUID]:
    """Insert the inspections that aren't there yet and give their ids; stations are made on first use.

    `waiting_since` is what the sweeper goes by, by the database's clock (db.clock); None takes received_at.
    May be repeated and may race with itself: each id is inserted, and returned, once. Raises
    UnknownProductError, with nothing inserted, for a product that isn't set up.
    """
    # A file that is captured again after retention has let its inspection go is no new part: its leaf stands.
    gone = _gone(session, {item.id for item in new})
    new = [item for item in new if item.id not in gone]
    if not new:
        return []
    products, stations = {item.product for item in new}, {item.station: item for item in new}
    names = {"products": list(products), "stations": list(stations)}
    known = {(kind, name) for kind, name in session.execute(_known(dialect_of(session)), names)}
    for item in new:
        if ("product", item.product) not in known:
            raise UnknownProductError(
                item.product, list(session.scalars(select(Product.name).order_by(Product.name)))
            )
    insert_missing(
        session,
        Station,
        Station.name,
        [
            {"name": name, "line": item.line, "created_at": item.received_at}
            for name, item in stations.items()
            if ("station", name) not in known
        ],
    )
    inserted = insert_missing(session, Inspection, Inspection.id, [vars(item) for item in new])
    received = {item.id: item.received_at for item in new}
    insert_missing(
        session,
        Attempt,
        Attempt.inspection_id,
        [
            {"inspection_id": id_, "attempts": 0, "waiting_since": waiting_since or received[id_]}
            for id_ in inserted
        ],
    )
    return inserted


@cache
def _known(dialect: str) -> CompoundSelect[Any]:
    """Select which of the `products` and `stations` there are."""
    return union_all(
        select(literal_column("'product'"), Product.name).where(among(dialect, Product.name, "products")),
        select(literal_column("'station'"), Station.name).where(among(dialect, Station.name, "stations")),
    )


def _gone(session: Session, ids: Collection[UUID]) -> set[UUID]:
    """Give those that retention has let go, having waited where it does so just now."""
    now = datetime.now(UTC)
    old = {id_ for id_ in ids if now - uuid7_time(id_) > _LATELY}
    for chunk in chunks(old):
        row = select(Inspection.id).where(Inspection.id.in_(chunk)).order_by(Inspection.id)
        session.execute(row.with_for_update(read=True, key_share=True))
    return released.of(session.connection(), Kind.INSPECTION, old)


def require_product(session: Session, product: str) -> None:
    """Raise UnknownProductError where the product isn't set up."""
    if session.get(Product, product) is None:
        raise UnknownProductError(product, list(session.scalars(select(Product.name).order_by(Product.name))))


def any_accepted(session: Session) -> bool:
    """Whether there is any inspection, or was until retention let them go."""
    return session.scalar(select(Station.name).limit(1)) is not None


def known_ids(session: Session, ids: Collection[UUID]) -> set[UUID]:
    """Give those of the ids that are accepted already, or were until retention let them go."""
    known = released.of(session.connection(), Kind.INSPECTION, ids)
    for chunk in chunks(ids):
        known.update(session.scalars(select(Inspection.id).where(Inspection.id.in_(chunk))))
    return known


def count_ok(session: Session, product: str, limit: int, since: datetime | None = None) -> int:
    """Count the product's good parts, those captured since a time where one is given; up to `limit`.

    Good is what was judged ok, or rejected and overruled. Without what their newest review doubts otherwise,
    and golden samples.
    """
    doubted = select(Review.inspection_id).where(newest(), Review.verdict != "confirm")
    query = (
        select(Inspection.id)
        .join(Result, Result.inspection_id == Inspection.id)
        .where(
            Inspection.product == product,
            passed_for_good(),
            or_(Result.verdict == "ng", Inspection.id.not_in(doubted)),
            ~exists().where(GoldenTrial.inspection_id == Inspection.id),
            ~is_let_go(IMAGE, Inspection.id),
        )
    )
    if since is not None:
        query = query.where(Inspection.id >= first_id(since))
    return session.scalars(select(func.count()).select_from(query.limit(limit).subquery())).one()


def counts(
    session: Session, product: str | None = None, station: str | None = None, lot: str | None = None
) -> Counts:
    """Count verdicts, and what waits for one, over all inspections or those of a product, station or lot."""
    # A lot is found by its own index: it has few rows, and SQLite would prefer that of the product.
    beside = [(Inspection.product, product), (Inspection.station, station)]
    wanted: list[ColumnElement[bool]] = [
        (column if lot is None else func.coalesce(column, "")) == value
        for column, value in beside
        if value is not None
    ]
    if lot is not None:
        wanted.append(Inspection.lot == lot)
    found = session.execute(
        select(Result.verdict, func.count().label("number"))
        .select_from(Inspection)
        .outerjoin(Result, Result.inspection_id == Inspection.id)
        .where(*wanted)
        .group_by(Result.verdict)
    )
    by_verdict: dict[str | None, int] = {row.verdict: row.number for row in found}
    return Counts(
        accepted=sum(by_verdict.values()),
        ok=by_verdict.get("ok", 0),
        ng=by_verdict.get("ng", 0),
        inconclusive=by_verdict.get("inconclusive", 0),
        error=by_verdict.get("error", 0),
        pending=by_verdict.get(None, 0),
    )


def chunks(ids: Collection[UUID]) -> list[list[UUID]]:
    """Give the ids in their order, no more at once than a statement takes."""
    ordered = sorted(set(ids))
    return [ordered[start : start + IDS_PER_QUERY] for start in range(0, len(ordered), IDS_PER_QUERY)]
