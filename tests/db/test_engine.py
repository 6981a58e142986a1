"""Connections: what they are set to, who may write, and what is said when they can't be had."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Signal
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from db.engine import make_engine, session_factory
from db.settings import DatabaseSettings, SettingsError
from db.tables import Inspection, Product

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def sqlite(home: Path) -> DatabaseSettings:
    return DatabaseSettings()


def test_sqlite_is_set_up_to_survive_power_cuts_and_to_keep_its_promises(sqlite: DatabaseSettings) -> None:
    engine = make_engine(sqlite)
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "recursive_triggers")
        }
    engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
        "recursive_triggers": 1,
    }
    assert sqlite.home.stat().st_mode & 0o777 == 0o700


def test_foreign_keys_hold(engine: Engine) -> None:
    row = "('none', 'champion', 'none', '2026-03-01T00:00:00.000000Z', 'ada')"
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(f"INSERT INTO model_aliases VALUES {row}"))


def test_reading_first_and_writing_later_waits_for_others(sessions: sessionmaker[Session]) -> None:
    # With SQLite's own BEGIN all but one of these end as "database is locked" at once.
    def count_and_add(number: int) -> None:
        with sessions.begin() as session:
            session.scalar(select(func.count()).select_from(Product))
            session.add(Product(name=f"p{number}", created_at=NOW))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_and_add, range(40)))
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Product)) == 40


def test_readers_do_not_wait_for_a_writer(engine: Engine, sessions: sessionmaker[Session]) -> None:
    writing, done = Signal(), Signal()

    def write() -> None:
        with sessions.begin() as session:
            session.add(Product(name="p", created_at=NOW))
            session.flush()
            writing.set()
            assert done.wait(20)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        assert writing.wait(20)
        with session_factory(engine, read_only=True)() as session:
            assert session.scalars(select(Product.name)).all() == []
        done.set()
        writer.result(20)


def test_read_only_sessions_refuse_to_write_and_leave_others_as_they_were(
    engine: Engine, sessions: sessionmaker[Session]
) -> None:
    readers = session_factory(engine, read_only=True)
    for _ in range(2):  # the pool hands the same connection to both kinds
        with pytest.raises(DBAPIError, match=r"read-only|readonly"), readers.begin() as session:
            session.execute(text("DELETE FROM products"))
        with sessions.begin() as session:
            session.merge(Product(name="p", created_at=NOW))


def test_rows_stay_readable_after_the_commit(
    sessions: sessionmaker[Session], accepted: Callable[..., list[UUID]]
) -> None:
    accepted()
    with sessions.begin() as session:
        row = session.scalars(select(Inspection)).one()
    assert row.product == "tile"


def test_postgresql_without_psycopg_names_the_cure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    settings = DatabaseSettings(database_url=SecretStr("postgresql://db.example/parts"))
    with pytest.raises(SettingsError, match=r"pip install 'pyramidion\[postgres\]'"):
        make_engine(settings)


def test_a_folder_that_cannot_be_made_names_the_setting(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="PYRAMIDION_HOME"):
        make_engine(DatabaseSettings(home=tmp_path / "file" / "home"))
