"""Replays of one verdict that somebody asks for on the page, and a worker does.

The wish is an event, and so is the answer: the queue only makes it quick. What nobody has answered within a
day is asked for anew, not caught up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from db import events, history
from db.ids import first_id
from db.tables import Event

REQUESTED: Final = "replay.requested"  # the kinds of the events; their subject is the inspection
ANSWERED: Final = "replay.answered"
WAITS: Final = timedelta(days=1)
SILENT: Final = timedelta(minutes=10)  # a worker that runs has answered by then


class NothingToReplayError(Exception):
    """An inspection that no model has judged."""

    def __init__(self, id_: UUID) -> None:
        super().__init__(f"no model has judged inspection {id_}, so there is nothing to replay")


@dataclass(frozen=True)
class Replays:
    """An inspection's replays: the answers, newest first, and the wish that waits for one."""

    answers: Sequence[Event]
    waiting: Event | None

    @property
    def is_silent(self) -> bool:
        """Whether a worker would have answered by now."""
        return self.waiting is not None and datetime.now(UTC) - self.waiting.at > SILENT


def request(session: Session, id_: UUID, by: str) -> UUID:
    """Ask for an inspection's verdict to be replayed, unless that waits already; gives the event's id.

    Raises db.history.UnknownInspectionError and NothingToReplayError.
    """
    detail = history.inspection(session, id_)
    if detail.result is None or detail.result.model_version is None:
        raise NothingToReplayError(id_)
    waiting = of(session, id_).waiting
    if waiting is not None:
        return waiting.id
    return events.record(session, REQUESTED, by, str(id_), {"model": detail.result.model_version})


def of(session: Session, id_: UUID, limit: int = 10) -> Replays:
    """Give an inspection's newest replays."""
    told = select(Event).where(Event.subject == str(id_), Event.kind.in_((REQUESTED, ANSWERED)))
    found = session.scalars(told.order_by(Event.id.desc()).limit(2 * limit)).all()
    answers = [one for one in found if one.kind == ANSWERED]
    newest = found[0] if found else None
    waits = newest is not None and newest.kind == REQUESTED and datetime.now(UTC) - newest.at < WAITS
    return Replays(answers[:limit], newest if waits else None)


def waiting(session: Session, limit: int = 100) -> Sequence[Event]:
    """Give the wishes of the last day that nobody has answered, oldest first."""
    answer = aliased(Event)
    answered = (
        select(answer.id)
        .where(answer.kind == ANSWERED, answer.subject == Event.subject, answer.id > Event.id)
        .exists()
    )
    asked = Event.kind == REQUESTED, Event.id >= first_id(datetime.now(UTC) - WAITS)
    return session.scalars(select(Event).where(*asked, ~answered).order_by(Event.id).limit(limit)).all()


def answer(session: Session, request: Event, found: dict[str, Any]) -> UUID:
    """Leave the event that says what came of it, whose actor is who asked; gives its id."""
    at = max(datetime.now(UTC), request.at + timedelta(milliseconds=1))  # clocks differ, and order counts
    detail = {"request": str(request.id), **found}
    return events.record(session, ANSWERED, request.actor, request.subject, detail, at)
