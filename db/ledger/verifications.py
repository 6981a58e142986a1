"""Verifications that somebody asks for on the page, and a worker does: one after the other.

A row is the wish and how far it is. What came of it is an event, as of a verification by command.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db import clock, events
from db.ids import uuid7
from db.ledger.heads import moment
from db.tables import Block, Verification
from db.text import readable

LEASE: Final = "verify"  # whoever verifies what was asked for on the page holds it
LEASE_S: Final = 900.0  # longer than what is looked at without a word about how far it is
SAMPLE: Final = 200  # images and maps whose bytes are hashed unless somebody asks for more
OPEN: Final = ("requested", "running")
_TRIES: Final = 3


class VerificationThereError(Exception):
    """A verification waits or runs already."""

    def __init__(self, by: str, at: datetime, state: str) -> None:
        super().__init__(
            f"the verification that {by} asked for at {at:%Y-%m-%d %H:%M:%S} UTC is {state}: wait for its "
            "end, two at once would only slow each other down"
        )


class UnknownVerificationError(Exception):
    """There is no such verification."""

    def __init__(self, id_: UUID) -> None:
        super().__init__(f"there is no verification {id_}")


class SenselessRangeError(Exception):
    """A range of time in which nothing can have been sealed."""


def request(
    session: Session, by: str, since: datetime | None, until: datetime | None, blobs: int | None = SAMPLE
) -> Verification:
    """Ask for what was sealed since <= time < until to be verified, and leave the event that says so.

    `blobs` is how many images and maps are hashed, None: all. Raises VerificationThereError, and
    SenselessRangeError.
    """
    if since is not None and until is not None and until <= since:
        raise SenselessRangeError(f"until {until} is not after since {since}: nothing was sealed between")
    _require_none_open(session)
    now = clock.now(session)
    wanted = Verification(
        id=uuid7(now),
        requested_by=by,
        requested_at=now,
        since=since,
        until=until,
        blobs=blobs,
        state="requested",
        facts=0,
        done=0,
        tries=0,
        updated_at=now,
    )
    try:
        with session.begin_nested():
            session.add(wanted)
    except IntegrityError:  # somebody else has asked meanwhile
        _require_none_open(session)
        raise
    detail = {
        "verification": str(wanted.id),
        "since": None if since is None else moment(since),
        "until": None if until is None else moment(until),
        "blobs_asked": "all" if blobs is None else blobs,
    }
    events.record(session, "ledger.verification_requested", by, None, detail)
    return wanted


def _require_none_open(session: Session) -> None:
    found = session.scalar(select(Verification).where(Verification.state.in_(OPEN)).limit(1))
    if found is not None:
        raise VerificationThereError(found.requested_by, found.requested_at, found.state)


def newest(session: Session, limit: int, after: UUID | None = None) -> Sequence[Verification]:
    """Give those that were asked for, newest first, asked for before `after`."""
    query = select(Verification).order_by(Verification.id.desc()).limit(limit)
    return session.scalars(query if after is None else query.where(Verification.id < after)).all()


def one(session: Session, id_: UUID) -> Verification:
    """Raises UnknownVerificationError."""
    found = session.get(Verification, id_)
    if found is None:
        raise UnknownVerificationError(id_)
    return found


def begin(session: Session) -> Verification | None:
    """Give the one that is to be done now, of which a try is counted; None where nobody waits.

    Whoever calls it holds the lease, so one that is running has been left by who died over it. One over which
    workers have died too often is given up.
    """
    waits = select(Verification).where(Verification.state.in_(OPEN)).order_by(Verification.id).limit(1)
    found = session.scalar(waits.with_for_update())
    if found is None:
        return None
    now = clock.now(session)
    found.updated_at = now
    if found.tries >= _TRIES:
        found.state = "failed"
        found.error = f"{_TRIES} workers ended over it; their logs may say why"
        session.flush()
        return begin(session)
    found.state, found.tries, found.done = "running", found.tries + 1, 0
    found.started_at = found.started_at or now
    sealed = select(func.coalesce(func.sum(Block.leaves), 0))
    if found.since is not None:
        sealed = sealed.where(Block.sealed_at >= found.since)
    if found.until is not None:
        sealed = sealed.where(Block.sealed_at < found.until)
    found.facts = int(session.scalars(sealed).one())
    return found


def progressed(session: Session, id_: UUID, done: int) -> None:
    """Note how many facts were looked at so far."""
    session.execute(
        update(Verification).where(Verification.id == id_).values(done=done, updated_at=clock.now(session))
    )


def end(session: Session, id_: UUID, event: UUID, done: int) -> None:
    """Note that it is done, and the event that says what came of it."""
    session.execute(
        update(Verification)
        .where(Verification.id == id_)
        .values(state="done", event=event, done=done, updated_at=clock.now(session))
    )


def fail(session: Session, id_: UUID, why: str) -> None:
    """Note that it can't be done."""
    session.execute(
        update(Verification)
        .where(Verification.id == id_)
        .values(state="failed", error=readable(why), updated_at=clock.now(session))
    )


def put_back(session: Session, id_: UUID) -> None:
    """Let it wait for another try, which what was away doesn't count against."""
    session.execute(
        update(Verification)
        .where(Verification.id == id_, Verification.state == "running")
        .values(state="requested", tries=Verification.tries - 1, updated_at=clock.now(session))
    )


def is_silent(one: Verification, after: timedelta = timedelta(minutes=10)) -> bool:
    """Whether nothing was heard of an open one for so long that somebody should look after the workers."""
    return one.state in OPEN and datetime.now(UTC) - one.updated_at > after
