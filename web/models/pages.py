"""Models: who judges which product, who may, and who let it."""

import json
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse, RedirectResponse, Response

from db import approvals, beside, lineage, models
from db.inspections import require_product
from db.tables import CHAMPION, ModelVersion
from web.access import Permission, Who, needs
from web.asked import Asked, Field, Password, Why, given
from web.models import acts, shown
from web.site import Here

router = APIRouter(include_in_schema=False)
READ, ACT = [needs(Permission.READ)], [needs(Permission.MODELS)]
GET = ["GET", "HEAD"]
Version = Annotated[str | None, Query(max_length=64, pattern="^([0-9a-f]{64})?$")]
Id = Annotated[str, Form(pattern="^[0-9a-f]{64}$")]


def address(path: str, **query: str | None) -> str:
    """Give the address of a page of models."""
    asked = urlencode({name: value for name, value in query.items() if value})
    return f"/models{path}?{asked}" if asked else f"/models{path}"


def chosen(session: Session, product: str | None) -> tuple[list[str], str | None]:
    """Give the products there are, and the one that is asked for: the only one where none is named.

    Raises UnknownProductError.
    """
    products = models.products(session)
    product = given(product)
    if product is not None:
        require_product(session, product)
    return products, product or (products[0] if len(products) == 1 else None)


@router.api_route("/models", methods=GET, dependencies=READ)
def product_page(
    request: Request,
    site: Here,
    product: Asked = None,
    first: Version = None,
    second: Version = None,
    after: Version = None,
) -> HTMLResponse:
    """Show who judges a product beside who may, and all its versions; without a product, all products."""
    with site.reading() as session:
        products, product = chosen(session, product)
        if product is None:
            lines = shown.overview(session)
            return site.page(request, "models/products.html", lines=lines, product=None, products=products)
        now = shown.judging(session, product)
        pair = shown.pair(session, product, now, first or None, second or None)
        last = shown.find(session, after) if after else None
        versions = models.versions(session, product, shown.VERSIONS + 1, last)
        rows = [_row(one, now) for one in versions[: shown.VERSIONS]]
        differing = shown.disagreements(session, pair.shadow)
        choices = shown.choices(session, product)
    older = rows[-1]["id"] if len(versions) > shown.VERSIONS else None
    return site.page(
        request,
        "models/product.html",
        products=products,
        product=product,
        now=now,
        pair=pair,
        differing=differing,
        rows=rows,
        choices=choices,
        compared=dict(
            zip(("first", "second"), [one["version"] for one in pair.told] + ["", ""], strict=False)
        ),
        after=after,
        older=None if older is None else address("", product=product, after=older),
        signed=approvals.required("promotion"),
    )


@router.api_route("/models/{id_}", methods=GET, dependencies=READ)
def version_page(id_: str, request: Request, site: Here) -> HTMLResponse:
    """Show what a version was trained on, how it judges, and what became of it."""
    with site.reading() as session:
        version = shown.find(session, id_)
        found = lineage.of(session, version)
        now = shown.judging(session, version.product)
    return site.page(
        request,
        "models/version.html",
        products=[],
        product=version.product,
        version=version,
        found=found,
        facts=beside.facts(found),
        now=now,
        plays=_plays(version.id, now),
        signed=approvals.required("promotion"),
    )


@router.api_route("/models/{id_}/manifest.json", methods=GET, dependencies=READ)
def manifest(id_: str, site: Here) -> Response:
    """Give the manifest byte for byte: its SHA-256 is the version's id."""
    with site.reading() as session:
        version = shown.find(session, id_)
    headers = {"ETag": f'"{version.id}"', "Content-Disposition": f'attachment; filename="{version.id}.json"'}
    return Response(version.manifest, headers=headers, media_type="application/json")


@router.post("/models/promote", dependencies=ACT)
def promote(
    site: Here,
    who: Who,
    product: Field,
    version: Id,
    why: Why,
    expected: Annotated[str, Form(pattern="^([0-9a-f]{64})?$")] = "",
    password: Password = "",
) -> Response:
    """Let a version judge, unless who judged when the form was shown no longer does."""
    acts.promote(site, who, product, version, expected or None, why, password)
    return RedirectResponse(address("", product=product), 303)


@router.post("/models/rollback", dependencies=ACT)
def roll_back(
    site: Here, who: Who, product: Field, expected: Id, why: Why, password: Password = ""
) -> Response:
    """Let who judged before judge again."""
    acts.roll_back(site, who, product, expected, why, password)
    return RedirectResponse(address("", product=product), 303)


@router.post("/models/withdraw", dependencies=ACT)
def withdraw(site: Here, who: Who, product: Field, expected: Id, why: Why) -> Response:
    """Let the challenger score no more."""
    acts.withdraw(site, who, product, expected, why)
    return RedirectResponse(address("", product=product), 303)


def _row(version: ModelVersion, now: shown.Judging) -> dict[str, Any]:
    manifest = json.loads(version.manifest)
    return {
        "id": version.id,
        "plays": _plays(version.id, now),
        "judged": any(one.version == version.id for one in now.reigns),
        "created_at": version.created_at,
        "images": version.training_images,
        "threshold": manifest.get("calibration", {}).get("threshold"),
        "preset": manifest.get("network", {}).get("preset"),
        "note": version.note,
    }


def _plays(version: str, now: shown.Judging) -> str | None:
    return CHAMPION if version == now.champion else "challenger" if version == now.challenger else None
