"""Whatever happens in whatever order, each committed fact is sealed once and the ledger verifies."""

import tempfile
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from db import events
from db.engine import make_engine, session_factory
from db.ledger import anchors, keys
from db.ledger.rotate import rotate
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.ledger.status import look
from db.ledger.verify import Wanted, verify
from db.migrate import upgrade
from db.settings import DatabaseSettings
from db.tables import SealedFact


class Ledger(RuleBasedStateMachine):
    """Facts come, some transactions fail, blocks of any size are sealed, keys rotate, heads are told."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="pyramidion-state-")
        home = Path(self.folder.name)
        self.engine = make_engine(DatabaseSettings(home=home))
        upgrade(self.engine)
        self.sessions = session_factory(self.engine)
        self.paths = {"ledger_key_path": home / "key.pem", "anchor_path": home / "heads.jsonl"}
        self.written: set[UUID] = set()

    @initialize()
    def begins(self) -> None:
        self.facts_come(1)
        self.sealed(4)

    @rule(number=st.integers(1, 9))
    def facts_come(self, number: int) -> None:
        with self.sessions.begin() as session:
            self.written |= {events.record(session, "k", "a") for _ in range(number)}

    @rule()
    def a_transaction_fails(self) -> None:
        with self.sessions() as session:
            events.record(session, "k", "a")
            session.rollback()

    @rule(size=st.integers(1, 8))
    def sealed(self, size: int) -> None:
        seal(self.engine, LedgerSettings(seal_block_facts=size, **self.paths))
        with self.sessions() as session:
            assert look(session).waiting.facts == 0
            facts = session.scalars(select(SealedFact.fact)).all()
        assert self.written <= set(facts)

    @rule(size=st.integers(1, 8))
    def partly_sealed(self, size: int) -> None:
        seal(self.engine, LedgerSettings(seal_block_facts=size, **self.paths), seconds=0)

    @rule()
    def the_key_is_changed(self) -> None:
        rotate(self.sessions, LedgerSettings(**self.paths), None, timedelta(days=1))
        with self.sessions() as session:
            assert len(keys.known(session)) >= 2

    @rule()
    def heads_are_told(self) -> None:
        assert anchors.tell(self.sessions, LedgerSettings(**self.paths)) == {}

    @invariant()
    def all_is_as_it_was_sealed(self) -> None:
        report = verify(self.engine, Wanted(heads=[self.paths["anchor_path"]]))
        assert report.bad == []

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()


def test_the_ledger_holds_in_any_order(home: Path) -> None:
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=8,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
