"""Asking for the ledger to be verified: a worker does it, and an event says what came of it."""

import logging
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Form
from pydantic import BeforeValidator
from starlette.responses import RedirectResponse

from db.ledger import verifications
from db.tables import Verification
from web.access import Permission, Principal, Who, needs
from web.inspections.filters import Moment
from web.site import Here, Site
from workers import queue

log = logging.getLogger(__name__)
router = APIRouter(prefix="/audit", include_in_schema=False)
Field = Annotated[Moment | None, BeforeValidator(lambda text: text or None), Form()]


@router.post("/verifications", dependencies=[needs(Permission.AUDIT)])
def verify(
    site: Here,
    who: Who,
    since: Field = None,
    until: Field = None,
    blobs: Annotated[Literal["sample", "all"], Form()] = "sample",
) -> RedirectResponse:
    """Ask for what was sealed in a time to be verified."""
    ask(site, who, since, until, verifications.SAMPLE if blobs == "sample" else None)
    return RedirectResponse("/audit/ledger#verifying", 303)


def ask(
    site: Site, who: Principal, since: datetime | None, until: datetime | None, blobs: int | None
) -> Verification:
    """Keep the wish, and wake a worker. Raises db.ledger.verifications.VerificationThereError."""
    asked = site.act(lambda session: verifications.request(session, who.name, since, until, blobs))
    try:
        queue.wake_verifier()
    except queue.BrokerUnavailableError as error:  # the wish is kept, and the page says that it waits
        log.warning("%s", error)
    return asked
