"""Replays what somebody asked for on the page: see db.replays."""

from typing import Any, Final
from uuid import UUID

from celery.utils.log import get_task_logger

from db import replays
from db.history import UnknownInspectionError
from db.leases import lease
from db.outage import UNAVAILABLE, sentence
from db.tables import Event
from workers.celery import app
from workers.replay import replay
from workers.runtime import Runtime, runtime

logger = get_task_logger(__name__)

_LEASE_S: Final = 300.0  # a model is fetched, and scores one image


# Acknowledged before it starts: what waits is in the database.
@app.task(name="workers.replays", acks_late=False)
def replay_asked() -> None:
    replay_waiting(runtime())


def replay_waiting(state: Runtime) -> None:
    """Answer the wishes that wait, but those that another worker is at."""
    try:
        with state.reading() as session:
            asked = replays.waiting(session)
        for request in asked:
            answer(state, request)
    except UNAVAILABLE as error:
        logger.warning("nothing is replayed: %s", sentence(error))  # it waits for the next look


def answer(state: Runtime, request: Event) -> None:
    """Answer a wish, unless somebody else does, or has."""
    with lease(state.sessions, f"replay {request.subject}"[:64], _LEASE_S) as mine:
        if mine is None:
            return
        with state.reading() as session:
            if request.id not in {one.id for one in replays.waiting(session)}:
                return
        found = _found(state, UUID(request.subject))
        with state.sessions.begin() as session:
            replays.answer(session, request, found)
        logger.info("replayed inspection %s for %s: equal %s", request.subject, request.actor, found["equal"])


def _found(state: Runtime, id_: UUID) -> dict[str, Any]:
    try:
        (one,) = replay(state, [id_])
    except UnknownInspectionError as error:
        return {"equal": False, "model": None, "stored": None, "score": None, "differences": [str(error)]}
    return {
        "equal": one.equal,
        "model": one.model,
        "stored": one.stored,
        "score": one.score,
        "differences": list(one.differences),
        "worker_device": state.device,
    }
