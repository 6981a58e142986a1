"""Connections to PostgreSQL that cost no more than what is asked over them. Needs psycopg; see ADR 0043."""

import time
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

_TRUSTED_S: Final = 0.5  # after its last use
_USED_AT: Final = "pyramidion_used_at"


class _Connection(psycopg.Connection[Any]):
    """Commits what has only read: with a rollback psycopg forgets all it has prepared."""

    def rollback(self) -> None:
        if self.read_only and self.pgconn.transaction_status == TransactionStatus.INTRANS:
            self.commit()
        else:
            super().rollback()


# With many partitions PostgreSQL takes short questions for long ones: starting parallel workers and compiling
# expressions then takes 10 to 100 times as long as the answer.
_AT_ONCE: Final = {"max_parallel_workers_per_gather": "0", "jit": "off"}


def set_up(engine: Engine, *, hot: bool, also: Mapping[str, str]) -> None:
    """Let the engine connect so; `hot` prepares statements, which PostgreSQL may plan once for all values.

    That serves who asks the same few things by their keys many times a second, and nobody who filters: the
    plan for no value in particular may take seconds where that for the one at hand takes a millisecond.
    `also` are settings of PostgreSQL that each connection begins with.
    """

    def connect(_dialect: Any, _entry: ConnectionPoolEntry, given: list[Any], named: dict[str, Any]) -> Any:
        return _Connection.connect(*given, prepare_threshold=5 if hot else None, **named)

    def begin_with(connection: Any, _entry: ConnectionPoolEntry) -> None:
        with connection.cursor() as cursor:
            for name, value in {**_AT_ONCE, **also}.items():
                cursor.execute(f"SET {name} = {value}")
        connection.commit()

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", begin_with)
    event.listen(engine, "connect", _note_use)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _Ping(engine))


def _note_use(_connection: Any, entry: ConnectionPoolEntry) -> None:
    entry.info[_USED_AT] = time.monotonic()


class _Ping:
    """Asks a connection that has rested whether it lives: a restarted PostgreSQL costs one reconnect, not one
    failed batch. Who has just used it needs no such answer, which would cost as much as a short query.
    """

    def __init__(self, engine: Engine) -> None:
        self._dialect = engine.dialect

    def __call__(self, connection: Any, entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:
        if time.monotonic() - entry.info[_USED_AT] < _TRUSTED_S:
            return
        try:
            self._dialect.do_ping(connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error
