"""Verifies the ledger where somebody asked for it on the page: see db.ledger.verifications."""

import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

from celery.utils.log import get_task_logger
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from db.engine import make_engine, session_factory
from db.imagestore import open_image_store
from db.leases import Renew, lease
from db.ledger import verifications, verified
from db.ledger.blobs import Blobs
from db.ledger.settings import LedgerSettings
from db.ledger.signers import LedgerKeyError, open_signer
from db.ledger.told import HeadsFileError
from db.ledger.verify import Wanted, verify
from db.outage import UNAVAILABLE, sentence
from db.settings import DatabaseSettings
from db.tables import Verification
from workers.celery import app

logger = get_task_logger(__name__)

_TELLS_EVERY_S: Final = 1.0


# Acknowledged before it starts: what waits is in the database, and what takes long is for one worker.
@app.task(name="workers.verify", acks_late=False)
def verify_asked() -> None:
    verify_waiting()


def verify_waiting() -> None:
    """Do the verifications that wait, unless another worker is at it."""
    settings = DatabaseSettings()
    engine = make_engine(settings)
    sessions = session_factory(engine)
    try:
        with lease(sessions, verifications.LEASE, verifications.LEASE_S) as renew:
            while renew is not None:
                with sessions.begin() as session:
                    wanted = verifications.begin(session)
                if wanted is None:
                    return
                verify_one(engine, settings, wanted, renew)
    except UNAVAILABLE as error:
        logger.warning("nothing is verified: %s", sentence(error))  # it waits for the next look
    finally:
        engine.dispose()


def verify_one(engine: Engine, settings: DatabaseSettings, one: Verification, renew: Renew) -> None:
    """Verify, and note what came of it. Raises what is raised by what is away; then it waits again."""
    sessions, ledger = session_factory(engine), LedgerSettings()
    began = time.monotonic()
    try:
        wanted = Wanted(one.since, one.until, signer=open_signer(ledger), heads=[ledger.anchor_file()])
        blobs = Blobs(open_image_store(settings), session_factory(engine, read_only=True), one.blobs)
        report = verify(engine, wanted, blobs, _teller(sessions, one.id, renew))
    except (LedgerKeyError, HeadsFileError) as error:
        with sessions.begin() as session:
            verifications.fail(session, one.id, str(error))
        return
    except UNAVAILABLE:
        with sessions.begin() as session:
            verifications.put_back(session, one.id)
        raise
    seconds = time.monotonic() - began
    with sessions.begin() as session:
        event = verified.record(session, wanted, one.blobs, report, seconds, one.requested_by)
        verifications.end(session, one.id, event, report.facts)
    say = logger.info if report.ok else logger.error
    say("verified %d facts in %.1f s: %d faults", report.facts, seconds, report.faults)


def _teller(sessions: sessionmaker[Session], id_: UUID, renew: Renew) -> Callable[[int], None]:
    told_at = 0.0

    def tell(done: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at < _TELLS_EVERY_S:
            return
        told_at = time.monotonic()
        renew()
        with sessions.begin() as session:
            verifications.progressed(session, id_, done)

    return tell
