"""Stations, over the API."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from db import stations
from web.access import Permission, Who, needs
from web.admin.fields import Name
from web.api import PREFIX, Limit, Listed, api_router, problems
from web.site import Here

router = api_router("Stations")


class Station(BaseModel):
    """A station, and when it was last heard of."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["cam1"])
    line: str | None = Field(examples=["line 3"])
    created_at: datetime
    last_received_at: datetime | None = Field(description="When its newest part came in.")
    pending: int = Field(description="Its parts that wait for their verdict.")
    tokens: int = Field(description="Tokens that are not revoked and upload for it alone.")


class Place(BaseModel):
    """Where a station stands."""

    model_config = ConfigDict(extra="forbid")

    line: Name | None = Field(description="null for none.", examples=["line 3"])


@router.get("/stations", dependencies=[needs(Permission.READ)], summary="List stations")
def listed(
    site: Here,
    after: Annotated[Name | None, Query(description="Name of the station before the first one.")] = None,
    limit: Limit = 100,
) -> Listed[Station]:
    """Give stations by name; one appears with its first image."""
    with site.reading() as session:
        rows = stations.overview(session, limit + 1, after)
    query = urlencode({"after": rows[limit - 1].name, "limit": limit}) if len(rows) > limit else None
    return Listed[Station](
        items=[Station.model_validate(row) for row in rows[:limit]],
        next=None if query is None else f"{PREFIX}/stations?{query}",
    )


@router.patch(
    "/stations/{name:path}",
    dependencies=[needs(Permission.ADMIN)],
    responses=problems(404),
    summary="Say on which line a station stands",
)
def change(site: Here, who: Who, name: Name, place: Place) -> Station:
    """Change a station's line; parts that were inspected already keep what they say."""
    site.act(lambda session: stations.set_line(session, name, place.line, who.name))
    with site.reading() as session:
        return Station.model_validate(stations.one(session, name))
