"""Leases: one process at a time does a thing, and another takes over when that one has died.

A lease spares double work; nothing may go wrong where two hold it, since clocks differ and processes stall.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import delete, update
from sqlalchemy.orm import Session, sessionmaker

from db.insert import insert_into
from db.tables import Lease

Renew = Callable[[], bool]


@contextmanager
def lease(sessions: sessionmaker[Session], name: str, seconds: float) -> Iterator[Renew | None]:
    """Hold the lease `name` for up to `seconds`; gives None where somebody else holds it.

    Whoever takes longer calls what it gives now and then: it renews the lease for as long again, and says
    False where another has taken it meanwhile.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
    mine = (Lease.name == name, Lease.holder == holder)

    def until() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)

    def renew() -> bool:
        with sessions.begin() as session:
            renewed = update(Lease).where(*mine).values(until=until()).returning(Lease.holder)
            return session.scalar(renewed) is not None

    row = {"holder": holder, "until": until()}
    with sessions.begin() as session:
        taken = session.scalar(
            insert_into(session, Lease)
            .values(name=name, **row)
            .on_conflict_do_update(
                index_elements=[Lease.name], set_=row, where=Lease.until < datetime.now(UTC)
            )
            .returning(Lease.holder)
        )
    if taken is None:
        yield None
        return
    try:
        yield renew
    finally:
        with sessions.begin() as session:
            session.execute(delete(Lease).where(*mine))
