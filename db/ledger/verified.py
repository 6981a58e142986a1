"""That somebody verified the ledger, and what came of it, as an event: audits ask when it was last done."""

from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import events
from db.ledger.heads import moment
from db.ledger.verify import Report, Wanted
from db.tables import Event

VERIFIED: Final = "ledger.verified"  # the kind of the event


def record(
    session: Session, wanted: Wanted, blobs: int | None, report: Report, seconds: float, actor: str
) -> UUID:
    """Leave the event of a verification that took so many seconds; gives its id.

    `blobs` is how many of the bytes behind the facts were to be hashed at most, None: all.
    """
    return events.record(session, VERIFIED, actor, None, told(wanted, blobs, report, seconds))


def told(wanted: Wanted, blobs: int | None, report: Report, seconds: float) -> dict[str, Any]:
    """Say what was verified, against what, what is wrong, and how long it took."""
    return {
        "ok": report.ok,
        "since": None if wanted.since is None else moment(wanted.since),
        "until": None if wanted.until is None else moment(wanted.until),
        "facts": report.facts,
        "blocks": report.blocks,
        "released": report.released,
        "unsealed": report.unsealed,
        "blobs": report.blobs,
        "blobs_asked": "all" if blobs is None else blobs,
        "heads_told": [str(file) for file in wanted.heads if file.is_file()],
        "trusted": list(wanted.trusted),
        "head": report.head,
        "faults": report.faults,
        "bad": [vars(one) for one in report.bad],
        "seconds": round(seconds, 3),
    }


def last(session: Session) -> Event | None:
    """Give the newest such event, None where nobody has verified yet."""
    query = select(Event).where(Event.kind == VERIFIED).order_by(Event.id.desc()).limit(1)
    return session.scalar(query)
