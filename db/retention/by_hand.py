"""Letting go what is due because a person asked for it, beside the worker that does it every day."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from db.engine import session_factory
from db.imagestore import ImageStore
from db.leases import lease
from db.ledger import lots_let_go
from db.retention import acts
from db.retention.due import Act
from db.retention.policy import RetentionError
from db.retention.turn import LEASE, LEASE_S, Turn
from db.tables import Inspection


class RetentionBusyError(RetentionError):
    """Somebody else lets go what is due, or needs that nothing goes meanwhile."""

    def __init__(self) -> None:
        super().__init__(
            "a worker is letting go what is due right now, or a backup copies images: look again later"
        )


@dataclass(frozen=True)
class Done:
    """What was let go, and in words what is due and was left for the next time."""

    acts: list[Act]
    left: list[str]


def apply(
    engine: Engine,
    store: ImageStore,
    sign: Callable[[Session], tuple[str, dict[str, Any] | None]],
    *,
    archive: bool,
    longest_s: float | None = None,
) -> Done:
    """Let go what is due, for `longest_s` seconds at most where that is given; may be repeated.

    `sign` says, in a session of its own, who does it and with which signature (db.signatures.approval).
    Raises RetentionBusyError, what `sign` raises, and what db.retention.acts.apply raises.
    """
    sessions = session_factory(engine)
    with lease(sessions, LEASE, LEASE_S) as mine:
        if mine is None:
            raise RetentionBusyError
        with sessions.begin() as session:
            actor, signature = sign(session)
        end = None if longest_s is None else time.monotonic() + longest_s
        turn = Turn(lambda: (end is None or time.monotonic() < end) and mine())
        found = acts.apply(engine, store, actor, archive=archive, turn=turn, signature=signature)
        return Done(list(found), turn.left)


def of_lot(session: Session, lot: str) -> tuple[bool, int]:
    """Tell of a lot whether an inspection has it, and how many of it went already."""
    there = session.scalar(select(Inspection.id).where(Inspection.lot == lot).limit(1)) is not None
    return there, sum(one.inspections for one, _ in lots_let_go.of_lot(session, lot))
