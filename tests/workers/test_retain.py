"""The task: months ahead, and once a day what the policy lets go, by one worker at a time."""

import logging
import os
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from db import inspections, models, partitions, results
from db.ids import uuid7
from db.imagestore import key_of, open_image_store
from db.leases import lease
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.retention import acts, policy
from db.settings import DatabaseSettings
from db.tables import Event, Inspection
from workers.retain import _apply, retain


@pytest.fixture
def old_part(sessions: sessionmaker[Session]) -> None:
    """A part that was judged 400 days ago."""
    at = datetime.now(UTC) - timedelta(days=400)
    store = open_image_store(DatabaseSettings())
    sha256 = store.put(b"image").rsplit("/", 1)[-1]
    os.utime(DatabaseSettings().home / "images" / key_of(sha256), (at.timestamp(), at.timestamp()))
    names = ("tile", "s1", None, None, None)
    image = (sha256, key_of(sha256), 5, 1, 1, "PNG")
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        inspections.accept(session, [inspections.NewInspection(uuid7(at), *names, at, at, *image)])
        (id_,) = session.scalars(select(Inspection.id))
        why = "no image"
        results.record(
            session, [results.NewResult(id_, "error", None, None, None, "w", 1, at, {}, [], why, None)]
        )


def test_the_task_makes_months_and_lets_go_what_is_due(
    sessions: sessionmaker[Session], engine: Engine, old_part: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    retain.run()
    count = select(func.count()).select_from(Inspection)
    with sessions() as session:
        assert session.scalar(count) == 1  # without a policy all is kept
    seal(engine, LedgerSettings())
    with sessions.begin() as session:
        policy.set_rule(session, "tile", None, policy.Terms(rows_days=365), "engineer", "storage")
        if engine.dialect.name == "postgresql":
            last = partitions.months(session.connection())[-1]
            for table in reversed(partitions.TABLES):
                session.execute(text(f"DROP TABLE {partitions.name_of(table, last)} CASCADE"))
    with lease(sessions, "retain", 60) as mine:
        assert mine
        retain.run()  # another one is at it
        with sessions() as session:
            assert session.scalar(count) == 1
    (image,) = (file for file in (DatabaseSettings().home / "images").rglob("*") if file.is_file())
    stored = image.stat().st_mtime
    os.utime(image)  # whoever stored it again just now may need it: it waits for a day, and its row with it
    retain.run()
    assert "left for the next hour: 1 images that were stored within the last day" in caplog.text
    with sessions() as session:
        assert session.scalar(count) == 1
        assert acts.last_applied(session) is None
    os.utime(image, (stored, stored))
    retain.run()
    with sessions() as session:
        assert session.scalar(count) == 0
        if engine.dialect.name == "postgresql":
            assert partitions.months(session.connection())[-1] == last
    assert "let go the rows of 1 inspections (tile, error)" in caplog.text
    caplog.clear()
    retain.run()  # asked for each hour, done once a day: it reads all that was ever let go
    with sessions() as session:
        told = list(session.scalars(select(Event.detail).where(Event.kind == acts.APPLIED)))
    assert told == [{"acts": 1}]


def test_a_turn_ends_when_its_lease_is_lost(
    sessions: sessionmaker[Session], engine: Engine, old_part: None, caplog: pytest.LogCaptureFixture
) -> None:
    seal(engine, LedgerSettings())
    with sessions.begin() as session:
        policy.set_rule(session, "tile", None, policy.Terms(rows_days=365), "engineer", "storage")
    _apply(engine, DatabaseSettings(), lambda: False)
    assert "what was still to come when the turn was over" in caplog.text
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Inspection)) == 1
        assert acts.last_applied(session) is None


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_a_person_has_to_set_right_is_told_and_nothing_counts_as_done(
    sessions: sessionmaker[Session],
    engine: Engine,
    old_part: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seal(engine, LedgerSettings())
    with sessions.begin() as session:
        policy.set_rule(session, "tile", None, policy.Terms(rows_days=365), "engineer", "storage")
    monkeypatch.setenv("PYRAMIDION_RETENTION_ARCHIVE", "true")
    retain.run()
    assert "PYRAMIDION_RETENTION_ARCHIVE is set, and SQLite has no schema" in caplog.text
    with sessions() as session:
        assert acts.last_applied(session) is None
