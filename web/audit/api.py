"""The API's part for audits: events, the ledger, evidence, replays."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query, Response
from starlette.responses import StreamingResponse

from db import events, history, replays
from db.events import Asked
from db.ledger import verifications, verified
from db.ledger.status import look
from db.tables import Event, Verification
from web.access import Permission, Who, needs
from web.api import PREFIX, Limit, Listed, api_router, problems
from web.audit import evidence, replaying, verifying
from web.audit.asked import Wanted
from web.audit.models import (
    EventRow,
    Ledger,
    ReplayRow,
    ReplaysOf,
    VerificationAsked,
    VerificationRow,
)
from web.inspections.filters import Moment, Name
from web.site import Here

router = api_router("Audit")
_ZIP: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/zip": {}}, "description": "The evidence; `verify.py` in it verifies it."}
}
_SECONDS: Final = {"Retry-After": "2"}


@router.get("/events", dependencies=[needs(Permission.AUDIT)])
def list_events(
    site: Here,
    kind: Annotated[Name | None, Query(description="This kind, or all that begin so: `user`.")] = None,
    subject: Annotated[Name | None, Query(description="What it was done to.")] = None,
    actor: Annotated[Name | None, Query(description="Who did it.")] = None,
    since: Annotated[Moment | None, Query(description="At or after this time.")] = None,
    until: Annotated[Moment | None, Query(description="Before this time.")] = None,
    after: Annotated[UUID | None, Query(description="`id` of the last one before.")] = None,
    limit: Limit = 100,
) -> Listed[EventRow]:
    """List what somebody did or what happened, newest first."""
    wanted = Wanted(kind=kind, subject=subject, actor=actor, since=since, until=until, after=after)
    asked = Asked(kind, subject, since, until, actor)
    with site.reading() as session:
        found = list(events.told(session, asked, limit + 1, after))
    rows = [_event(one) for one in found[:limit]]
    following = wanted.query(after=rows[-1].id, limit=limit) if len(found) > limit else None
    return Listed(items=rows, next=None if following is None else f"{PREFIX}/events{following}")


@router.get("/events/{id_}", dependencies=[needs(Permission.AUDIT)], responses=problems(404))
def event(id_: UUID, site: Here) -> EventRow:
    """Give an event."""
    with site.reading() as session:
        return _event(events.one(session, id_))


@router.get("/ledger", dependencies=[needs(Permission.AUDIT)])
def ledger(site: Here) -> Ledger:
    """Tell how far sealing has come, and when it was verified last."""
    with site.reading() as session:
        found, last = look(session), verified.last(session)
    return Ledger.model_validate(
        {
            "blocks": found.blocks,
            "sealed_at": found.sealed_at,
            "head": found.head,
            "waiting": vars(found.waiting),
            "late": found.late,
            "keys": [
                {
                    "id": key.id,
                    "public_key": key.public_key.hex(),
                    "introduced_at": key.introduced_at,
                    "overlap_until": key.overlap_until,
                }
                for key in found.keys
            ],
            "anchors": [
                {name: getattr(one, name) for name in ("place", "block", "failing_since", "last_error")}
                for one in found.anchors
            ],
            "last_verified": None if last is None else _event(last),
        }
    )


@router.get("/ledger/verifications", dependencies=[needs(Permission.AUDIT)])
def list_verifications(
    site: Here,
    after: Annotated[UUID | None, Query(description="`id` of the last one before.")] = None,
    limit: Limit = 50,
) -> Listed[VerificationRow]:
    """List the verifications that were asked for here, newest first."""
    with site.reading() as session:
        found = verifications.newest(session, limit + 1, after)
        rows = [_verification(one, _outcome(site, one)) for one in found[:limit]]
    following = f"?after={rows[-1].id}&limit={limit}" if len(found) > limit else None
    return Listed(items=rows, next=None if following is None else f"{PREFIX}/ledger/verifications{following}")


@router.get("/ledger/verifications/{id_}", dependencies=[needs(Permission.AUDIT)], responses=problems(404))
def verification(id_: UUID, site: Here) -> VerificationRow:
    """Tell how far a verification is, and what it found."""
    with site.reading() as session:
        found = verifications.one(session, id_)
    return _verification(found, _outcome(site, found))


@router.post(
    "/ledger/verifications",
    status_code=202,
    dependencies=[needs(Permission.AUDIT)],
    responses=problems(409, 422),
)
def ask_verification(asked: VerificationAsked, site: Here, who: Who, response: Response) -> VerificationRow:
    """Ask for the ledger to be verified; a worker does it, one at a time."""
    found = verifying.ask(site, who, asked.since, asked.until, asked.blobs)
    response.headers.update({"Location": f"{PREFIX}/ledger/verifications/{found.id}", **_SECONDS})
    return _verification(found, None)


@router.get(
    "/evidence",
    dependencies=[needs(Permission.AUDIT)],
    responses={**problems(404, 409, 422, 429), **_ZIP},
    response_class=StreamingResponse,
)
def evidence_of(
    site: Here,
    who: Who,
    about: Annotated[evidence.About, Query(description="What `name` is.")],
    name: Annotated[Name, Query(description="The lot, the serial, or the inspection's id.")],
) -> StreamingResponse:
    """Hand out evidence that can be verified without Pyramidion; an event says who took it."""
    return evidence.answer(site, who.name, about, name)


@router.get(
    "/inspections/{id_}/evidence",
    dependencies=[needs(Permission.AUDIT)],
    responses={**problems(404, 409, 429), **_ZIP},
    response_class=StreamingResponse,
)
def evidence_of_inspection(id_: UUID, site: Here, who: Who) -> StreamingResponse:
    """Hand out the evidence of one inspection; an event says who took it."""
    return evidence.answer(site, who.name, "inspection", str(id_))


@router.get("/inspections/{id_}/replays", dependencies=[needs(Permission.READ)], responses=problems(404))
def list_replays(id_: UUID, site: Here) -> ReplaysOf:
    """Tell what came of the replays that were asked for of an inspection's verdict."""
    with site.reading() as session:
        history.inspection(session, id_)
        return _replays(replays.of(session, id_))


@router.post(
    "/inspections/{id_}/replays",
    status_code=202,
    dependencies=[needs(Permission.REPLAY)],
    responses=problems(404, 409),
)
def ask_replay(id_: UUID, site: Here, who: Who, response: Response) -> ReplaysOf:
    """Ask for stored image and stored model to be scored again; a worker does it, and an event says so."""
    replaying.ask(site, who, id_)
    response.headers.update({"Location": f"{PREFIX}/inspections/{id_}/replays", **_SECONDS})
    with site.reading() as session:
        return _replays(replays.of(session, id_))


def _event(one: Event) -> EventRow:
    return EventRow.model_validate(one, from_attributes=True)


def _outcome(site: Here, one: Verification) -> Event | None:
    if one.event is None:
        return None
    with site.reading() as session:
        return events.one(session, one.event)


def _verification(one: Verification, outcome: Event | None) -> VerificationRow:
    names = set(VerificationRow.model_fields) - {"outcome"}
    told = {name: getattr(one, name) for name in names}
    return VerificationRow.model_validate({**told, "outcome": None if outcome is None else outcome.detail})


def _replays(found: replays.Replays) -> ReplaysOf:
    waiting = found.waiting
    rows = [
        ReplayRow.model_validate({"event": one.id, "asked_by": one.actor, "at": one.at, **one.detail})
        for one in found.answers
    ]
    return ReplaysOf(
        waiting_since=None if waiting is None else waiting.at,
        waiting_for=None if waiting is None else waiting.id,
        answers=rows,
    )
