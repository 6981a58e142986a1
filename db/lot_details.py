"""What became of a lot: what of it was captured where, with which verdicts, and what people said of those."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Engine, func, select
from sqlalchemy.orm import Session

from db import partitions
from db.engine import one_by_one
from db.ledger.seal import snapshot
from db.lots import Completeness, completeness
from db.matching import PENDING
from db.retention.policy import Hold, holds
from db.reviewed import newest
from db.tables import Inspection, Result, Review
from db.trends import Figures

OVERRULED: Final = 100  # that are named, the newest


@dataclass(frozen=True)
class StationPart:
    """What a station captured of a lot, of one product; verdicts are counted, `pending` among them."""

    station: str
    line: str | None
    product: str
    verdicts: dict[str, int]
    first_captured_at: datetime
    last_captured_at: datetime

    @property
    def captured(self) -> int:
        return sum(self.verdicts.values())


@dataclass(frozen=True)
class Overruled:
    """A verdict that a person overruled, by the newest review."""

    id: UUID
    serial: str | None
    verdict: str
    reviewer: str
    reason_code: str | None
    reason: str | None
    reviewed_at: datetime


@dataclass(frozen=True)
class LotDetails:
    """All counts are of one moment; `overruled` are the newest OVERRULED, `hold` keeps it from retention."""

    lot: str
    product: str | None
    completeness: Completeness
    figures: Figures
    stations: Sequence[StationPart]
    overruled: Sequence[Overruled]
    hold: Hold | None

    @property
    def yield_after_reviews(self) -> float | None:
        """Share of what is good by verdicts and reviews among what was judged, errors included."""
        figures = self.figures
        whole = figures.judged + figures.error
        good = figures.ok - figures.escapes + figures.false_rejects
        return good / whole if whole else None


class UnknownLotError(Exception):
    """Nothing was ever captured of a lot, or of a product's part of it."""

    def __init__(self, lot: str, product: str | None) -> None:
        of = "" if product is None else f" of product {product!r}"
        super().__init__(f"no inspection{of} has lot {lot!r}")


@contextmanager
def at_one_moment(engine: Engine) -> Iterator[Session]:
    """Give a session that reads one snapshot, from which retention drops nothing meanwhile."""
    with snapshot(engine) as connection, Session(connection) as session:
        partitions.keep(connection)
        yield session


def details(session: Session, lot: str, product: str | None = None) -> LotDetails:
    """Give what became of a lot, or of a product's part of it; costs as much as it has parts.

    `session` is that of `at_one_moment`. Raises UnknownLotError.
    """
    with one_by_one(session):
        return _details(session, lot, product)


def _details(session: Session, lot: str, product: str | None) -> LotDetails:
    found = completeness(session, lot, product)
    if not found.captured:
        raise UnknownLotError(lot, product)
    said = _said(session, lot, product)
    figures = Figures(
        captured=found.captured,
        ok=found.ok,
        ng=found.ng,
        inconclusive=found.inconclusive,
        error=found.error,
        pending=found.pending,
        reviewed_ok=said["ok", "confirm"] + said["ok", "overrule"],
        reviewed_ng=said["ng", "confirm"] + said["ng", "overrule"],
        escapes=said["ok", "overrule"],
        false_rejects=said["ng", "overrule"],
    )
    return LotDetails(
        lot,
        product,
        found,
        figures,
        _stations(session, lot, product),
        _overruled(session, lot, product),
        holds(session).get(lot),
    )


def _of(lot: str, product: str | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [Inspection.lot == lot]
    if product is not None:  # not by the index over product and id: a lot has few rows, a product many
        found.append(func.coalesce(Inspection.product, "") == product)
    return found


def _said(session: Session, lot: str, product: str | None) -> Counter[tuple[str, str]]:
    """Count the newest reviews by the verdict that they are of and by what they say."""
    query = (
        select(Result.verdict, Review.verdict, func.count())
        .select_from(Inspection)
        .join(Result, Result.inspection_id == Inspection.id)
        .join(Review, Review.inspection_id == Inspection.id)
        .where(newest(), *_of(lot, product))
        .group_by(Result.verdict, Review.verdict)
    )
    return Counter({(row[0], row[1]): row[2] for row in session.execute(query)})


def _stations(session: Session, lot: str, product: str | None) -> list[StationPart]:
    key = (Inspection.station, Inspection.line, Inspection.product)
    verdict = func.coalesce(Result.verdict, PENDING)
    at = Inspection.captured_at
    query = (
        select(*key, verdict, func.count(), func.min(at), func.max(at))
        .select_from(Inspection)
        .outerjoin(Result, Result.inspection_id == Inspection.id)
        .where(*_of(lot, product))
        .group_by(*key, verdict)
    )
    found: dict[tuple[str, str | None, str], list[Any]] = defaultdict(list)
    for station, line, made_of, *counted in session.execute(query):
        found[station, line, made_of].append(counted)
    return [
        StationPart(
            *names,
            {row[0]: row[1] for row in rows},
            min(row[2] for row in rows),
            max(row[3] for row in rows),
        )
        for names, rows in sorted(found.items(), key=lambda one: (one[0][0], one[0][1] or "", one[0][2]))
    ]


def _overruled(session: Session, lot: str, product: str | None) -> list[Overruled]:
    query = (
        select(
            Inspection.id,
            Inspection.serial,
            Result.verdict,
            Review.reviewer,
            Review.reason_code,
            Review.reason,
            Review.created_at.label("reviewed_at"),
        )
        .select_from(Inspection)
        .join(Result, Result.inspection_id == Inspection.id)
        .join(Review, Review.inspection_id == Inspection.id)
        .where(newest(), Review.verdict == "overrule", *_of(lot, product))
        .order_by(Inspection.id.desc())
        .limit(OVERRULED)
    )
    return [Overruled(**row._asdict()) for row in session.execute(query)]
