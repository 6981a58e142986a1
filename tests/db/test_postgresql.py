"""Connections to PostgreSQL: what they remember, and what becomes of one that has died meanwhile."""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg.pq import TransactionStatus
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from capture.images import Limits
from capture.intake import Intake
from capture.settings import CaptureSettings
from db import postgresql
from db.engine import key_sessions, make_engine, one_by_one, session_factory
from db.ids import uuid7
from db.imagestore import open_image_store
from db.settings import DatabaseSettings


@pytest.fixture
def settings(new_postgres_database: Any, migrated_template: Any, home: Any) -> DatabaseSettings:
    return DatabaseSettings(database_url=SecretStr(new_postgres_database(migrated_template)))


@pytest.fixture(params=[True, False], ids=["hot", "not hot"])
def opened(request: pytest.FixtureRequest, settings: DatabaseSettings) -> Iterator[Engine]:
    engine = make_engine(settings, hot=request.param)
    yield engine
    engine.dispose()


def _ask(engine: Engine, times: int = 1) -> int:
    """Ask the same in reading sessions of its own each time; gives the process that answered last."""
    for _ in range(times):
        with session_factory(engine, read_only=True)() as session:
            answered = int(session.execute(text("SELECT pg_backend_pid()")).scalar_one())
    return answered


def _end(settings: DatabaseSettings, process: int) -> None:
    other = create_engine(settings.url(), isolation_level="AUTOCOMMIT")
    with other.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})
    other.dispose()


def test_who_asks_the_same_many_times_has_it_prepared_and_others_have_not(
    opened: Engine, request: pytest.FixtureRequest
) -> None:
    _ask(opened, times=8)
    with opened.connect() as connection:
        prepared = connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()
    assert bool(prepared) is ("not hot" not in request.node.name)


def test_reading_still_refuses_writes_and_an_error_spoils_nothing(opened: Engine) -> None:
    reading = session_factory(opened, read_only=True)
    with reading() as session, pytest.raises(DBAPIError, match="read-only"):
        session.execute(text("INSERT INTO products (name, created_at) VALUES ('p', now())"))
    assert _ask(opened)
    with session_factory(opened)() as session:  # left without a commit
        session.execute(text("INSERT INTO products (name, created_at) VALUES ('p', now())"))
    with reading() as session:
        assert session.execute(text("SELECT count(*) FROM products")).scalar_one() == 0


def test_who_looks_up_rows_by_their_keys_asks_nothing_besides_and_cannot_write(
    opened: Engine, settings: DatabaseSettings
) -> None:
    sessions = key_sessions(settings, opened)
    with sessions() as session:
        own = session.get_bind().engine
    wanted = {
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "plan_cache_mode": "force_custom_plan",
        "default_transaction_read_only": "on",
    }
    asked: list[str] = []
    event.listen(own, "before_cursor_execute", lambda *given: asked.append(given[2]))
    try:
        with sessions.begin() as session, one_by_one(session):
            told = [session.scalar(text(f"SHOW {name}")) for name in wanted]
            idle = session.connection().connection.driver_connection.info.transaction_status  # type: ignore[union-attr]
        assert told == list(wanted.values())
        assert len(asked) == len(told), "no settings for one_by_one"
        assert idle == TransactionStatus.IDLE, "and no transaction, which is begun and ended"
        with pytest.raises(DBAPIError, match="read-only"), sessions.begin() as session:
            session.execute(text("DELETE FROM products"))
        with sessions.begin() as session:
            assert session.scalar(text("SELECT 1")) == 1
    finally:
        own.dispose()


def test_a_connection_that_died_while_it_rested_is_replaced_unseen(
    opened: Engine, settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _ask(opened)
    _end(settings, first)
    monkeypatch.setattr(postgresql, "_TRUSTED_S", 0.0)
    assert _ask(opened) != first


def test_one_that_died_right_after_its_use_costs_one_error(
    opened: Engine, settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_TRUSTED_S", 60.0)
    first = _ask(opened)
    _end(settings, first)
    with pytest.raises(OperationalError):
        _ask(opened)
    assert _ask(opened) != first


def test_a_station_that_looks_whether_it_may_go_on_keeps_what_it_has_prepared(
    settings: DatabaseSettings,
) -> None:
    """It looks once a second, over the connection that it takes parts in with."""
    engine = make_engine(settings, hot=True)
    intake = Intake(
        session_factory(engine),
        open_image_store(settings),
        lambda ids, *, at: None,
        Limits.of(CaptureSettings()),
    )
    for _ in range(8):
        intake.known([uuid7()])
        intake.held_up(CaptureSettings())
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() >= 2
    engine.dispose()
