"""Handing evidence out: what it takes beside writing it, for the command line and the page alike."""

from typing import IO, Any, Final
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from db import events, partitions
from db.engine import session_factory
from db.evidence.archive import Picture, write
from db.evidence.collect import Subject
from db.imagestore import ImageStore
from db.ledger import keys
from db.ledger.seal import seal, snapshot
from db.ledger.settings import LedgerSettings

EXPORTED: Final = "evidence.exported"  # the kinds of the events
BROKEN_OFF: Final = "evidence.broken_off"


def make(
    engine: Engine,
    store: ImageStore,
    settings: LedgerSettings,
    subject: Subject,
    file: IO[bytes],
    picture: Picture,
) -> dict[str, Any]:
    """Seal what waits, write the evidence of a subject as of that moment, and give what it states.

    Raises db.ledger.signers.LedgerKeyError, db.ledger.seal.SealingError, and what `write` raises.
    """
    seal(engine, settings)
    with session_factory(engine).begin() as session:
        signer = keys.signer_for(session, settings)
    with snapshot(engine) as connection, Session(connection) as session:
        partitions.keep(connection)
        return write(session, store, signer, subject, file, picture)


def note(sessions: sessionmaker[Session], actor: str, subject: Subject, stated: dict[str, Any]) -> UUID:
    """Leave the event that somebody was given evidence; gives its id."""
    detail = {name: stated[name] for name in ("about", "completeness", "key")}
    with sessions.begin() as session:
        return events.record(session, EXPORTED, actor, subject.value, detail)


def note_broken_off(sessions: sessionmaker[Session], actor: str, subject: Subject, why: str) -> UUID:
    """Leave the event that somebody was given a part of evidence, which proves nothing; gives its id."""
    detail = {"about": {subject.what: subject.value}, "why": why}
    with sessions.begin() as session:
        return events.record(session, BROKEN_OFF, actor, subject.value, detail)
