"""What the charts draw, as documents for their script, and how much of it at most."""

from collections.abc import Sequence
from typing import Any, Final

from db import drift_history
from db.drift_history import SIGNED, Mark
from db.tables import Alarm, DriftWindow
from db.trends import Period
from web.drift.span import Span

MOST: Final = 3000  # windows of a chart: a month of quarters of an hour
TITLES: Final = {
    "psi": "scores, population stability index",
    "ks": "scores, Kolmogorov-Smirnov distance",
    "ng_rate": "share of ng",
    "inconclusive_rate": "share of inconclusive",
    "error_rate": "share of errors",
    "brightness": "brightness, in deviations",
    "contrast": "contrast, in deviations",
    "sharpness": "sharpness, in deviations",
    "saturation": "saturation, in deviations",
}


def of_drift(
    time: Span, found: Sequence[DriftWindow], raised: Sequence[Alarm], marks: Sequence[Mark]
) -> dict[str, Any]:
    """Give windows (newest first) as columns, oldest first, with alarms and marks; numbers to 5 places."""
    windows = list(reversed(found))
    return {
        **_range(time),
        "begin": [one.starts_at.isoformat() for one in windows],
        "end": [one.ends_at.isoformat() for one in windows],
        "images": [one.images for one in windows],
        "model": [one.model_version[:12] for one in windows],
        "statistics": [
            {
                "name": name,
                "title": TITLES.get(name, name),
                "signed": name in SIGNED,
                "value": [_number(one, name, "value") for one in windows],
                "limit": [_number(one, name, "limit") for one in windows],
            }
            for name in drift_history.names(windows)
        ],
        "alarms": [
            {
                "statistic": one.statistic,
                "since": one.since.isoformat(),
                "until": None if one.closed_at is None else one.closed_at.isoformat(),
            }
            for one in raised
        ],
        "marks": [{"at": one.at.isoformat(), "what": one.what} for one in marks],
    }


def of_yield(time: Span, periods: Sequence[Period], marks: Sequence[Mark]) -> dict[str, Any]:
    """Give periods as columns, oldest first."""
    return {
        **_range(time),
        "begin": [one.begin.isoformat() for one in periods],
        "end": [one.end.isoformat() for one in periods],
        "captured": [one.figures.captured for one in periods],
        **{
            name: [getattr(one.figures, name) for one in periods]
            for name in ("first_pass_yield", "false_reject_rate", "escape_rate")
        },
        "marks": [{"at": one.at.isoformat(), "what": one.what} for one in marks],
    }


def _range(time: Span) -> dict[str, str]:
    return {"since": time.since.isoformat(), "until": time.until.isoformat()}


def _number(window: DriftWindow, name: str, what: str) -> float | None:
    one = window.statistics.get(name)
    return None if one is None else round(one[what], 5)
