"""The alarms' pages: which there are, and closing one."""

from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse, RedirectResponse

from db import alarms
from db.tables import Alarm
from db.text import UNKEEPABLE
from web.access import Permission, Who, needs
from web.site import Here

router = APIRouter(prefix="/alarms", include_in_schema=False)
ROWS: Final = 50
LONGEST_REASON: Final = 2000
STATES: Final = ("open", "closed")


class InvalidAlarmsError(Exception):
    """Alarms were asked for in a way that makes no sense."""


class NoReasonError(Exception):
    """An alarm was about to be closed without a reason."""

    def __init__(self) -> None:
        super().__init__("Say what was found or done; the audit trail keeps it. Nothing was changed.")


def close(session: Session, id_: UUID, by: str, why: str) -> Alarm:
    """Close an alarm; raises NoReasonError and what db.alarms.close raises."""
    if not why.strip():
        raise NoReasonError
    return alarms.close(session, id_, by, why.strip())


def named(product: str | None) -> str | None:
    """Give the product that alarms are asked for of; raises InvalidAlarmsError."""
    if product is not None and UNKEEPABLE.search(product):
        raise InvalidAlarmsError(f"No product can be called {product!r}.")
    return product or None


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def listed(
    request: Request,
    site: Here,
    state: str = "open",
    product: Annotated[str | None, Query(max_length=255)] = None,
    after: UUID | None = None,
) -> HTMLResponse:
    """List alarms, newest first."""
    if state not in STATES:
        raise InvalidAlarmsError(f"Alarms are {' or '.join(STATES)}, not {state!r}.")
    product = named(product)
    with site.reading() as session:
        counted = {
            "open": (opened := alarms.number(session, product, only_open=True)),
            "closed": alarms.number(session, product) - opened,
        }
        found = alarms.newest(
            session,
            product,
            only_open=state == "open",
            only_closed=state == "closed",
            limit=ROWS + 1,
            after=after,
        )
    asked = {"state": state, **({"product": product} if product else {})}
    return site.page(
        request,
        "live/alarms.html",
        rows=found[:ROWS],
        counted=counted,
        states={name: f"/alarms?{urlencode({**asked, 'state': name})}" for name in STATES},
        state=state,
        product=product,
        is_first=after is None,
        newest=f"/alarms?{urlencode(asked)}",
        older=f"/alarms?{urlencode({**asked, 'after': str(found[ROWS - 1].id)})}"
        if len(found) > ROWS
        else None,
    )


@router.api_route("/{id_}", methods=["GET", "HEAD"], dependencies=[needs(Permission.READ)])
def alarm(id_: UUID, request: Request, site: Here) -> HTMLResponse:
    """Show an alarm, with the form that closes it for who may."""
    with site.reading() as session:
        found = alarms.get(session, id_)
        why = alarms.why_closed(session, found)
    return site.page(request, "live/alarm.html", alarm=found, why=why, longest=LONGEST_REASON)


@router.post("/{id_}/close", dependencies=[needs(Permission.ALARMS)])
def close_it(
    id_: UUID, site: Here, who: Who, why: Annotated[str, Form(max_length=LONGEST_REASON)] = ""
) -> RedirectResponse:
    """Close an alarm; a station that it holds gives verdicts again."""
    site.act(lambda session: close(session, id_, who.name, why))
    return RedirectResponse(f"/alarms/{id_}", 303)
