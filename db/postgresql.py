"""Connections to PostgreSQL that cost no more than what is asked over them. Needs psycopg; see ADR 0043."""

import time
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


_BY_KEYS: Final = {  # as db.engine.one_by_one says it for a part of a transaction
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_custom_plan",
    "default_transaction_read_only": "on",
}


def set_up(engine: Engine, *, hot: bool, by_keys: bool) -> None:
    """Let the engine connect so; `hot` prepares statements, which PostgreSQL may plan once for all values.

    That serves who asks the same few things by their keys many times a second, and nobody who filters: the
    plan for no value in particular may take seconds where that for the one at hand takes a millisecond.
    `by_keys` is for db.engine.key_sessions.
    """

    def connect(_dialect: Any, _entry: ConnectionPoolEntry, given: list[Any], named: dict[str, Any]) -> Any:
        return _Connection.connect(*given, prepare_threshold=5 if hot else None, **named)

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", _answer_at_once)
    if by_keys:
        event.listen(engine, "connect", _look_up)
    event.listen(engine, "connect", _note_use)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _Ping(engine))


def _answer_at_once(connection: Any, _entry: ConnectionPoolEntry) -> None:
    # With many partitions PostgreSQL takes short questions for long ones: starting parallel workers and
    # compiling expressions then takes 10 to 100 times as long as the answer.
    with connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute("SET jit = off")
    connection.commit()


def _look_up(connection: Any, _entry: ConnectionPoolEntry) -> None:
    with connection.cursor() as cursor:
        for name, value in _BY_KEYS.items():
            cursor.execute(f"SET {name} = {value}")
    connection.commit()


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
