"""Which lots acts of retention let inspections go of, and how many of each: the rows can't tell any more.

An act states, sealed, how many rows of `released_lots` it has and the root of a tree over them; whoever has
one of them and its path can show that the act says so.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.orm import Session

from db.ledger import merkle
from db.ledger.canonical import canonical
from db.tables import Event, Inspection, ReleasedLot, Result

_COLUMNS: Final = (ReleasedLot.lot, ReleasedLot.product, ReleasedLot.verdict, ReleasedLot.inspections)


class Went(NamedTuple):
    """How many inspections of a lot, product and verdict went."""

    lot: str
    product: str
    verdict: str
    inspections: int

    def leaf(self) -> bytes:
        return merkle.leaf_hash(canonical(self._asdict()))


@dataclass(frozen=True)
class Proved:
    """What went by an act, and its way to the root that the act states."""

    went: Went
    act: Event
    position: int
    leaves: int
    path: list[bytes]


def count(session: Session, conditions: Iterable[ColumnElement[bool]]) -> list[Went]:
    """Count what has a lot and meets one of the conditions, which no inspection meets twice."""
    found: Counter[tuple[str | None, str, str]] = Counter()
    for condition in conditions:
        key = (Inspection.lot, Inspection.product, Result.verdict)
        query = select(*key, func.count()).join(Result, Result.inspection_id == Inspection.id)
        query = query.where(condition, Inspection.lot.is_not(None)).group_by(*key)
        for lot, product, verdict, number in session.execute(query):
            found[lot, product, verdict] += number
    return sorted(Went(lot or "", product, verdict, n) for (lot, product, verdict), n in found.items())


def told(went: list[Went]) -> dict[str, Any]:
    """Give what the event of the act says of them."""
    root = merkle.root([one.leaf() for one in went]).hex() if went else None
    return {"lots": len(went), "lots_root": root}


def add(session: Session, act: UUID, went: list[Went]) -> None:
    """Write down what the act lets go, in its own transaction."""
    if went:
        session.execute(insert(ReleasedLot), [{**one._asdict(), "act": act} for one in went])


def of_act(session: Session, act: UUID) -> list[Went]:
    """Give what an act has written down, in the order of its tree."""
    rows = session.execute(select(*_COLUMNS).where(ReleasedLot.act == act))
    return sorted(Went(*row) for row in rows)  # databases collate in their own ways


def of_lot(session: Session, lot: str, product: str | None = None) -> list[tuple[Went, Event]]:
    """Give what went of a lot, or of a product's part of it, and by which acts, oldest first."""
    query = select(*_COLUMNS, Event).join(Event, Event.id == ReleasedLot.act).where(ReleasedLot.lot == lot)
    if product is not None:
        query = query.where(ReleasedLot.product == product)
    ordered = query.order_by(ReleasedLot.act, ReleasedLot.product, ReleasedLot.verdict)
    return [(Went(*row[:-1]), row[-1]) for row in session.execute(ordered)]


def prove(session: Session, lot: str) -> list[Proved]:
    """Give what went of a lot, each with its way to the root that its act states."""
    found = []
    for act, group in groupby(of_lot(session, lot), key=itemgetter(1)):
        rows = of_act(session, act.id)
        tree = merkle.levels([one.leaf() for one in rows])
        for went, _ in group:
            position = rows.index(went)
            found.append(Proved(went, act, position, len(rows), merkle.path(tree, position)))
    return found
