"""Which images of a product a training may look at: what passed for good, with what speaks against it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from db.engine import one_by_one
from db.golden import ADDED
from db.ledger.released import IMAGE, is_let_go
from db.reviewed import newest, passed_for_good
from db.tables import Event, GoldenSample, GoldenTrial, Inspection, Result, Review, Station

_SHOTS = 20  # a serial of more images is not one part's name
_DOUBTED = 20_000  # hashes of images that people doubt: the newest reviews


@dataclass(frozen=True)
class Candidate:
    """An image that was judged ok, or that a person called good.

    `trusted` is what a person called good. `score` and `model_version` are those of the verdict. `against`
    says why it may not be trained on: a person doubts it, or it shows a golden sample.
    """

    id: UUID
    sha256: str
    station: str
    serial: str | None
    lot: str | None
    score: float
    model_version: str
    trusted: bool
    against: Literal["doubted", "golden"] | None


@dataclass(frozen=True)
class Stretch:
    """A station's candidates: the newest, newest first, and the oldest, oldest first; some may be both."""

    newest: list[Candidate]
    oldest: list[Candidate]


def stretches(
    session: Session, product: str, stations: Iterable[str], newest_images: int, oldest_images: int
) -> dict[str, Stretch]:
    """Give the product's candidates by station, so many of each kind a station at most.

    What retention has let go is none.
    """
    found = {}
    with one_by_one(session):
        doubted, golden = _doubted(session, product), _golden(session)
        parts = _golden_parts(session, product)
        for station in stations:
            query = _candidates(product, station)
            newer = query.order_by(Inspection.id.desc()).limit(newest_images)
            older = query.order_by(Inspection.id).limit(oldest_images)
            ways = (_read(session, one, doubted, golden, parts) for one in (newer, older))
            found[station] = Stretch(*map(list, ways))
    return found


def stations(session: Session, product: str) -> list[str]:
    """Give the names of the stations that have shown the product, in their order."""
    there = select(Inspection.id).where(Inspection.product == product, Inspection.station == Station.name)
    with one_by_one(session):
        return list(session.scalars(select(Station.name).where(there.exists()).order_by(Station.name)))


def _candidates(product: str, station: str) -> Select[Any]:
    said = (
        select(Review.verdict)
        .where(Review.inspection_id == Inspection.id)
        .order_by(Review.id.desc())
        .limit(1)
        .correlate(Inspection)
        .scalar_subquery()
    )
    tried = select(GoldenTrial.sample).where(GoldenTrial.inspection_id == Inspection.id).exists()
    return (
        select(
            Inspection.id,
            Inspection.image_sha256,
            Inspection.station,
            Inspection.serial,
            Inspection.lot,
            Result.score,
            Result.model_version,
            Result.verdict,
            said.label("said"),
            tried.label("tried"),
        )
        .join(Result, Result.inspection_id == Inspection.id)
        .where(
            Inspection.product == product,
            Inspection.station == station,
            passed_for_good(),
            ~is_let_go(IMAGE, Inspection.id),
        )
    )


def _read(
    session: Session, query: Select[Any], doubted: set[str], golden: set[str], parts: set[str]
) -> Iterator[Candidate]:
    for row in session.execute(query):
        against: Literal["doubted", "golden"] | None = None
        trusted = (row.verdict, row.said) in {("ok", "confirm"), ("ng", "overrule")}
        if row.tried or row.image_sha256 in golden or row.serial in parts:
            against = "golden"
        elif row.image_sha256 in doubted or not (trusted or row.said is None):
            against = "doubted"
        yield Candidate(
            id=row.id,
            sha256=row.image_sha256,
            station=row.station,
            serial=row.serial,
            lot=row.lot,
            score=row.score,
            model_version=row.model_version,
            trusted=trusted,
            against=against,
        )


def _doubted(session: Session, product: str) -> set[str]:
    """Give the hashes of what people called bad, or are not sure of: the same picture may have come twice."""
    query = (
        select(Inspection.image_sha256)
        .join(Result, Result.inspection_id == Inspection.id)
        .join(Review, Review.inspection_id == Inspection.id)
        .where(
            Inspection.product == product,
            newest(),
            or_(
                (Result.verdict == "ok") & (Review.verdict != "confirm"),
                (Result.verdict == "ng") & (Review.verdict != "overrule"),
            ),
        )
        .order_by(Review.id.desc())
        .limit(_DOUBTED)
    )
    return set(session.scalars(query))


def _golden(session: Session) -> set[str]:
    """Give the hashes of all golden samples, also of those that are retired, of whatever product."""
    return set(session.scalars(select(GoldenSample.image_sha256)))


def _golden_parts(session: Session, product: str) -> set[str]:
    """Give the serials of the parts of which an inspection's image was taken as a golden sample."""
    added = select(Event.detail).where(Event.kind == ADDED, Event.subject == product)
    taken = [UUID(one["inspection"]) for one in session.scalars(added) if "inspection" in one]
    query = select(Inspection.serial).where(Inspection.id.in_(taken), Inspection.serial.is_not(None))
    found = set()
    for serial in session.scalars(query.distinct()).all():
        shots = select(Inspection.id).where(Inspection.serial == serial).limit(_SHOTS + 1)
        if (session.scalar(select(func.count()).select_from(shots.subquery())) or 0) <= _SHOTS:
            found.add(str(serial))
    return found
