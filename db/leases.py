"""Leases: one process at a time does a thing, and another takes over when that one has died.

A lease spares double work; nothing may go wrong where two hold it, since clocks differ and processes stall.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import delete
from sqlalchemy.orm import Session, sessionmaker

from db.insert import insert_into
from db.tables import Lease


@contextmanager
def lease(sessions: sessionmaker[Session], name: str, seconds: float) -> Iterator[bool]:
    """Hold the lease `name` for up to `seconds`; gives False where somebody else holds it."""
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
    now = datetime.now(UTC)
    row = {"holder": holder, "until": now + timedelta(seconds=seconds)}
    with sessions.begin() as session:
        taken = session.scalar(
            insert_into(session, Lease)
            .values(name=name, **row)
            .on_conflict_do_update(index_elements=[Lease.name], set_=row, where=Lease.until < now)
            .returning(Lease.holder)
        )
    if taken is None:
        yield False
        return
    try:
        yield True
    finally:
        with sessions.begin() as session:
            session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))
