"""Images from stations that must not see Redis or the database."""

from typing import Annotated

import anyio
from fastapi import Query, Request

from db import inspections
from web.access import Permission, Who, needs
from web.api import api_router, problems
from web.site import Here
from web.upload.documents import (
    AskedDocument,
    KnownDocument,
    NotedDocument,
    QueryDocument,
    RefusalsDocument,
    TakenDocument,
    request_body,
)
from web.upload.receiving import clock_ahead_s, receive
from web.upload.uploads import Receiving

router = api_router("Upload", once=False)  # ids have each image accepted once


@router.post(
    "/inspections",
    status_code=202,
    dependencies=[needs(Permission.UPLOAD)],
    summary="Hand images in",
    responses=problems(400, 413, 415),
    openapi_extra={"requestBody": request_body()},
)
async def upload(
    request: Request, who: Who, uploads: Receiving, query: Annotated[QueryDocument, Query()]
) -> TakenDocument:
    """Store images and have them judged. The answer comes once they are stored durably, so that the station
    may forget them; whatever it hasn't heard of it sends again: an id is accepted once.

    Several images come with a part `frames`, a single one may come as the body, described in the query. 503
    with Retry-After: there is no room, or the workers are too far behind; the station keeps its images.
    """
    ahead_s = clock_ahead_s(request)
    await anyio.to_thread.run_sync(uploads.let_in, who, limiter=uploads.gate)
    try:
        async with receive(request, query) as received:
            return await anyio.to_thread.run_sync(uploads.take, who, received, ahead_s, limiter=uploads.turns)
    finally:
        uploads.let_out()


@router.post("/inspections/known", dependencies=[needs(Permission.UPLOAD)], summary="What needn't be sent")
def known(asked: AskedDocument, site: Here) -> KnownDocument:
    """Tell which ids are accepted already, so that a station needn't read and send those images again.

    Without ids it tells whether the token opens the upload.
    """
    with site.reading() as session:
        return KnownDocument(known=sorted(inspections.known_ids(session, asked.ids)))


@router.post("/inspections/refused", dependencies=[needs(Permission.UPLOAD)], summary="Tell of bad files")
def refused(said: RefusalsDocument, who: Who, uploads: Receiving) -> NotedDocument:
    """Leave an event for each file that a station could not even read; only one, however often told."""
    return NotedDocument(noted=uploads.refuse(who, said))
