"""Ids of inspections and other facts: UUID version 7 (RFC 9562), which sort by time."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ENTROPY_BYTES = 10


class UnknownIdError(Exception):
    """What shall be the beginning of an id begins none, or several."""


def uuid7(at: datetime | None = None, entropy: bytes | None = None) -> UUID:
    """Make an id for `at` (now when absent) whose order follows time to the microsecond.

    The 12 bits after the version hold the fraction of the millisecond (RFC 9562, 6.2, method 3), so the
    time survives with its microseconds; 62 bits come from `entropy`, of which at least 10 bytes are wanted.
    The same time and entropy give the same id. Raises ValueError for a naive time, one before 1970, or too
    little entropy.
    """
    if at is None:
        at = datetime.now(UTC)
    if at.tzinfo is None:
        raise ValueError(f"an id needs a time with its zone, not the naive {at}")
    if at < EPOCH:
        raise ValueError(f"an id can't carry a time before 1970: {at}")
    if entropy is None:
        entropy = os.urandom(ENTROPY_BYTES)
    if len(entropy) < ENTROPY_BYTES:
        raise ValueError(f"an id needs {ENTROPY_BYTES} bytes of entropy, not {len(entropy)}")
    milliseconds, microseconds = divmod((at - EPOCH) // MICROSECOND, 1000)
    fraction = microseconds * 4096 // 1000
    random = int.from_bytes(entropy[:8], "big") & ((1 << 62) - 1)
    return UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 0b10 << 62 | random)


def first_id(at: datetime) -> UUID:
    """Give the smallest id that carries `at` or a later time; before 1970 the smallest of all."""
    if at < EPOCH:
        return UUID(int=0)
    made = uuid7(at, bytes(ENTROPY_BYTES))
    return UUID(int=made.int & ~((1 << 64) - 1))


def uuid7_time(value: UUID) -> datetime:
    """Read the time out of an id: to the microsecond from uuid7(), to the millisecond from other makers.

    Raises ValueError where the id is not a UUIDv7 or its time is past the year 9999.
    """
    if value.version != 7:
        raise ValueError(f"{value} is not a UUIDv7, so it carries no time")
    fraction = value.int >> 64 & 0xFFF
    microseconds = -(-fraction * 1000 // 4096)  # rounded up, since uuid7() rounds down
    try:
        return EPOCH + timedelta(milliseconds=value.int >> 80, microseconds=microseconds)
    except OverflowError:
        raise ValueError(f"{value} carries a time past the year 9999") from None


def beginning_with(ids: Iterable[UUID], beginning: str, what: str, listing: str) -> UUID:
    """Give the id that begins so; raises UnknownIdError.

    `what` has such ids, in one word or two, and `listing` is the command that lists them.
    """
    found = [one for one in ids if str(one).startswith(beginning.strip().lower())]
    if len(found) != 1:
        many = f"begins {len(found)} {what}s: give more of it" if found else f"begins no {what}"
        raise UnknownIdError(f"{beginning!r} {many}; `{listing}` lists them")
    return found[0]
