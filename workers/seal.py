"""Sealing what has happened since, every few seconds, and telling the new block heads outside."""

from typing import Final

from celery.utils.log import get_task_logger

from db.engine import make_engine, session_factory
from db.leases import lease
from db.ledger import anchors
from db.ledger.seal import SealingError, seal
from db.ledger.settings import LedgerSettings
from db.ledger.signers import LedgerKeyError
from db.outage import UNAVAILABLE, sentence
from db.settings import DatabaseSettings
from workers.celery import app

logger = get_task_logger(__name__)

# A long backlog is sealed in turns: the sweeper, which has the same worker, must not wait for its end.
_TURN_S: Final = 10.0
# Longer than a turn and telling its heads; where a sealer was killed, facts are sealed within a minute still.
_LEASE_S: Final = 40.0


@app.task(name="workers.seal")
def seal_facts() -> None:
    """Seal for a turn, unless another worker is at it."""
    settings = LedgerSettings()
    engine = make_engine(DatabaseSettings())
    sessions = session_factory(engine)
    try:
        with lease(sessions, "seal", _LEASE_S) as mine:
            if not mine:
                return
            try:
                sealed = seal(engine, settings, seconds=_TURN_S)
            except (LedgerKeyError, SealingError) as error:
                # Nothing is lost: the facts wait, and `audit status` and `doctor` say for how long.
                logger.error("nothing is sealed: %s", error)  # noqa: TRY400  # it says it all
                return
            if sealed.left:
                logger.warning("sealed %d facts, and more wait", sealed.facts)
            for place, why in anchors.tell(sessions, settings, seconds=_TURN_S).items():
                logger.warning("block heads can't be told to %s: %s", place, why)
    except UNAVAILABLE as error:
        logger.warning("nothing is sealed: %s", sentence(error))  # the facts wait; an outage is no bug
    finally:
        engine.dispose()
