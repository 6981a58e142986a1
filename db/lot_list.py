"""Which lots there are: the one that was captured last comes first.

No table keeps lots, so the list is read out of the inspections, in one of two ways. Backwards in time: where
lots are small, a page of them is found among some thousand rows. Or name by name: the index over lot and id
leads from each lot to the next past all its rows, which is short where lots are large. Which of both it is
nobody knows, so each is tried for a while before it is followed to the end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select, text, union_all
from sqlalchemy.orm import Session

from db.engine import dialect_of, one_by_one
from db.ids import uuid7_time
from db.matching import PENDING
from db.tables import Inspection

COUNTED: Final = 250  # parts of a lot, the newest: more would take longer than a list may
_AT_ONCE: Final = 2_000  # rows, backwards in time
# PostgreSQL looks into each month for each name, and reads rows in no time.
_FEW_ROWS: Final = {"sqlite": _AT_ONCE, "postgresql": 8 * _AT_ONCE}
_MANY_ROWS: Final = 16 * _AT_ONCE
_FEW_NAMES: Final = 3_000
_ALL: Final = 2**31 - 1
_HIGHEST: Final = "\U0010ffff"
# Not by the index over product and id, which SQLite would prefer: a lot has few rows, a product many.
_BESIDE: Final = "coalesce(product, '') = :product"
_Found = tuple[str, UUID]  # a lot, and its newest inspection


@dataclass(frozen=True)
class ListedLot:
    """A lot, or a product's part of it, with its newest inspection.

    `verdicts` counts those of the newest COUNTED inspections, `pending` among them; `is_all` says that there
    are no others.
    """

    lot: str
    last: UUID
    product: str  # of the newest inspection
    verdicts: dict[str, int]
    is_all: bool

    @property
    def last_captured_at(self) -> datetime:
        return uuid7_time(self.last)

    @property
    def counted(self) -> int:
        return sum(self.verdicts.values())


def newest(
    session: Session,
    limit: int,
    product: str | None = None,
    begins: str | None = None,
    after: UUID | None = None,
) -> list[ListedLot]:
    """Give up to `limit` lots, of a product or all, whose names begin so; the one captured last comes first.

    `after` is `last` of the last one of the page before. A lot of which something is captured meanwhile moves
    to the top: no page shows it twice, and what it passes doesn't shift.
    """
    asked = limit, product, begins, after
    found = _by_time(session, *asked, most=_FEW_ROWS[dialect_of(session)])
    if found is None:
        found = _by_name(session, *asked, most=_FEW_NAMES)
    if found is None:
        found = _by_time(session, *asked, most=_MANY_ROWS)
    if found is None:
        found = _by_name(session, *asked)
    return _with_verdicts(session, found or [], product)


def _by_time(
    session: Session, limit: int, product: str | None, begins: str | None, after: UUID | None, *, most: int
) -> list[_Found] | None:
    """Go backwards in time from `after`; None where that meets too few lots among `most` rows."""
    query = select(Inspection.id, Inspection.lot).order_by(Inspection.id.desc()).limit(_AT_ONCE)
    if product is not None:
        query = query.where(Inspection.product == product)
    met: dict[str, UUID] = {}  # the first one met is the newest before `after`
    before, checked = after, 0
    found: list[_Found] = []
    for _ in range(0, most, _AT_ONCE):
        rows = session.execute(query if before is None else query.where(Inspection.id < before)).all()
        for id_, lot in rows:
            if lot is not None and (begins is None or lot.startswith(begins)):
                met.setdefault(lot, id_)
        fresh = list(met.items())[checked:]
        checked = len(met)
        found += fresh if after is None else _not_newer(session, fresh, product)
        if len(found) >= limit or len(rows) < _AT_ONCE:
            return found[:limit]
        before = rows[-1][0]
    return None


def _not_newer(session: Session, lots: Iterable[_Found], product: str | None) -> list[_Found]:
    """Give those lots whose newest inspection this is: others were on a page before."""
    wanted = dict(lots)
    if not wanted:
        return []
    of_lot = select(Inspection.lot, Inspection.id).order_by(Inspection.id.desc()).limit(1)
    if product is not None:
        of_lot = of_lot.where(text(_BESIDE).bindparams(product=product))
    found: dict[str, UUID] = {}
    names = list(wanted)
    for start in range(0, len(names), 100):
        each = [
            select(of_lot.where(Inspection.lot == name).subquery()) for name in names[start : start + 100]
        ]
        found.update((row[0], row[1]) for row in session.execute(union_all(*each)))
    return [(lot, id_) for lot, id_ in wanted.items() if found.get(lot) == id_]


def _by_name(
    session: Session,
    limit: int,
    product: str | None,
    begins: str | None,
    after: UUID | None,
    *,
    most: int = _ALL,
) -> list[_Found] | None:
    """Go from name to name, look up the newest inspection of each, and sort; None beyond `most` names."""
    bounds = _bounds(session, begins)
    of_product = "" if product is None else f"AND {_BESIDE} "
    query = text(
        # The constants are names of ours.
        "WITH RECURSIVE names(lot, number) AS ("  # noqa: S608
        f"SELECT (SELECT min(lot) FROM inspections WHERE lot >= :first{bounds}), 1 UNION ALL "
        f"SELECT (SELECT min(lot) FROM inspections WHERE lot > names.lot{bounds}), number + 1 "
        "FROM names WHERE names.lot IS NOT NULL AND number < :most) "
        "SELECT lot, (SELECT i.id FROM inspections i WHERE i.lot = names.lot "
        f"{of_product}ORDER BY i.id DESC LIMIT 1) AS last FROM names WHERE lot IS NOT NULL"
    ).columns(Inspection.lot, last=Inspection.id.type)
    values: dict[str, Any] = {"first": begins if bounds and begins else "", "product": product}
    values |= {"last": f"{begins}{_HIGHEST}", "most": most}
    rows = session.execute(query, {name: values[name] for name in query.compile().params}).all()
    if len(rows) >= most:
        return None
    found = [
        (row.lot, row.last)
        for row in rows
        if row.last is not None
        and (begins is None or row.lot.startswith(begins))
        and (after is None or row.last < after)
    ]
    return sorted(found, key=lambda one: one[1], reverse=True)[:limit]


def _bounds(session: Session, begins: str | None) -> str:
    """Bound the names where the database sorts them by their characters' numbers, else go through all."""
    if begins is None:
        return ""
    if dialect_of(session) == "postgresql":
        collation = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        if session.scalar(text(collation)) not in {"C", "POSIX", "C.UTF-8", "C.utf8"}:
            return ""
    return " AND lot < :last"


