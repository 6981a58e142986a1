"""Asking for a verdict to be replayed: a worker scores the stored image again with the stored model."""

import logging
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import RedirectResponse

from db import replays
from web.access import Permission, Principal, Who, needs
from web.site import Here, Site
from workers import queue

log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)


@router.post("/inspections/{id_}/replays", dependencies=[needs(Permission.REPLAY)])
def replay(id_: UUID, site: Here, who: Who) -> RedirectResponse:
    """Ask for an inspection's verdict to be replayed."""
    ask(site, who, id_)
    return RedirectResponse(f"/inspections/{id_}#replay", 303)


def ask(site: Site, who: Principal, id_: UUID) -> UUID:
    """Keep the wish, and wake a worker; gives the event's id.

    Raises db.history.UnknownInspectionError and db.replays.NothingToReplayError.
    """
    asked = site.act(lambda session: replays.request(session, id_, who.name))
    try:
        queue.wake_replayer()
    except queue.BrokerUnavailableError as error:  # the wish is kept, and the page says that it waits
        log.warning("%s", error)
    return asked
