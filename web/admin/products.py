"""Products: setting one up, its deadline, and what depends on it."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from db import models, products
from web.access import Permission, Who, needs
from web.admin.fields import Deadline, Name, NameField, acted
from web.site import Here, Site

router = APIRouter(prefix="/admin/products", include_in_schema=False)
ROWS = 200


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def listed(request: Request, site: Here, after: Annotated[Name | None, Query()] = None) -> Response:
    """Show products with what there is of each."""
    return _show(request, site, after)


@router.post("", dependencies=[needs(Permission.ADMIN)])
def create(
    request: Request,
    site: Here,
    who: Who,
    name: NameField,
    deadline_ms: Annotated[Deadline | None, Form()] = None,
) -> Response:
    """Set a product up."""
    return acted(
        lambda: site.act(lambda session: products.create(session, name, deadline_ms, who.name)),
        "/admin/products",
        lambda wrong: _show(request, site, wrong=wrong),
    )


@router.post("/deadline", dependencies=[needs(Permission.ADMIN)])
def set_deadline(
    request: Request,
    site: Here,
    who: Who,
    product: NameField,
    deadline_ms: Annotated[Deadline | None, Form()] = None,
) -> Response:
    """Change a product's deadline, or with none given take it back."""
    return acted(
        lambda: site.act(lambda session: models.set_deadline(session, product, deadline_ms, who.name)),
        "/admin/products",
        lambda wrong: _show(request, site, wrong=wrong),
    )


def _show(request: Request, site: Site, after: str | None = None, wrong: str | None = None) -> Response:
    with site.reading() as session:
        rows = products.overview(session, ROWS + 1, after)
    more = f"/admin/products?after={quote(rows[ROWS - 1].name, safe='')}" if len(rows) > ROWS else None
    return site.page(
        request,
        "admin/products.html",
        422 if wrong else 200,
        rows=rows[:ROWS],
        more_at=more,
        counted_to=products.COUNTED_TO,
        wrong=wrong,
    )
