"""Bringing a database to the schema of this program, and telling whether it is there."""

from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

from alembic import command
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from db import partitions
from db.engine import reading
from db.settings import redacted

ONE_AT_A_TIME = 0x7079_7261_6D69  # PostgreSQL advisory lock, any number that is ours alone


class OutdatedDatabaseError(Exception):
    """The database has another schema than this program."""

    def __init__(self, engine: Engine, found: str | None, wanted: str) -> None:
        self.found = found
        self.wanted = wanted
        where = redacted(engine.url)
        if found is None:
            message = f"{where} has no tables yet: run `pyramidion migrate`"
        elif knows(found):
            message = f"{where} is at revision {found}, this program needs {wanted}: run `pyramidion migrate`"
        else:
            message = (
                f"{where} is at revision {found}, which this program doesn't know: a newer Pyramidion "
                f"migrated it, so run that one (this one goes up to {wanted})"
            )
        super().__init__(message)


def upgrade(engine: Engine) -> None:
    """Migrate to the newest schema, wholly or not at all; other processes that try it meanwhile wait.

    Partitions of the months to come are made on the way.

    Raises OutdatedDatabaseError where the database is newer than this program.
    """
    with engine.begin() as connection:  # on SQLite this takes the write lock already
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
        found = _current(connection)
        if found is not None and not knows(found):
            raise OutdatedDatabaseError(engine, found, head())
        if found != head():
            alembic = config()
            alembic.attributes["connection"] = connection
            command.upgrade(alembic, "head")
        partitions.make_ahead(connection, datetime.now(UTC))


def revision(engine: Engine) -> str | None:
    """Give the revision that the database is at, None where it has no tables."""
    with reading(engine).connect() as connection:
        return _current(connection)


def knows(revision: str) -> bool:
    """Whether this program has a migration of that name: else a newer one made it."""
    return revision in {script.revision for script in _scripts().walk_revisions()}


@cache
def head() -> str:
    """Give the revision that this program needs."""
    return _scripts().get_current_head() or ""


def require_head(engine: Engine) -> None:
    """Raise OutdatedDatabaseError, which names the cure, unless the schema is this program's."""
    found = revision(engine)
    if found != head():
        raise OutdatedDatabaseError(engine, found, head())


def options() -> dict[str, Any]:
    """Give what Alembic is to be configured with, wherever it is."""
    return {
        "compare_server_default": True,
        "render_item": _render,
        "include_name": _is_described,
        "include_object": _is_whole,
    }


def _is_described(name: str | None, kind: str, parents: object) -> bool:
    del parents
    return not (kind == "table" and name is not None and partitions.is_partition(name))


def _is_whole(found: Any, name: str | None, kind: str, reflected: bool, other: object) -> bool:
    """Leave out what PostgreSQL adds for each partition that a foreign key may lead to."""
    del name, reflected, other
    if kind != "foreign_key_constraint":
        return True
    return not any(partitions.is_partition(key.target_fullname.split(".")[0]) for key in found.elements)


def _render(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    if kind != "type" or type(item).__module__ != "db.types":
        return False
    context.imports.add("from db import types")
    return f"types.{type(item).__name__}()"


def config() -> Config:
    """Give the configuration for Alembic's own commands."""
    config = Config()
    config.set_main_option("script_location", "db:migrations")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(config())


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
