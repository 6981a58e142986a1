"""The pages of lots: which there are, and what became of one."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from starlette.responses import HTMLResponse

from db import lot_list
from db.ledger import lots_let_go
from db.lot_details import OVERRULED, at_one_moment, details
from db.tables import Product
from web.access import Permission, needs
from web.lots.asked import OneLot, Wanted, address
from web.site import Here

router = APIRouter(prefix="/lots", include_in_schema=False)
ROWS = 25
_PRODUCTS_OFFERED = 200


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def newest(wanted: Annotated[Wanted, Query()], request: Request, site: Here) -> HTMLResponse:
    """List lots, the one captured last first, each with the verdicts of its newest parts."""
    with site.reading() as session:
        found = lot_list.newest(session, ROWS + 1, wanted.product, wanted.begins, wanted.after)
        products = session.scalars(select(Product.name).order_by(Product.name).limit(_PRODUCTS_OFFERED)).all()
        gone = wanted.begins is not None and bool(lots_let_go.of_lot(session, wanted.begins, wanted.product))
    return site.page(
        request,
        "lots/list.html",
        wanted=wanted,
        lots=found[:ROWS],
        older=f"/lots{wanted.query(after=found[ROWS - 1].last)}" if len(found) > ROWS else None,
        gone=wanted.begins if gone and wanted.begins not in {one.lot for one in found} else None,
        products=products,
        address=address,
        most=lot_list.COUNTED,
    )


@router.api_route("/lot", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def lot(wanted: Annotated[OneLot, Query()], request: Request, site: Here) -> HTMLResponse:
    """Show whether a lot is complete, what of it was good, and what people said of its verdicts."""
    with at_one_moment(site.engine) as session:
        found = details(session, wanted.name, wanted.product)
    return site.page(request, "lots/lot.html", it=found, address=address, named=OVERRULED)
