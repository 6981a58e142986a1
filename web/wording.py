"""How facts are written on the page."""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

NOTHING = "\N{EN DASH}"
_HASH = re.compile("[0-9a-f]{64}")


def utc(moment: datetime | None) -> str:
    """Write a time to the millisecond, without its zone: the page says that all times are UTC."""
    if moment is None:
        return NOTHING
    return moment.astimezone(UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")


def second(moment: datetime | None) -> str:
    """Write a time to the second, where its thousandths tell nothing."""
    return NOTHING if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def minute(moment: datetime | None) -> str:
    """Write a time to the minute, as schedules and windows have them."""
    return NOTHING if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def number(value: float | None) -> str:
    """Write a score or threshold; four decimals line up in a column, unless they would say nothing."""
    if value is None:
        return NOTHING
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 10_000 else f"{value:.3e}"


def whole(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def size(count: int) -> str:
    """Write a number of bytes in the unit that a person would use."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def share(value: float | None) -> str:
    """Write a share in percent, rounded down: 99.97 % is not all."""
    return (
        NOTHING if value is None else f"{math.floor(value * 1000 + 1e-9) / 10:.1f}\N{NARROW NO-BREAK SPACE}%"
    )


def age(seconds: float | None) -> str:
    """Write how long ago something was; static/live.js does it likewise."""
    if seconds is None:
        return NOTHING
    whole_s = max(0, int(seconds))
    minutes, hours, days = whole_s // 60, whole_s // 3600, whole_s // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{whole_s} s"


def percent(value: float | None) -> str:
    """Write a rate that people set or that is measured, to the hundredth of a percent."""
    return NOTHING if value is None else f"{value * 100:.2f}\N{NARROW NO-BREAK SPACE}%"


def brief(value: float | None) -> str:
    """Write a statistic to three digits."""
    return NOTHING if value is None else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Write how long something takes; static/training.js does it likewise."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plain(value: Any) -> str:
    """Write a JSON value in words."""
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {plain(one)}" for name, one in value.items())
    return "; ".join(plain(one) for one in value) if isinstance(value, list) else str(value)


def step(name: str) -> str:
    """Write the name of a timing, such as decode_ms, as words."""
    return name.removesuffix("_ms").replace("_", " ")


def short(text: str) -> str:
    """Write no more than the beginning of a long text, and of a hash."""
    most = 12 if _HASH.fullmatch(text) else 60
    return text if len(text) <= most else f"{text[:most]}\N{HORIZONTAL ELLIPSIS}"


FILTERS: dict[str, Callable[..., Any]] = {
    "utc": utc,
    "second": second,
    "minute": minute,
    "number": number,
    "whole": whole,
    "size": size,
    "share": share,
    "age": age,
    "percent": percent,
    "brief": brief,
    "duration": duration,
    "plain": plain,
    "step": step,
    "short": short,
}
