"""The API of rescorings."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from db import rescores, rescorings
from db.matching import Filter
from db.tables import Rescoring
from web.access import Permission, Who, needs
from web.api import Limit, Listed, api_router, problems
from web.asked import Asked, Text, given
from web.models.api import more
from web.models.documents import ID, VersionId
from web.rescoring import acts
from web.site import Here

router = api_router("rescoring")
READ, ACT = [needs(Permission.READ)], [needs(Permission.MODELS)]


def _in_utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


Time = Annotated[datetime, AfterValidator(_in_utc)]


class Asking(BaseModel):
    """Score judged inspections of a product again with a model, beside the verdicts that stand."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"product": "tile", "model": ID, "limit": 1000}]}
    )

    product: Text
    model: VersionId
    station: Text | None = None
    line: Text | None = None
    lot: Text | None = None
    verdict: Literal["ok", "ng", "inconclusive", "error"] | None = None
    since: Time | None = Field(
        default=None, description="Captured at or after; UTC unless it says otherwise."
    )
    until: Time | None = Field(default=None, description="Captured before.")
    limit: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Only the newest so many."
    )


class It(BaseModel):
    """A rescoring, and how far it is."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    product: str
    model_version: str
    filter: dict[str, Any]
    requested_by: str
    requested_at: datetime
    state: str = Field(description="requested, running, done, cancelled or failed.", examples=["running"])
    total: int = Field(description="Images that were asked for.")
    done: int
    failed_images: int = Field(description="Of those that are done: could not be scored.")
    started_at: datetime | None
    updated_at: datetime
    error: str | None


class Compared(BaseModel):
    stands: str = Field(description="The verdict that stands.", examples=["ok"])
    rescored: str = Field(description="What the model says.", examples=["ng"])
    inspections: int


class Turned(BaseModel):
    """An inspection of which the model says something else than its verdict."""

    model_config = ConfigDict(from_attributes=True)

    inspection_id: UUID
    stands: str
    rescored: str
    score: float | None
    threshold: float | None
    error: str | None


class Shown(It):
    """A rescoring with how it compares."""

    images_per_s: float | None
    comparison: list[Compared]
    turned: list[Turned] = Field(description="The newest 500.")


@router.get("/rescorings", dependencies=READ)
def list_rescorings(
    site: Here, product: Asked = None, after: UUID | None = None, limit: Limit = 50
) -> Listed[It]:
    """List rescorings, of one product or all, newest first."""
    product = given(product)
    with site.reading() as session:
        found = rescorings.everyone(session, product, limit + 1, after)
    items = [It.model_validate(one) for one in found[:limit]]
    last = items[-1].id if len(found) > limit else None
    return Listed(items=items, next=more("/rescorings", {"product": product, "limit": limit}, last))


@router.post("/rescorings", status_code=202, dependencies=ACT, responses=problems(404))
def start(site: Here, who: Who, asked: Asking) -> It:
    """Ask for history to be scored again, whenever the line leaves workers time."""
    wanted = Filter(**asked.model_dump(exclude={"model", "limit"}))
    return It.model_validate(acts.start(site, who, asked.product, asked.model, wanted, asked.limit))


@router.get("/rescorings/{id_}", dependencies=READ, responses=problems(404))
def one_rescoring(site: Here, id_: UUID) -> Shown:
    """Show how far a rescoring is, and how what it said compares with the verdicts that stand."""
    return _shown(site, acts.find(site, id_))


@router.post("/rescorings/{id_}/cancel", dependencies=ACT, responses=problems(404))
def cancel(site: Here, who: Who, id_: UUID) -> Shown:
    """End a rescoring; what was scored stays."""
    acts.cancel(site, who, id_)
    return _shown(site, acts.find(site, id_))


def _shown(site: Here, one: Rescoring) -> Shown:
    with site.reading() as session:
        counts = rescores.compared(session, one)
        turned = [Turned.model_validate(item) for item in rescores.turned(session, one, 500)]
    return Shown(
        **It.model_validate(one).model_dump(),
        images_per_s=rescorings.images_per_s(one),
        comparison=[Compared(stands=a, rescored=b, inspections=number) for a, b, number in counts],
        turned=turned,
    )
