"""The API of golden samples."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import File, Form, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from db import golden, golden_schedules, golden_trials, schedules
from db.tables import GoldenSchedule
from web.access import Permission, Who, needs
from web.api import Limit, Listed, api_router, problems
from web.asked import KEEPABLE, Asked, Reason, Text, given
from web.golden import acts
from web.inspections.blobs import FOREVER, TYPES
from web.models.api import more
from web.site import Here

router = api_router("golden")
READ, ACT = [needs(Permission.READ)], [needs(Permission.MODELS)]
Name = Annotated[str, Form(max_length=255, pattern=KEEPABLE)]


class Sample(BaseModel):
    """A part that is known to be good or bad, as a station shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    product: str = Field(examples=["tile"])
    station: str = Field(examples=["s1"])
    name: str = Field(examples=["scratched"])
    expected: str = Field(description="What its verdict has to be: ok or ng.", examples=["ng"])
    image_sha256: str
    image_bytes: int
    image_width: int
    image_height: int
    image_format: str
    added_by: str
    added_at: datetime


class InUse(Sample):
    """A sample, and how it did when it was last sent."""

    last_sent: datetime | None
    passed: bool | None = Field(description="Null: it was never sent, or has no verdict yet.")


class Trial(BaseModel):
    """A sample that was sent through the pipeline."""

    model_config = ConfigDict(from_attributes=True)

    trial: UUID = Field(description="The inspection that it is.")
    sample: UUID
    product: str
    station: str
    name: str
    expected: str
    sent_at: datetime
    passed: bool | None
    verdict: str | None
    held: bool
    score: float | None
    threshold: float | None
    model_version: str | None
    error: str | None


class Retire(BaseModel):
    """Send a sample no more."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"product": "tile", "station": "s1", "name": "scratched", "why": "lost"}]
        },
    )

    product: Text
    station: Text
    name: Text
    why: Reason


class Send(BaseModel):
    """Send a product's samples now, of one station or all."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"product": "tile"}]})

    product: Text
    station: Text | None = None


class Sent(BaseModel):
    """Trials that are on their way."""

    trials: list[UUID]
    queued: bool = Field(description="False where the broker is away: they are queued when it is back.")


class Plan(BaseModel):
    """When a product's samples are sent."""

    product: str = Field(examples=["tile"])
    cron: str = Field(examples=["0 6,14,22 * * *"])
    time_zone: str = Field(examples=["Europe/Berlin"])
    enabled: bool
    changed_by: str
    changed_at: datetime
    next_due: list[datetime] = Field(description="The next three times; none while it is off.")


class ChangePlan(BaseModel):
    """Make or change a schedule; what is not given stays, and is UTC and on for a new one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"product": "tile", "cron": "0 6 * * *"}]}
    )

    product: Text
    cron: Text | None = None
    time_zone: Text | None = None
    enabled: bool | None = None


@router.get("/golden", dependencies=READ)
def list_samples(site: Here, product: Asked = None, station: Asked = None) -> list[InUse]:
    """List the samples in use, and how they did when they were last sent."""
    with site.reading() as session:
        last = golden.last_sent(session)
        found = golden.in_use(session, given(product), given(station))
    return [
        InUse(
            **Sample.model_validate(one).model_dump(),
            **dict(zip(("last_sent", "passed"), last.get(one.id, (None, None)), strict=True)),
        )
        for one in found
    ]


@router.post("/golden", status_code=201, dependencies=ACT, responses=problems(404, 413))
def add_sample(
    site: Here,
    who: Who,
    product: Name,
    station: Name,
    name: Name,
    expected: Annotated[Literal["ok", "ng"], Form()],
    inspection: Annotated[UUID | None, Form(description="Whose image it is; or give an image.")] = None,
    image: Annotated[UploadFile | None, File(description="As the station takes it.")] = None,
) -> Sample:
    """Add a golden sample: an image, or that of an inspection that the station has made."""
    data = None if image is None else image.file.read()
    sample = acts.add(site, who, product, station, name, expected, inspection=inspection, image=data)
    return Sample.model_validate(sample)


@router.get(
    "/golden/{id_}/image",
    dependencies=READ,
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}}, "description": "The image, as stored."},
        **problems(404, 502),
    },
)
def image(site: Here, id_: UUID) -> Response:
    """Give a sample's image as it is stored, also of one that is retired."""
    with site.reading() as session:
        sample = golden.find(session, id_)
    kind = TYPES.get(sample.image_format.upper(), "application/octet-stream")
    headers = {"Cache-Control": FOREVER, "ETag": f'"{sample.image_sha256}"'}
    return Response(site.store.get(sample.image_sha256), headers=headers, media_type=kind)


@router.post("/golden/retire", status_code=204, dependencies=ACT)
def retire_sample(site: Here, who: Who, asked: Retire) -> Response:
    """Send a golden sample no more; its history stays."""
    acts.retire(site, who, asked.product, asked.station, asked.name, asked.why)
    return Response(status_code=204)


@router.post("/golden/send", status_code=202, dependencies=ACT)
def send_samples(site: Here, who: Who, asked: Send) -> Sent:
    """Send the golden samples of a product through the pipeline now."""
    trials, queued = acts.send(site, who, asked.product, given(asked.station))
    return Sent(trials=trials, queued=queued)


@router.get("/golden/trials", dependencies=READ)
def list_trials(
    site: Here, product: Asked = None, after: UUID | None = None, limit: Limit = 50
) -> Listed[Trial]:
    """List when golden samples were sent, and how they were judged, newest first."""
    product = given(product)
    with site.reading() as session:
        found = golden_trials.newest(session, product, limit + 1, after)
    items = [Trial.model_validate(one) for one in found[:limit]]
    last = items[-1].trial if len(found) > limit else None
    return Listed(items=items, next=more("/golden/trials", {"product": product, "limit": limit}, last))


@router.get("/golden/schedules", dependencies=READ)
def list_schedules(site: Here) -> list[Plan]:
    """List when products' golden samples are sent."""
    with site.reading() as session:
        return [_plan(one) for one in golden_schedules.every(session)]


@router.post("/golden/schedules", dependencies=ACT)
def change_schedule(site: Here, who: Who, asked: ChangePlan) -> Plan:
    """Make or change the schedule of a product's golden samples."""
    changes = asked.model_dump(exclude={"product"})
    change = golden_schedules.change
    return _plan(site.act(lambda session: change(session, asked.product, who.name, **changes)))


def _plan(one: GoldenSchedule) -> Plan:
    row = {column.name: getattr(one, column.name) for column in one.__table__.columns}
    return Plan.model_validate({**row, "next_due": schedules.upcoming(one, datetime.now(UTC), 3)})
