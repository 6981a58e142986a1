"""Products, over the API."""

from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from db import models, products
from db.inspections import UnknownProductError
from web.access import Permission, Who, needs
from web.admin.fields import Deadline, Name
from web.api import PREFIX, Limit, Listed, api_router, problems
from web.site import Here, Site

router = api_router("Products")


class NoProductError(Exception):
    """There is no product at this address."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no product {name!r}")


class Product(BaseModel):
    """A product, and what there is of it."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["bracket"])
    created_at: datetime
    deadline_ms: int | None = Field(description="From acceptance to verdict; what takes longer is late.")
    inspections: int = Field(
        description=f"Counted up to {products.COUNTED_TO:,}, which means so many or more."
    )
    pending: int = Field(description="Parts that wait for their verdict.")
    last_received_at: datetime | None
    champion: str | None = Field(description="The model version that judges.")
    models: int
    runs: int = Field(description="Trainings.")
    golden: int = Field(description="Golden samples in use.")
    has_policy: bool
    has_schedule: bool
    has_golden_schedule: bool


class NewProduct(BaseModel):
    """A product to set up."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(examples=["bracket"])
    deadline_ms: Deadline | None = None


class Change(BaseModel):
    """What a product is to have from now on."""

    model_config = ConfigDict(extra="forbid")

    deadline_ms: Deadline | None = Field(description="null takes the deadline back.", examples=[500])


@router.get("/products", dependencies=[needs(Permission.READ)], summary="List products")
def listed(
    site: Here,
    after: Annotated[Name | None, Query(description="Name of the product before the first one.")] = None,
    limit: Limit = 100,
) -> Listed[Product]:
    """Give products by name."""
    with site.reading() as session:
        rows = products.overview(session, limit + 1, after)
    query = urlencode({"after": rows[limit - 1].name, "limit": limit}) if len(rows) > limit else None
    return Listed[Product](
        items=[Product.model_validate(row) for row in rows[:limit]],
        next=None if query is None else f"{PREFIX}/products?{query}",
    )


@router.post(
    "/products",
    status_code=201,
    dependencies=[needs(Permission.ADMIN)],
    responses=problems(409),
    summary="Set a product up",
)
def create(site: Here, who: Who, new: NewProduct) -> Product:
    """Set a product up; its parts are accepted from then on, and wait until it has a model."""
    name = site.act(lambda session: products.create(session, new.name, new.deadline_ms, who.name))
    return _one(site, name)


@router.get(
    "/products/{name:path}",
    dependencies=[needs(Permission.READ)],
    responses=problems(404),
    summary="Give one product",
)
def one(site: Here, name: Name) -> Product:
    """Give a product by its name."""
    return _one(site, name)


@router.patch(
    "/products/{name:path}",
    dependencies=[needs(Permission.ADMIN)],
    responses=problems(404),
    summary="Change a product",
)
def change(site: Here, who: Who, name: Name, wanted: Change) -> Product:
    """Change a product's deadline, for what is judged from now on."""
    try:
        site.act(lambda session: models.set_deadline(session, name, wanted.deadline_ms, who.name))
    except UnknownProductError:
        raise NoProductError(name) from None
    return _one(site, name)


def _one(site: Site, name: str) -> Product:
    try:
        with site.reading() as session:
            return Product.model_validate(products.one(session, name))
    except UnknownProductError:
        raise NoProductError(name) from None
