"""Rescoring: history, scored again with another model, beside the verdicts that stand."""

from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from db import rescores, rescorings
from db.matching import Filter
from db.rescorings import RescoringError
from web.access import Permission, Who, needs
from web.asked import Asked, Field, given
from web.models import shown
from web.models.pages import GET, Id, address, chosen
from web.rescoring import acts
from web.site import Here

router = APIRouter(include_in_schema=False)
READ, ACT = [needs(Permission.READ)], [needs(Permission.MODELS)]
ROWS = 25
TURNED = 50


@router.api_route("/models/rescorings", methods=GET, dependencies=READ)
def list_page(request: Request, site: Here, product: Asked = None, after: UUID | None = None) -> HTMLResponse:
    """List rescorings, of one product or all."""
    with site.reading() as session:
        products, product = chosen(session, product)
        found = rescorings.everyone(session, product, ROWS + 1, after)
        choices = [] if product is None else shown.choices(session, product)
        now = None if product is None else shown.judging(session, product)
    older = found[ROWS - 1].id if len(found) > ROWS else None
    return site.page(
        request,
        "rescoring/list.html",
        products=products,
        product=product,
        rows=[(one, rescorings.images_per_s(one)) for one in found[:ROWS]],
        choices=choices,
        now=now,
        after=after,
        older=None if older is None else address("/rescorings", product=product, after=str(older)),
        active=rescorings.ACTIVE,
    )


@router.api_route("/models/rescorings/{id_}", methods=GET, dependencies=READ)
def rescoring_page(id_: UUID, request: Request, site: Here) -> HTMLResponse:
    """Show how far one is, and how what it said compares with the verdicts that stand."""
    one = acts.find(site, id_)
    with site.reading() as session:
        counts = rescores.compared(session, one)
        turned = list(rescores.turned(session, one, TURNED))
    return site.page(
        request,
        "rescoring/rescoring.html",
        products=[],
        product=one.product,
        it=one,
        rate=rescorings.images_per_s(one),
        is_active=one.state in rescorings.ACTIVE,
        numbers={(stands, said): number for stands, said, number in counts},
        turned=turned,
        turned_in_all=sum(number for stands, said, number in counts if stands != said),
    )


@router.post("/models/rescorings", dependencies=ACT)
def start(
    site: Here,
    who: Who,
    product: Field,
    model: Id,
    station: Field = "",
    line: Field = "",
    lot: Field = "",
    verdict: Annotated[Literal["", "ok", "ng", "inconclusive", "error"], Form()] = "",
    since: Annotated[str, Form(max_length=40)] = "",
    until: Annotated[str, Form(max_length=40)] = "",
    limit: Annotated[str, Form(max_length=12)] = "",
) -> Response:
    """Ask for history to be scored again, whenever the line leaves workers time."""
    wanted = Filter(
        product=product,
        station=given(station),
        line=given(line),
        lot=given(lot),
        verdict=given(verdict),
        since=_time(since),
        until=_time(until),
    )
    one = acts.start(site, who, product, model, wanted, _limit(limit))
    return RedirectResponse(address(f"/rescorings/{one.id}"), 303)


@router.post("/models/rescorings/{id_}/cancel", dependencies=ACT)
def cancel(id_: UUID, site: Here, who: Who) -> Response:
    """End one; what was scored stays."""
    acts.cancel(site, who, id_)
    return RedirectResponse(address(f"/rescorings/{id_}"), 303)


def _time(text: str) -> datetime | None:
    """Read a time, UTC unless it says otherwise; raises RescoringError."""
    try:
        at = datetime.fromisoformat(text) if text.strip() else None
    except ValueError:
        raise RescoringError(f"{text!r} is no time: give one such as 2026-03-01T06:00") from None
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def _limit(text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdecimal() or not 1 <= int(text) <= 10_000_000:
        raise RescoringError(f"{text!r} images can't be asked for: give a whole number of at least 1")
    return int(text)
