"""The API of lots."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from db import lot_list
from db.lot_details import LotDetails, at_one_moment, details
from web.access import Permission, needs
from web.api import PREFIX, Limit, Listed, api_router, problems
from web.inspections.filters import Name
from web.lots.asked import Wanted
from web.site import Here

router = api_router("Lots")


class LotRow(BaseModel):
    """A lot in a list."""

    lot: str = Field(examples=["L-2026-031"])
    product: str = Field(description="That of its newest inspection.", examples=["tile"])
    last_captured_at: datetime
    last_inspection: UUID = Field(description="Its newest inspection.")
    verdicts: dict[str, int] = Field(
        description=f"Verdicts of its newest {lot_list.COUNTED} inspections, counted.",
        examples=[{"ok": 388, "ng": 11, "pending": 1}],
    )
    is_all: bool = Field(description="Whether it has no others than those that are counted.")


class Act(BaseModel):
    """What an act of retention let go of a lot, of one product and verdict."""

    act: UUID = Field(description="The event.")
    at: datetime
    product: str
    verdict: str
    inspections: int


class Station(BaseModel):
    """What a station captured of a lot, of one product."""

    station: str
    line: str | None
    product: str
    verdicts: dict[str, int]
    first_captured_at: datetime
    last_captured_at: datetime


class Overruled(BaseModel):
    """A verdict that a person overruled."""

    id: UUID
    serial: str | None
    verdict: str
    reviewer: str
    reason_code: str | None
    reason: str | None
    reviewed_at: datetime


class Lot(BaseModel):
    """captured = judged + error + pending + let_go, judged = ok + ng + inconclusive; all of one moment."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "lot": "L-2026-031",
                    "product": None,
                    "captured": 400,
                    "judged": 399,
                    "ok": 388,
                    "ng": 11,
                    "inconclusive": 0,
                    "error": 0,
                    "pending": 1,
                    "let_go": 0,
                    "complete": False,
                    "reviewed": 11,
                    "overridden": 2,
                    "first_pass_yield": 0.9724,
                    "yield_after_reviews": 0.9774,
                    "false_rejects": 2,
                    "escapes": 0,
                    "held": False,
                    "acts": [],
                    "stations": [],
                    "overruled": [],
                }
            ]
        }
    )

    lot: str
    product: str | None = Field(description="Given where only this product's part of it was asked for.")
    captured: int
    judged: int
    ok: int
    ng: int
    inconclusive: int
    error: int
    pending: int
    let_go: int = Field(description="Those that retention has removed.")
    complete: bool = Field(description="Whether each part has its verdict, and none was let go.")
    reviewed: int = Field(description="Inspections that people looked at.")
    overridden: int = Field(description="Those of them whose newest review overrules the verdict.")
    first_pass_yield: float | None = Field(description="ok / (judged + error).")
    yield_after_reviews: float | None = Field(
        description="The same with false rejects counted as good and escapes as bad."
    )
    false_rejects: int = Field(description="Verdicts ng that were overruled.")
    escapes: int = Field(description="Verdicts ok that were overruled.")
    held: bool = Field(description="Whether a hold keeps it from retention.")
    acts: list[Act]
    stations: list[Station]
    overruled: list[Overruled] = Field(description="The newest 100.")


@router.get("/lots", dependencies=[needs(Permission.READ)], responses=problems(422))
def lots(
    site: Here,
    product: Annotated[Name | None, Query(description="Only what was captured of this product.")] = None,
    begins: Annotated[Name | None, Query(description="Only lots whose names begin so.")] = None,
    after: Annotated[UUID | None, Query(description="`last_inspection` of the last one before.")] = None,
    limit: Limit = 50,
) -> Listed[LotRow]:
    """List lots, the one captured last first."""
    wanted = Wanted(product=product, begins=begins, after=after)
    with site.reading() as session:
        found = lot_list.newest(session, limit + 1, product, begins, after)
    rows = [
        LotRow(
            lot=one.lot,
            product=one.product,
            last_captured_at=one.last_captured_at,
            last_inspection=one.last,
            verdicts=one.verdicts,
            is_all=one.is_all,
        )
        for one in found[:limit]
    ]
    following = wanted.query(after=rows[-1].last_inspection, limit=limit) if len(found) > limit else None
    return Listed(items=rows, next=None if following is None else f"{PREFIX}/lots{following}")


@router.get("/lots/{lot:path}", dependencies=[needs(Permission.READ)], responses=problems(404, 422))
def lot(
    lot: Name,
    site: Here,
    product: Annotated[Name | None, Query(description="Only this product's part of it.")] = None,
) -> Lot:
    """Tell what became of a lot. Its name is encoded in the address, slashes as they are or as %2F."""
    with at_one_moment(site.engine) as session:
        return Lot(**_told(details(session, lot, product)))


def _told(found: LotDetails) -> dict[str, Any]:
    figures = found.figures
    return {
        **found.completeness.as_dict(),
        "lot": found.lot,
        "product": found.product,
        "first_pass_yield": figures.first_pass_yield,
        "yield_after_reviews": found.yield_after_reviews,
        "false_rejects": figures.false_rejects,
        "escapes": figures.escapes,
        "held": found.hold is not None,
        "stations": [vars(one) for one in found.stations],
        "overruled": [vars(one) for one in found.overruled],
    }
