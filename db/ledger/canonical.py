"""One text for one content: JSON as RFC 8785 (JCS) has it.

The same fact must give the same bytes wherever it is read. What databases may tell apart stays out: whether a
number is 1 or 1.0, which PostgreSQL's jsonb changes for some, and in which order the keys stand.
"""

import json
import math
from decimal import Decimal
from typing import Any, Final

import rfc8785

_SAFE: Final = 2**53 - 1  # beyond it, a JSON number is a double and no longer an exact integer
WRITE: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode


class UnusualError(Exception):
    """A value that Python's own JSON writer would write otherwise than RFC 8785."""


def canonical(value: Any) -> bytes:
    """Give the RFC 8785 form of a JSON value, UTF-8.

    What no JSON can hold (bytes, NaN, integers that are no double), but a tampered row may, is written as an
    object that names it, so that it has a form of its own instead of none.
    """
    try:
        # Python's writer in C writes the same for nearly all content, five times as fast as the library.
        return WRITE(usual(value)).encode()
    except (UnusualError, UnicodeEncodeError):
        return rfc8785.dumps(_expressible(value))


def usual(value: Any) -> Any:
    """Give the same value as `WRITE` is to see it.

    Raises UnusualError for what only the library writes rightly.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is float:
        return usual_float(value)
    if kind is int:
        if -_SAFE <= value <= _SAFE:
            return value
        raise UnusualError
    if kind is dict:
        if not all(map(str.isascii, value)):  # RFC 8785 sorts by UTF-16 units, Python by code points
            raise UnusualError
        return {key: usual(inner) for key, inner in value.items()}
    if kind is list:
        return [usual(inner) for inner in value]
    raise UnusualError


def usual_float(value: float) -> float | int:
    """Do the same with a number of a column; raises UnusualError."""
    # ECMAScript writes 1.0 as 1, and 0.00001 and 1e20 without an exponent; in between both write the same.
    if value.is_integer() and -_SAFE <= value <= _SAFE:
        return int(value)
    if 1e-4 <= abs(value) <= _SAFE:  # false for NaN
        return value
    raise UnusualError


def _expressible(value: Any) -> Any:  # noqa: PLR0911  # a case to a type
    if isinstance(value, dict):
        return {_keepable(key): _expressible(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_expressible(inner) for inner in value]
    if isinstance(value, str):
        return _keepable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _SAFE:
        return _large(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return {"$bytes": bytes(value).hex()} if isinstance(value, bytes | memoryview) else {"$": repr(value)}


def _large(value: int) -> Any:
    # PostgreSQL gives the double 1e23 back as an integer of 24 digits: it is that double however it is spelt
    try:
        nearest = float(value)
    except OverflowError:
        return {"$int": str(value)}
    return nearest if Decimal(repr(nearest)) == value else {"$int": str(value)}


def _keepable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
