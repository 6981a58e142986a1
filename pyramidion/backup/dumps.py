"""The whole database in a file and back: SQLite's own online backup; PostgreSQL's pg_dump and pg_restore."""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, inspect, text

from db.engine import reading
from db.home import private_file
from db.settings import DatabaseSettings
from pyramidion.drafts import whole
from pyramidion.errors import UserError

FILES: Final = {"sqlite": "database.sqlite", "postgresql": "database.dump"}
_PAGES: Final = 4096  # SQLite's, at once: so often Ctrl-C is heeded and progress is told

Told = Callable[[int, int | None], None]


def dump(connection: Connection, settings: DatabaseSettings, file: Path, told: Told) -> None:
    """Write what the connection's snapshot sees; writers go on meanwhile.

    The transaction must have read something already. `told` hears the parts done and their number. Raises
    UserError, and OSError.
    """
    private_file(file)
    if connection.dialect.name == "postgresql":
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        program = _program("pg_dump", connection, settings)
        # Maps are packed already: a higher level costs time and gains nothing.
        words = ["--format=custom", "--compress=1", f"--snapshot={snapshot}", f"--file={file}"]
        _run(program, words, connection)
        return
    source: Any = connection.connection.driver_connection
    try:
        with closing(sqlite3.connect(file)) as target:
            # In the transaction that is open: in one of its own it would start anew with every commit.
            source.backup(target, pages=_PAGES, progress=lambda _, left, total: told(total - left, total))
    except sqlite3.Error as error:
        raise UserError(
            f"the database can't be copied to {file.parents[1]}: {error}. The backups in it are as they were"
        ) from None


def is_empty(engine: Engine, settings: DatabaseSettings) -> bool:
    """Whether the database has no tables; raises UserError where a part of another one is in the way."""
    if engine.dialect.name == "sqlite":
        file = Path(settings.url().database or "")
        log = file.with_name(f"{file.name}-wal")
        if log.exists() and not (file.exists() and file.stat().st_size):
            raise UserError(  # SQLite would delete it, or write it into the database that takes the place
                f"{log} was left when its database was moved away, and may hold its newest commits: move it "
                "to that one"
            )
    tables = inspect(reading(engine)).get_table_names()
    engine.dispose()
    return not tables


def load(engine: Engine, settings: DatabaseSettings, file: Path) -> None:
    """Fill the empty database, wholly or not at all; raises UserError, and OSError."""
    if engine.dialect.name == "postgresql":
        with reading(engine).connect() as connection:
            program = _program("pg_restore", connection, settings)
            _run(program, ["--single-transaction", "--exit-on-error", str(file)], connection)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")  # else the first queries are planned blindly
        return
    engine.dispose()  # the file is replaced: nobody may have it open
    with whole(Path(settings.url().database or "")) as draft:
        private_file(draft)
        shutil.copyfile(file, draft)


def _program(name: str, connection: Connection, settings: DatabaseSettings) -> str:
    """Find PostgreSQL's program, which must not be older than the server."""
    wanted = int(connection.scalar(text("SHOW server_version_num")) or 0) // 10_000
    cure = (
        f"install postgresql-client-{wanted}, or name the folder of a newer one with PYRAMIDION_POSTGRES_BIN"
    )
    folder = settings.postgres_bin
    found = shutil.which(name, path=None if folder is None else str(folder))
    if found is None:
        raise UserError(f"{name} is not {f'in {folder}' if folder else 'on the PATH'}: {cure}")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\) (\d+)", said)
    if version is None or int(version[1]) < wanted:
        is_ = version[1] if version else "no version"
        raise UserError(f"{found} is {is_}, which is older than the server ({wanted}): {cure}")
    return found


def _run(program: str, words: list[str], connection: Connection) -> None:
    """Run it on the database of a connection; raises UserError with what it says."""
    server: Any = connection.connection.driver_connection
    if "sslpassword" in server.info.get_parameters():
        raise UserError(
            "the URL's sslpassword would stand on a command line: use a key file without a passphrase"
        )
    done = subprocess.run(
        [program, "--no-password", "--no-owner", "--no-privileges", f"--dbname={server.info.dsn}", *words],
        # A command line can be read by everyone on the machine; the dsn has no password.
        env={**os.environ, "PGPASSWORD": server.info.password or os.environ.get("PGPASSWORD", "")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{program} ended with {done.returncode}"]
        raise UserError(next((line for line in lines if "error:" in line), lines[-1]))
