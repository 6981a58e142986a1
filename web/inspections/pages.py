"""The pages: the newest inspections, and one of them."""

from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter, Request
from sqlalchemy import select
from starlette.responses import HTMLResponse

from db import history
from db.facets import facets
from db.imagestore import ImageStore, ImageStoreError
from db.tables import Attempt, Product, Station
from web.access import Permission, needs
from web.inspections import filters, overlay
from web.site import Here

router = APIRouter(include_in_schema=False)
ROWS = 50
NAMES_OFFERED = 200  # products and stations to choose from; beyond that a list is no help
PROBE = 64  # pixels: enough to find out whether an image decodes


@router.api_route("/", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def newest(request: Request, site: Here) -> HTMLResponse:
    """List inspections, newest first, with the counts of verdicts among what the other filters leave."""
    wanted = filters.read(request.query_params)
    with site.reading() as session:
        rows = history.search(session, wanted.filter(), ROWS + 1, wanted.after)
        found = facets(session, replace(wanted.filter(), verdict=None))
        offered = {
            kind: session.scalars(select(name).order_by(name).limit(NAMES_OFFERED)).all()
            for kind, name in (("product", Product.name), ("station", Station.name))
        }
    return site.page(
        request,
        "inspections/list.html",
        wanted=wanted,
        rows=rows[:ROWS],
        older=wanted.url(after=rows[ROWS - 1].id) if len(rows) > ROWS else None,
        found=found,
        offered=offered,
        verdicts=filters.VERDICT_CHOICES,
    )


@router.api_route("/inspections/{id_}", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def inspection(id_: UUID, request: Request, site: Here) -> HTMLResponse:
    """Show all there is about an inspection."""
    with site.reading() as session:
        detail = history.inspection(session, id_)
        waiting = session.get(Attempt, id_)
    return site.page(
        request,
        "inspections/inspection.html",
        it=detail.inspection,
        result=detail.result,
        map=detail.map if detail.map_let_go is None else None,
        let_go={"image": detail.image_let_go, "anomaly map": detail.map_let_go},
        reviews=detail.reviews,
        waiting=waiting,
        damage=None if detail.image_let_go else _damage(site.store, detail.inspection.image_sha256),
    )


def _damage(store: ImageStore, sha256: str) -> str | None:
    """Say what is wrong with a stored image, None where it is intact and can be shown."""
    try:
        overlay.upright(store.get(sha256), longest=PROBE)
    except (ImageStoreError, overlay.UndrawableError) as error:
        return str(error)
    return None