def _with_verdicts(session: Session, found: Sequence[_Found], product: str | None) -> list[ListedLot]:
    products = select(Inspection.id, Inspection.product).where(Inspection.id.in_([last for _, last in found]))
    with one_by_one(session):
        made_of = {row[0]: row[1] for row in session.execute(products)}
        counted = _counted(session, [lot for lot, _ in found], product)
    return [
        ListedLot(lot, last, made_of[last], counted[lot], sum(counted[lot].values()) <= COUNTED)
        for lot, last in found
    ]


def _counted(session: Session, lots: Sequence[str], product: str | None) -> dict[str, dict[str, int]]:
    """Count the verdicts of each lot's newest parts, one more than COUNTED where there are more.

    As text: what SQLAlchemy takes for building it would be most of the time of a list. PostgreSQL plans once
    for all, which takes long with many months; SQLite has no such join, and plans in no time.
    """
    of_product = "" if product is None else f"AND {_BESIDE} "
    newest = f"SELECT id FROM inspections WHERE lot = {{lot}} {of_product}ORDER BY id DESC LIMIT :most"  # noqa: S608
    verdict = f"coalesce(r.verdict, '{PENDING}')"
    results = "LEFT JOIN results r ON r.inspection_id = ids.id"
    values: dict[str, Any] = {"most": COUNTED + 1} | ({} if product is None else {"product": product})
    found: dict[str, dict[str, int]] = {lot: {} for lot in lots}
    if dialect_of(session) == "postgresql":
        query = (
            f"SELECT wanted.lot, {verdict}, count(*) FROM unnest(CAST(:lots AS text[])) AS wanted (lot) "  # noqa: S608
            f"CROSS JOIN LATERAL ({newest.format(lot='wanted.lot')}) ids {results} GROUP BY 1, 2"
        )
        for lot, name, number in session.execute(text(query), {**values, "lots": list(lots)}):
            found[lot][name] = number
        return found
    query = f"SELECT {verdict}, count(*) FROM ({newest.format(lot=':lot')}) ids {results} GROUP BY 1"  # noqa: S608
    for lot in lots:
        found[lot] = {row[0]: row[1] for row in session.execute(text(query), {**values, "lot": lot})}
    return found
