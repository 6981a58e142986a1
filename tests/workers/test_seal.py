"""The sealing task: in turn, by one worker at a time, and never silently not at all."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from db import events
from db.leases import lease
from db.ledger.settings import LedgerSettings
from db.ledger.status import look
from db.ledger.verify import Wanted, verify
from workers.seal import seal_facts


@pytest.fixture
def happen(sessions: sessionmaker[Session]) -> Callable[[], None]:
    def make_an_event() -> None:
        with sessions.begin() as session:
            events.record(session, "test", "tester")

    return make_an_event


def test_the_task_seals_tells_the_heads_and_says_how_far_it_came(
    sessions: sessionmaker[Session], engine: Engine, happen: Any
) -> None:
    happen()
    seal_facts.run()
    seal_facts.run()
    with sessions() as session:
        found = look(session)
    assert (found.waiting.facts, found.waiting.lag_s, found.late) == (0, 0, False)
    assert [(one.block, one.failing_since) for one in found.anchors] == [(found.blocks, None)]
    report = verify(engine, Wanted(heads=[LedgerSettings().anchor_file()]))
    assert (report.bad, report.head) == ([], found.head)


def test_while_another_worker_seals_this_one_leaves_it_to_it(
    sessions: sessionmaker[Session], happen: Any
) -> None:
    happen()
    with lease(sessions, "seal", 60) as mine:
        assert mine
        seal_facts.run()
        with sessions() as session:
            assert look(session).waiting.facts == 1
    seal_facts.run()
    with sessions() as session:
        assert look(session).waiting.facts == 0


def test_a_lost_key_is_told_by_every_turn_and_nothing_is_lost(
    sessions: sessionmaker[Session], happen: Any, caplog: pytest.LogCaptureFixture
) -> None:
    happen()
    seal_facts.run()
    LedgerSettings().key_path().unlink()
    happen()
    with caplog.at_level(logging.ERROR, "workers.seal"):
        for _ in range(2):
            seal_facts.run()
    assert [record.getMessage()[:45] for record in caplog.records] == [
        "nothing is sealed: the ledger is sealed with "
    ] * 2
    with sessions() as session:
        found = look(session)
    assert found.waiting.facts == 1
    assert found.waiting.lag_s > 0
