"""Months: on PostgreSQL, inspections, results and maps are partitioned by the time that their ids begin with.

What no month is there for lies in the partition `rest`: images of a clock that is far off, or of an old
folder. It is found there as anywhere, only not dropped as a whole. SQLite knows no partitions: nothing here
does anything there.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from db.ids import first_id

TABLES: Final = ("inspections", "results", "anomaly_maps")  # each refers to the one before it
ARCHIVE: Final = "archive"  # the schema of months that were let go and are kept
AHEAD: Final = 3  # months beyond the present one
PATIENCE = "2s"
_LOCK: Final = 0x6D6F_6E74_6873  # PostgreSQL advisory lock, any number that is ours alone
_NAME: Final = re.compile(rf"(?:{'|'.join(TABLES)})_(?:rest|(\d{{4}})_(\d\d))")


def is_partition(table: str) -> bool:
    return _NAME.fullmatch(table) is not None


def month_of(at: datetime) -> datetime:
    """Give the beginning of the month, in UTC."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def after(month: datetime) -> datetime:
    """Give the beginning of the month after."""
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def name_of(table: str, month: datetime) -> str:
    return f"{table}_{month:%Y_%m}"


def months(connection: Connection) -> list[datetime]:
    """Give the months that there are partitions for, oldest first."""
    if connection.dialect.name != "postgresql":
        return []
    found = connection.scalars(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = to_regclass('inspections') ORDER BY 1"
        )
    )
    matches = (_NAME.fullmatch(name) for name in found)
    return [datetime(int(m[1]), int(m[2]), 1, tzinfo=UTC) for m in matches if m is not None and m[1]]


def make_ahead(connection: Connection, now: datetime) -> list[datetime]:
    """Make the partitions of this month and the next AHEAD, and give those that were made.

    Costs one query where they are there already.
    """
    wanted = [month_of(now)]
    for _ in range(AHEAD):
        wanted.append(after(wanted[-1]))
    return make(connection, wanted)


def make(connection: Connection, wanted: Iterable[datetime]) -> list[datetime]:
    """Make the partitions of months (their beginnings), and give those that were made.

    One whose rows have come already, and lie in the rest, is not: they are well there. Raises what the
    database raises where somebody holds the tables for longer than PATIENCE.
    """
    wanted = set(wanted)
    if connection.dialect.name != "postgresql" or wanted <= set(months(connection)):
        return []
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    missing = sorted(wanted - set(months(connection)))  # another may have made some meanwhile
    wait_briefly(connection)
    made = []
    for month in missing:
        try:
            with connection.begin_nested():
                for table in TABLES:
                    _make(connection, table, month)
        except IntegrityError:
            continue
        made.append(month)
    return made


def wait_briefly(connection: Connection) -> None:
    # Who waits for the lock of a whole table lets everybody else wait behind, the line among them.
    connection.execute(text("SELECT set_config('lock_timeout', :patience, true)"), {"patience": PATIENCE})


def _make(connection: Connection, table: str, month: datetime) -> None:
    part = name_of(table, month)
    bounds = f"FROM ('{first_id(month)}') TO ('{first_id(after(month))}')"
    connection.execute(text(f"CREATE TABLE {part} PARTITION OF {table} FOR VALUES {bounds}"))
    connection.execute(  # row triggers are handed down by PostgreSQL, that of a statement is not
        text(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {part} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_insert_only()"
        )
    )


def keep(connection: Connection) -> None:
    """Let no month be dropped until the transaction ends; to be called before it reads anything.

    A table that was dropped is gone for every snapshot, and the act of retention that tells why is not in one
    from before. Waits for whoever drops one just now.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS SHARE MODE"))


def remove(connection: Connection, month: datetime, *, archive: bool) -> None:
    """Detach a month, and drop it, or keep it in the schema ARCHIVE.

    Raises sqlalchemy.exc.IntegrityError where something still refers to one of its rows, such as a review,
    and sqlalchemy.exc.OperationalError where somebody reads the tables for longer than PATIENCE.
    """
    wait_briefly(connection)
    # In the order in which others read and write them.
    connection.execute(text(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE"))
    if archive:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {ARCHIVE}"))
    for table in reversed(TABLES):
        part = name_of(table, month)
        connection.execute(text(f"ALTER TABLE {table} DETACH PARTITION {part}"))
        if table != TABLES[0]:  # else the next one could not be detached
            connection.execute(text(f"ALTER TABLE {part} DROP CONSTRAINT fk_{table}_inspection_id"))
    for table in reversed(TABLES):
        part = name_of(table, month)
        if archive:
            connection.execute(text(f"ALTER TABLE {part} SET SCHEMA {ARCHIVE}"))
        else:
            connection.execute(text(f"DROP TABLE {part}"))
