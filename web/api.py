"""What all parts of the API have in common: where it is, how lists are paged, how problems look.

A list is paged by key: `next` is the address of the next page, None at the end, so that pages neither overlap
nor shift while new rows arrive.
"""

from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from web.idempotency import GuardedRoute, OnceRoute

PREFIX: Final = "/api/v1"
MOST: Final = 500  # rows of a page

T = TypeVar("T")
Limit = Annotated[int, Query(ge=1, le=MOST, description="Rows of a page, at most.")]


class Listed(BaseModel, Generic[T]):
    """A page of a list."""

    items: list[T]
    next: str | None = Field(description="Address of the next page; null where there is none.")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str = Field(examples=["Not here"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What to do about it.", examples=["There is no inspection 019ca7fb."])


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe answers with these statuses for the API's document."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"model": Problem, "content": content} for status in statuses}


def api_router(tag: str, *, once: bool = True) -> APIRouter:
    """Make a router for a part of the API; its routes name a permission each, as all do.

    Each has what changes something done once where its request carries an Idempotency-Key, unless it has ways
    of its own (`once` is False). In the API's document an operation is called TAG_FUNCTION.
    """

    def called(route: APIRoute) -> str:
        return f"{tag}_{route.name}".lower().replace(" ", "_")

    return APIRouter(
        prefix=PREFIX,
        tags=[tag[:1].upper() + tag[1:]],
        responses=problems(401, 403, 422, 503),
        route_class=OnceRoute if once else GuardedRoute,
        generate_unique_id_function=called,
    )
