"""Connections: one engine per process, made by whoever starts the process and handed down."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from db.home import private_file, private_folder
from db.settings import DatabaseSettings, SettingsError
from db.types import to_json

READ_ONLY = "pyramidion_read_only"  # execution option, see reading()
_BY_KEYS = {"enable_hashjoin": "off", "enable_mergejoin": "off", "plan_cache_mode": "force_custom_plan"}
_USUAL = {"enable_hashjoin": "on", "enable_mergejoin": "on", "plan_cache_mode": "auto"}
_PLANNER = text("SELECT " + ", ".join(f"set_config('{name}', :{name}, true)" for name in _BY_KEYS))
_ONE_BY_ONE = "one_by_one"  # in a session's info, within one_by_one(), or always: key_sessions()
OLDEST_SQLITE = (3, 35, 0)  # RETURNING


def make_engine(settings: DatabaseSettings, *, hot: bool = False) -> Engine:
    """Open the database of the settings; nothing is connected before the first use; SQLite's file is made.

    `hot` is for who asks the same few things many times a second, see db.postgresql.set_up. Raises
    SettingsError where the URL, the driver or the folder can't be used.
    """
    url = settings.url()
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(settings)
    return _postgresql_engine(settings, hot=hot)


def _postgresql_engine(settings: DatabaseSettings, *, hot: bool = False, by_keys: bool = False) -> Engine:
    try:
        engine = create_engine(
            settings.url(),
            json_serializer=to_json,
            hide_parameters=True,  # maps and serials have no place in an error's text
            pool_size=settings.database_pool_size,
            pool_use_lifo=True,  # the one that was used last has the most prepared, and needs no ping
            connect_args={"connect_timeout": 10, "application_name": "pyramidion"},
            **({"isolation_level": "AUTOCOMMIT"} if by_keys else {}),
        )
    except ImportError as error:
        raise SettingsError(
            f"PostgreSQL needs psycopg, which can't be imported ({error}): pip install 'pyramidion[postgres]'"
        ) from None
    from db import postgresql  # noqa: PLC0415  # psycopg is an extra

    also = {**_BY_KEYS, "default_transaction_read_only": "on"} if by_keys else {}
    postgresql.set_up(engine, hot=hot, also=also)
    return engine


def session_factory(engine: Engine, *, read_only: bool = False) -> sessionmaker[Session]:
    """Make sessions: `with factory.begin() as session:` is one transaction.

    Rows stay readable after the commit. On SQLite a transaction takes the write lock when it begins, so keep
    it short; a `read_only` one takes none, never waits, and refuses writes (on PostgreSQL as well).
    """
    return sessionmaker(reading(engine) if read_only else engine, expire_on_commit=False)


def key_sessions(settings: DatabaseSettings, engine: Engine) -> sessionmaker[Session]:
    """Make sessions that read some rows by their keys, as within one_by_one(), and ask nothing besides.

    On PostgreSQL they have connections of their own, which are set up so once, and neither begin nor commit:
    each statement sees what is committed by then, as it would in a transaction. They refuse writes. On SQLite
    they are those of `engine` that only read.
    """
    if engine.dialect.name != "postgresql":
        return session_factory(engine, read_only=True)
    own = _postgresql_engine(settings, by_keys=True)
    return sessionmaker(own, expire_on_commit=False, info={_ONE_BY_ONE: True})


def reading(engine: Engine) -> Engine:
    """Give the same engine, with its pool, for transactions that only read."""
    options = {READ_ONLY: True}
    if engine.dialect.name == "postgresql":
        options["postgresql_readonly"] = True
    return engine.execution_options(**options)


def dialect_of(session: Session) -> str:
    """Give `postgresql` or `sqlite`."""
    return session.get_bind().dialect.name


@contextmanager
def one_by_one(session: Session) -> Iterator[None]:
    """Let PostgreSQL look rows up by their keys, as SQLite does, instead of joining whole tables.

    For queries that begin with a limited number of ids, which its estimates don't count with: at ten million
    rows it took seconds for what takes a tenth of one. What is within another one costs nothing more.
    After an error the transaction has to end: until then it goes on so.
    """
    if dialect_of(session) != "postgresql" or _ONE_BY_ONE in session.info:
        yield
        return
    session.execute(_PLANNER, _BY_KEYS)  # a custom plan knows the values
    session.info[_ONE_BY_ONE] = True
    try:
        yield
    finally:
        del session.info[_ONE_BY_ONE]
    session.execute(_PLANNER, _USUAL)


def _sqlite_engine(settings: DatabaseSettings) -> Engine:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise SettingsError(
            f"SQLite {sqlite3.sqlite_version} is too old, 3.35 is needed: use a newer Python, or PostgreSQL "
            "through PYRAMIDION_DATABASE_URL"
        )
    url = settings.url()
    file = Path(url.database or "").absolute()
    private_folder(file.parent)
    if not url.query:  # else it may be a file: URI, which only SQLite reads
        try:
            private_file(file)
        except OSError as error:
            raise SettingsError(
                f"cannot make {file}: {error.strerror}; set PYRAMIDION_HOME to a folder that you may write"
            ) from None
    engine = create_engine(
        url,
        json_serializer=to_json,
        hide_parameters=True,
        pool_size=settings.database_pool_size,
        connect_args={"timeout": settings.sqlite_busy_timeout_s},
    )

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is ours to send, see begin()
        _use_wal(connection, settings.sqlite_busy_timeout_s)
        connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(
            "PRAGMA recursive_triggers = ON"
        )  # else INSERT OR REPLACE deletes past the triggers

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later can't wait for another writer: SQLite refuses it at once
    # ("database is locked"), whatever the timeout. So whoever may write takes the write lock at the start.
    read_only = bool(connection.get_execution_options().get(READ_ONLY))
    remembered: dict[str, Any] = connection.connection.info
    if remembered.get(READ_ONLY, False) is not read_only:
        connection.exec_driver_sql(f"PRAGMA query_only = {int(read_only)}")
        remembered[READ_ONLY] = read_only
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _use_wal(connection: sqlite3.Connection, patience_s: float) -> None:
    # Where two processes open a new file at once, one is refused without the busy timeout being waited for.
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
