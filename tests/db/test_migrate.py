"""Migrating: from nothing, twice, by many at once, and never backwards."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from db import migrate
from db.engine import make_engine
from db.settings import DatabaseSettings

REPOSITORY = Path(__file__).parents[2]
UPGRADE = """
import sys
from db.engine import make_engine
from db.migrate import require_head, upgrade
from db.settings import DatabaseSettings
engine = make_engine(DatabaseSettings())
print("ready", flush=True)
sys.stdin.readline()
upgrade(engine)
require_head(engine)
"""


def test_an_empty_database_is_named_with_its_cure_and_then_upgraded(empty_database: DatabaseSettings) -> None:
    engine = make_engine(empty_database)
    with pytest.raises(migrate.OutdatedDatabaseError, match="run `pyramidion migrate`"):
        migrate.require_head(engine)
    assert migrate.revision(engine) is None
    migrate.upgrade(engine)
    migrate.upgrade(engine)
    migrate.require_head(engine)
    assert migrate.revision(engine) == migrate.head()
    engine.dispose()


def test_a_newer_database_is_left_alone(database: DatabaseSettings) -> None:
    engine = make_engine(database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (migrate.require_head, migrate.upgrade):
        with pytest.raises(migrate.OutdatedDatabaseError, match="a newer Pyramidion"):
            use(engine)
    assert migrate.revision(engine) == "9999"
    engine.dispose()


def test_processes_may_upgrade_at_once(empty_database: DatabaseSettings) -> None:
    outcomes = []
    with ExitStack() as stack:
        processes = [stack.enter_context(_upgrading()) for _ in range(3)]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:  # all are loaded: now they start together
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            _, errors = process.communicate(timeout=60)
            outcomes.append((process.returncode, errors))
    assert outcomes == [(0, "")] * 3


def _upgrading() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", UPGRADE]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=REPOSITORY)


def test_alembic_itself_finds_the_database_of_the_settings(database: DatabaseSettings) -> None:
    # What a developer runs to write the next migration.
    script = "from alembic import command; from db.migrate import config; command.check(config())"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    assert (done.returncode, done.stdout.strip()) == (0, "No new upgrade operations detected."), done.stderr
