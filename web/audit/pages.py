"""The pages of audits: who did what, one event, and how far the ledger is."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse

from db import events
from db.ledger import verifications, verified
from db.ledger.facts import Kind
from db.ledger.status import look
from db.tables import Block, SealedFact
from web.access import Permission, needs
from web.audit.asked import Wanted, in_field
from web.audit.changes import tell
from web.site import Here

router = APIRouter(prefix="/audit", include_in_schema=False)
ROWS = 50
_LISTED = 10  # verifications


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.AUDIT)])
def newest(wanted: Annotated[Wanted, Query()], request: Request, site: Here) -> HTMLResponse:
    """List events, newest first, and say how far the ledger is."""
    with site.reading() as session:
        found = list(events.told(session, wanted.asked(), ROWS + 1, wanted.after))
        kinds = events.kinds(session)
        state, last = look(session), verified.last(session)
    return site.page(
        request,
        "audit/events.html",
        wanted=wanted,
        found=[tell(one) for one in found[:ROWS]],
        older=f"/audit{wanted.query(after=found[ROWS - 1].id)}" if len(found) > ROWS else None,
        kinds=sorted({*kinds, *(kind.split(".")[0] for kind in kinds)}),
        state=state,
        last=last,
        in_field=in_field,
    )


@router.api_route("/events/{id_}", methods=["GET", "HEAD"], dependencies=[needs(Permission.AUDIT)])
def event(id_: UUID, request: Request, site: Here) -> HTMLResponse:
    """Show all that an event says, and the block that it is sealed in."""
    with site.reading() as session:
        found = events.one(session, id_)
        leaf = session.get(SealedFact, (Kind.EVENT.value, id_))
        block = None if leaf is None else session.get(Block, leaf.block)
    return site.page(request, "audit/event.html", it=tell(found), leaf=leaf, block=block)


@router.api_route("/ledger", methods=["GET", "HEAD"], dependencies=[needs(Permission.AUDIT)])
def ledger(request: Request, site: Here) -> HTMLResponse:
    """Show how far sealing has come, what was verified, and let more be verified and handed out."""
    with site.reading() as session:
        asked = verifications.newest(session, _LISTED)
        outcomes = {one.id: events.one(session, one.event) for one in asked if one.event is not None}
        state, last = look(session), verified.last(session)
    return site.page(
        request,
        "audit/ledger.html",
        state=state,
        last=last,
        asked=asked,
        outcomes=outcomes,
        open_=next((one for one in asked if one.state in verifications.OPEN), None),
        is_silent=verifications.is_silent,
        sample=verifications.SAMPLE,
    )
