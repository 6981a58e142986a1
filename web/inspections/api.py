"""The API's part about inspections."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Path, Query, Request
from pydantic import Field
from starlette.datastructures import QueryParams
from starlette.responses import Response

from db import history, saved_filters
from db.export_files import Form
from db.facets import facets
from db.text import LONGEST_NAME
from web.access import Permission, Who, needs
from web.api import MOST, PREFIX, Listed, api_router, problems
from web.asked import KEEPABLE
from web.inspections import blobs, filters
from web.inspections.documents import (
    FacetsDocument,
    FilterToSave,
    Inspected,
    InspectionDocument,
    SavedFilterDocument,
)
from web.inspections.exports import TYPES, Export
from web.site import Here

READ: Final = [needs(Permission.READ)]
SAVE: Final = [needs(Permission.SAVE)]
ROWS: Final = 50

router = api_router("inspections")


class Page(filters.Asked):
    """A page of a list."""

    after: UUID | None = Field(None, description="The last inspection of the page before.")
    limit: int = Field(ROWS, ge=1, le=MOST, description="Rows of a page, at most.")


async def _once(request: Request) -> None:
    """Refuse what is given twice, of which only one would count. Raises InvalidFilterError."""
    names = [name for name, _ in request.query_params.multi_items()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise filters.InvalidFilterError(f"The filter {twice!r} is given twice; one value is enough.")


ONCE: Final = Depends(_once)


@router.get("/inspections", dependencies=[*READ, ONCE])
def inspections(wanted: Annotated[Page, Query()], site: Here) -> Listed[Inspected]:
    """List inspections with their verdicts, newest first."""
    with site.reading() as session:
        rows = history.search(session, wanted.filter(), wanted.limit + 1, wanted.after)
    shown = [Inspected.model_validate(row) for row in rows[: wanted.limit]]
    return Listed[Inspected](items=shown, next=_next(wanted, rows))


@router.get("/inspections/{id_}", dependencies=READ, responses=problems(404))
def inspection(id_: UUID, site: Here) -> InspectionDocument:
    """Give all there is about one inspection."""
    with site.reading() as session:
        return InspectionDocument.of(history.inspection(session, id_))


def _picture(kind: str) -> dict[int | str, dict[str, Any]]:
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"content": content, "description": "With an ETag."}, 304: {}, **problems(404, 410, 502)}


@router.get(
    "/inspections/{id_}/image", dependencies=READ, response_class=Response, responses=_picture("image/*")
)
def image(id_: UUID, request: Request, site: Here) -> Response:
    """Give the image as it was stored, byte for byte."""
    return blobs.image(id_, request, site)


@router.get(
    "/inspections/{id_}/map", dependencies=READ, response_class=Response, responses=_picture("image/png")
)
def anomaly_map(id_: UUID, request: Request, site: Here) -> Response:
    """Give the anomaly map as it was stored; the inspection says how its grey values become scores."""
    return blobs.anomaly_map(id_, request, site)


@router.get(
    "/inspections/{id_}/overlay", dependencies=READ, response_class=Response, responses=_picture("image/png")
)
def overlay(id_: UUID, request: Request, site: Here) -> Response:
    """Give the image with its anomaly map over it, and boxes around the marked regions."""
    return blobs.drawn(id_, request, site)


@router.get("/facets", dependencies=[*READ, ONCE])
def count(wanted: Annotated[filters.Asked, Query()], site: Here) -> FacetsDocument:
    """Count the newest matches by product, line, station, lot, verdict and model version."""
    with site.reading() as session:
        return FacetsDocument.of(facets(session, wanted.filter()))


@router.get(
    "/exports/inspections.{form}",
    dependencies=[needs(Permission.EXPORT), ONCE],
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in TYPES.values()}, "description": "The file."}},
)
def export(form: Form, wanted: Annotated[filters.Asked, Query()], site: Here, who: Who) -> Response:
    """Send all that matches, newest first, as a file; an event says who took what."""
    return Export(site, who, form, wanted)


Name = Annotated[str, Path(min_length=1, max_length=LONGEST_NAME, pattern=KEEPABLE)]


@router.get("/filters", dependencies=SAVE)
def saved(site: Here, who: Who) -> Listed[SavedFilterDocument]:
    """List one's own saved filters, and those that others share."""
    with site.reading() as session:
        found = saved_filters.seen_by(session, who.name)
    return Listed[SavedFilterDocument](
        items=[SavedFilterDocument.model_validate(one) for one in found], next=None
    )


@router.put("/filters/{name:path}", dependencies=SAVE, responses=problems(409))
def save(name: Name, document: FilterToSave, site: Here, who: Who) -> SavedFilterDocument:
    """Keep filters under a name, in the place of those that have it."""
    query = filters.read(QueryParams(document.query), filters.Wanted).query()
    kept = site.act(
        lambda session: saved_filters.save(session, who.name, name, query, is_shared=document.is_shared)
    )
    return SavedFilterDocument.model_validate(kept)


@router.delete("/filters/{name:path}", dependencies=SAVE, status_code=204, responses=problems(404))
def remove(name: Name, site: Here, who: Who) -> None:
    """Forget one of one's own filters."""
    site.act(lambda session: saved_filters.remove(session, who.name, name))


def _next(wanted: Page, rows: list[history.Row]) -> str | None:
    if len(rows) <= wanted.limit:
        return None
    query = {**wanted.chosen(), "limit": str(wanted.limit), "after": str(rows[wanted.limit - 1].id)}
    return f"{PREFIX}/inspections?{urlencode(query)}"
