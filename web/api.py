"""What all parts of the API have in common: where it is, how lists are paged, how problems look.

A list is paged by key: `next` is the address of the next page, None at the end, so that pages neither overlap
nor shift while new rows arrive.
"""

from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

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


def api_router(tag: str) -> APIRouter:
    """Make a router for a part of the API; its routes name a permission each, as all do."""
    return APIRouter(prefix=PREFIX, tags=[tag], responses=problems(401, 403, 422, 503))
