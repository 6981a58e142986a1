"""Golden samples: images of parts that are known to be good or bad, one set a product and station (ADR 0032).

Their images lie in the image store as any other, and retention leaves those alone that are still in use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.elements import SQLCoreOperations

from db import alarms, clock, events, history, inspections
from db.ids import uuid7
from db.insert import insert_into
from db.tables import GoldenSample, GoldenTrial, Inspection, Station
from db.text import require_name

Expected = Literal["ok", "ng"]
ADDED: Final = "golden.added"
RETIRED: Final = "golden.retired"
ACTOR: Final = "golden"  # who checks


class GoldenError(Exception):
    """A golden sample that can't be added, retired or sent; nothing was changed."""


class UnknownSampleError(GoldenError):
    """There is no such sample."""

    def __init__(self, id_: UUID) -> None:
        super().__init__(f"there is no golden sample {id_}; `pyramidion golden list` has those in use")


@dataclass(frozen=True)
class StoredImage:
    """An image that is in the image store; `width` and `height` are those of the image turned upright.

    `inspection` is the one that it was taken of, if any: other images of its part are not trained on.
    """

    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    inspection: UUID | None = None


def label(name: str) -> str:
    """Give what a sample's inspections have as serial, and its alarms as statistic."""
    return f"golden:{name}"


def image_of(session: Session, product: str, station: str, inspection_id: UUID) -> StoredImage:
    """Give the image of an inspection, for `add`.

    Raises db.history.UnknownInspectionError, and GoldenError where it is another station's, or was let go.
    """
    detail = history.inspection(session, inspection_id)
    row = detail.inspection
    if (row.product, row.station) != (product, station):
        raise GoldenError(
            f"inspection {row.id} is of {row.product} at {row.station}, not of {product} at {station}: a "
            "golden sample is a part as its own station shows it"
        )
    if detail.image_let_go is not None:
        gone = f"{detail.image_let_go:%Y-%m-%d %H:%M:%S} UTC"
        raise GoldenError(f"retention let the image of inspection {row.id} go at {gone}: give another one")
    return StoredImage(
        row.image_sha256, row.image_bytes, row.image_width, row.image_height, row.image_format, row.id
    )


def add(
    session: Session, product: str, station: str, name: str, expected: Expected, image: StoredImage, by: str
) -> GoldenSample:
    """Keep a sample and leave the event; its image is stored already.

    Raises UnknownProductError, UnkeepableNameError, and GoldenError for an unknown station or a name that is
    in use.
    """
    inspections.require_product(session, product)
    require_station(session, station)
    require_name("name", name)
    require_name("serial", label(name))
    now = clock.now(session)
    row = {
        "id": uuid7(now),
        "product": product,
        "station": station,
        "name": name,
        "expected": expected,
        "image_sha256": image.sha256,
        "image_bytes": image.bytes,
        "image_width": image.width,
        "image_height": image.height,
        "image_format": image.format,
        "added_by": by,
        "added_at": now,
    }
    added = session.scalar(
        insert_into(session, GoldenSample).values(row).on_conflict_do_nothing().returning(GoldenSample.id)
    )
    if added is None:
        raise GoldenError(
            f"{product!r} has a golden sample {name!r} at {station!r} already: give another name, or retire "
            f"that one (`pyramidion golden retire {product} {station} {name} --why ...`)"
        )
    told = {"sample": str(added), "station": station, "name": name, "expected": expected}
    told["image_sha256"] = image.sha256
    if image.inspection is not None:
        told["inspection"] = str(image.inspection)
    events.record(session, ADDED, by, product, told)
    return session.get_one(GoldenSample, added)


def retire(session: Session, product: str, station: str, name: str, by: str, why: str) -> GoldenSample:
    """Send a sample no more, and leave the event; raises GoldenError where there is none of that name.

    Its alarm is closed unless it holds the station's verdicts: that is for a person to say.
    """
    query = select(GoldenSample).where(
        GoldenSample.product == product,
        GoldenSample.station == station,
        GoldenSample.name == name,
        GoldenSample.retired_at.is_(None),
    )
    sample = session.scalar(query.with_for_update())
    if sample is None:
        raise GoldenError(
            f"{product!r} has no golden sample {name!r} at {station!r}; `pyramidion golden list` has them all"
        )
    sample.retired_at = clock.now(session)
    told = {"sample": str(sample.id), "station": station, "name": name, "why": why}
    events.record(session, RETIRED, by, product, told)
    alarm = alarms.is_open(session, product, station, label(name))
    if alarm is not None and not alarm.holds:
        alarms.close_unless_closed(session, alarm.id, by, f"the sample was retired: {why}")
    return sample


def find(session: Session, id_: UUID) -> GoldenSample:
    """Give a sample, retired or not; raises UnknownSampleError."""
    sample = session.get(GoldenSample, id_)
    if sample is None:
        raise UnknownSampleError(id_)
    return sample


def in_use(
    session: Session, product: str | None = None, station: str | None = None
) -> Sequence[GoldenSample]:
    """Give the samples that are not retired, by product, station and name."""
    wanted = {GoldenSample.product: product, GoldenSample.station: station}
    query = (
        select(GoldenSample)
        .where(GoldenSample.retired_at.is_(None))
        .where(*(column == value for column, value in wanted.items() if value is not None))
        .order_by(GoldenSample.product, GoldenSample.station, GoldenSample.name)
    )
    return session.scalars(query).all()


def require_station(session: Session, station: str) -> None:
    """Raise GoldenError where no image ever came from the station."""
    if session.get(Station, station) is None:
        known = ", ".join(session.scalars(select(Station.name).order_by(Station.name))) or "none yet"
        raise GoldenError(
            f"unknown station {station!r} (known: {known}); its first image that is captured makes it known"
        )


def last_sent(session: Session) -> dict[UUID, tuple[datetime, bool | None]]:
    """Tell of each sample when it was last sent, and whether it passed; None while that is not known."""
    of_sample = aliased(GoldenTrial)
    newest = (
        select(of_sample.inspection_id)
        .where(of_sample.sample == GoldenSample.id)
        .order_by(of_sample.inspection_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(GoldenSample.id, GoldenTrial.sent_at, GoldenTrial.passed).join(
        GoldenTrial, GoldenTrial.inspection_id == newest
    )
    return {row[0]: (row[1], row[2]) for row in session.execute(query)}


def looks_like_trial(row: Inspection) -> bool:
    """Tell a trial from a part of the line by what its row says, without asking the database."""
    return row.lot is None and row.serial is not None and row.serial.startswith(label(""))


def is_trial(inspection_id: SQLCoreOperations[UUID]) -> ColumnElement[bool]:
    """Say, in SQL, of a column of inspections' ids that it was a golden sample and no part of the line's."""
    return exists().where(GoldenTrial.inspection_id == inspection_id)
