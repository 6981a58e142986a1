"""The options that say which inspections are meant, shared by all commands that look them up."""

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.ledger import lots_let_go
from db.ledger.released import ACT
from db.matching import Filter
from db.tables import Event, Inspection, Result
from pyramidion.errors import UserError


class Verdict(StrEnum):
    """What can be asked for: the verdicts, and what has none yet."""

    OK = "ok"
    NG = "ng"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    PENDING = "pending"


class Reviewed(StrEnum):
    """What the newest review can say, and what has none."""

    CONFIRM = "confirm"
    OVERRULE = "overrule"
    INCONCLUSIVE = "inconclusive"
    UNREVIEWED = "unreviewed"


Product = Annotated[str | None, typer.Option(help="Only this product.")]
Station = Annotated[str | None, typer.Option(help="Only this station.")]
Line = Annotated[str | None, typer.Option(help="Only this line.")]
Lot = Annotated[str | None, typer.Option(help="Only this lot.")]
Serial = Annotated[str | None, typer.Option(help="Only this serial.")]
OfVerdict = Annotated[Verdict | None, typer.Option("--verdict", help="Only this verdict.")]
ReviewedAs = Annotated[
    Reviewed | None, typer.Option("--reviewed", help="Only what people said this of, at last.")
]
Since = Annotated[datetime | None, typer.Option(help="Captured at or after this time (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Captured before this time (UTC).")]
Model = Annotated[str | None, typer.Option(help="Only verdicts of this model version.")]
MinScore = Annotated[float | None, typer.Option(help="Only scores of at least this.")]
MaxScore = Annotated[float | None, typer.Option(help="Only scores of at most this.")]
MinDefect = Annotated[
    float | None,
    typer.Option("--min-defect", help="Only where the largest marked region has at least so many pixels."),
]
Late = Annotated[bool, typer.Option("--late", help="Only verdicts that missed the product's deadline.")]
MaxDefect = Annotated[
    float | None,
    typer.Option("--max-defect", help="Only where the largest marked region has at most so many pixels."),
]


def read(
    *,
    product: str | None = None,
    station: str | None = None,
    line: str | None = None,
    lot: str | None = None,
    serial: str | None = None,
    verdict: Verdict | None = None,
    reviewed: Reviewed | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    model: str | None = None,
    min_score: float | None = None,
    max_score: float | None = None,
    min_defect: float | None = None,
    max_defect: float | None = None,
    late: bool = False,
) -> Filter:
    """Make the filter; raises UserError for one that can match nothing."""
    since, until = utc(since), utc(until)
    if since is not None and until is not None and since >= until:
        raise UserError(f"--since {since} is not before --until {until}: nothing lies between them")
    for what, least, most in (("score", min_score, max_score), ("defect", min_defect, max_defect)):
        for name, value in ((f"--min-{what}", least), (f"--max-{what}", most)):
            if value is not None and not math.isfinite(value):
                raise UserError(f"{name} is {value}, but is a finite number")
        if least is not None and most is not None and least > most:
            raise UserError(f"--min-{what} {least} is above --max-{what} {most}: no {what} lies between")
    return Filter(
        product=product,
        station=station,
        line=line,
        serial=serial,
        lot=lot,
        verdict=None if verdict is None else verdict.value,
        since=since,
        until=until,
        model_version=model,
        min_score=min_score,
        max_score=max_score,
        reviewed=None if reviewed is None else reviewed.value,
        min_defect_area=min_defect,
        max_defect_area=max_defect,
        late=late or None,
    )


def require_there(session: Session, wanted: Filter) -> None:
    """Raise UserError for a name that no inspection has; of a line there is no index to ask."""
    for name, column in (
        ("product", Inspection.product),
        ("station", Inspection.station),
        ("lot", Inspection.lot),
        ("serial", Inspection.serial),
        ("model_version", Result.model_version),
    ):
        value = getattr(wanted, name)
        if value is None or session.scalar(select(column).where(column == value).limit(1)) is not None:
            continue
        went = sum(one.inspections for one, _ in lots_let_go.of_lot(session, value)) if name == "lot" else 0
        if went:
            raise UserError(
                f"no inspection has lot {value!r} any more, {went} inspections of it went: "
                f"`pyramidion lot {value}` says when retention let them go"
            )
        cure = "`pyramidion results --counts` lists those there are"
        if name == "serial":
            cure = "`pyramidion results` lists what there is"
        if session.scalar(select(Event.id).where(Event.kind == ACT).limit(1)) is not None:
            cure += "; what retention let go, `pyramidion audit events --kind retention` says"
        raise UserError(f"no inspection has {name.replace('_', ' ')} {value!r}; {cure}")


def utc(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
