"""What the API says of inspections. Names are those of the tables and of the command line's --json."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from db.facets import Facets
from db.history import Detail
from db.matching import PENDING
from web.api import PREFIX

_ID = "0198f5d2-6d3c-7c31-9d0a-2b6a0f6d1f55"
_REGION = {"x": 60.0, "y": 40.0, "width": 30.0, "height": 20.0, "area": 480.0, "peak": 0.8}


class FromRow(BaseModel):
    """What is read from a row as it stands."""

    model_config = ConfigDict(from_attributes=True)


class Inspected(FromRow):
    """An inspection in a list; the verdict's fields are null while it is pending."""

    id: UUID = Field(examples=[_ID])
    product: str = Field(examples=["tile"])
    station: str = Field(examples=["press-1"])
    line: str | None = Field(examples=["L2"])
    serial: str | None = Field(examples=["T-0001"])
    lot: str | None = Field(examples=["L4711"])
    captured_at: datetime
    received_at: datetime
    verdict: str | None = Field(description="ok, ng, inconclusive or error.", examples=["ng"])
    score: float | None = Field(examples=[0.8])
    threshold: float | None = Field(examples=[0.2])
    model_version: str | None
    judged_at: datetime | None
    regions: list[dict[str, float]] = Field(
        description="Marked regions, in pixels of the upright image.", examples=[[_REGION]]
    )
    error: str | None = Field(description="Why an image could not be judged.")


class Image(FromRow):
    """The image as it is stored."""

    image_sha256: str
    image_bytes: int
    image_width: int = Field(description="Of the upright image, in pixels.")
    image_height: int
    image_format: str = Field(examples=["JPEG"])


class Judged(FromRow):
    """The one verdict on an inspection."""

    verdict: str = Field(examples=["ng"])
    score: float | None
    threshold: float | None
    model_version: str | None
    worker: str
    attempts: int
    judged_at: datetime
    timings: dict[str, float] = Field(
        description="Milliseconds by step; `late_ms` by how much the deadline was missed; `held` is 1 where "
        "an alarm of the station held the verdict."
    )
    regions: list[dict[str, float]] = Field(examples=[[_REGION]])
    error: str | None


class MapStored(FromRow):
    """The anomaly map: value = low + grey / (2**bits - 1) * (high - low)."""

    bits: int
    low: float
    high: float
    width: int
    height: int
    sha256: str


class Reviewed(FromRow):
    """What a person said about a verdict; the newest counts."""

    id: UUID
    verdict: str = Field(description="confirm, overrule or inconclusive.")
    reviewer: str
    reason_code: str | None
    reason: str | None
    created_at: datetime
    signature: dict[str, Any] | None


class Part(Image):
    """An inspection, as it was accepted."""

    id: UUID = Field(examples=[_ID])
    product: str
    station: str
    line: str | None
    serial: str | None
    lot: str | None
    captured_at: datetime
    received_at: datetime


class LetGo(BaseModel):
    """When retention let something go; null where it is kept or there never was one."""

    image: datetime | None
    map: datetime | None


class InspectionDocument(BaseModel):
    """All there is about an inspection."""

    inspection: Part
    result: Judged | None = Field(description="Null while it is pending.")
    map: MapStored | None
    reviews: list[Reviewed] = Field(description="Oldest first.")
    let_go: LetGo
    links: dict[str, str] = Field(
        description="Addresses of the image, the map and the map over the image, as far as there are any."
    )

    @classmethod
    def of(cls, it: Detail) -> Self:
        here = f"{PREFIX}/inspections/{it.inspection.id}"
        names = ["image"] if it.image_let_go is None else []
        if it.map is not None and it.map_let_go is None:
            names += ["map", "overlay"] if names else ["map"]
        return cls(
            inspection=Part.model_validate(it.inspection),
            result=None if it.result is None else Judged.model_validate(it.result),
            map=None if it.map is None else MapStored.model_validate(it.map),
            reviews=[Reviewed.model_validate(one) for one in it.reviews],
            let_go=LetGo(image=it.image_let_go, map=it.map_let_go),
            links={name: f"{here}/{name}" for name in names},
        )


class Facet(BaseModel):
    """A value and how many of the counted inspections have it; null: those without one."""

    value: str | None = Field(examples=["tile"])
    count: int


class FacetsDocument(BaseModel):
    """What the inspections that match are made of."""

    counted: int = Field(description="Of the newest matches, so many were counted.")
    complete: bool = Field(description="Whether those are all.")
    product: list[Facet]
    line: list[Facet]
    station: list[Facet]
    lot: list[Facet]
    verdict: list[Facet] = Field(description=f"`{PENDING}` for those without a verdict yet.")
    model_version: list[Facet]
    more: dict[str, int] = Field(description="How many further values each name has.")

    @classmethod
    def of(cls, found: Facets) -> Self:
        listed = {
            name: [Facet(value=value, count=count) for value, count in values.items()]
            for name, values in found.values.items()
        }
        return cls(counted=found.counted, complete=found.complete, more=found.more, **listed)


class SavedFilterDocument(FromRow):
    """A list that somebody wants to see again."""

    owner: str = Field(examples=["ada"])
    name: str = Field(examples=["ng of yesterday"])
    query: str = Field(description="The query of its address.", examples=["verdict=ng&period=yesterday"])
    is_shared: bool = Field(description="Whether others see it as well.")
    saved_at: datetime


class FilterToSave(BaseModel):
    """The filters to keep under a name."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field(max_length=4_000, examples=["verdict=ng&period=yesterday"])
    is_shared: bool = False
