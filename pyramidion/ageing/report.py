"""The ageing line's report: false rejects and recall by stage and over time, and the story's times."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from db import promotion
from db.history import Row
from pyramidion.ageing.line import AFTER, NEW, PRODUCT, STAGES, Line
from pyramidion.ageing.story import Told

_CONFIDENCE: Final = 0.95
_MAY_LOSE: Final = 0.02  # of recall


def judged_between(rows: list[Row], begin: datetime | None, end: datetime | None) -> int:
    """Count the verdicts between two times; 0 where either is missing."""
    if begin is None or end is None:
        return 0
    return sum(row.judged_at is not None and begin <= row.judged_at <= end for row in rows)


@dataclass(frozen=True)
class Share:
    """`hits` of `of`."""

    hits: int
    of: int

    @property
    def rate(self) -> float | None:
        return self.hits / self.of if self.of else None


@dataclass(frozen=True)
class Point:
    """A stretch of parts: where it ends, in seconds since the first; who was rejected, who was caught."""

    seconds: float
    stage: str
    false_rejects: Share
    caught: Share


def by_stage(rows: list[Row], line: Line) -> dict[str, Point]:
    return {
        stage: _point(some, line, rows[0].captured_at)
        for stage in STAGES
        if (some := [row for row in rows if line.truth[row.id][0] == stage])
    }


def curve(rows: list[Row], line: Line, stretch: int) -> list[Point]:
    """Sum up the parts in stretches of so many, none of which is of two stages."""
    points: list[Point] = []
    for stage in STAGES:
        some = [row for row in rows if line.truth[row.id][0] == stage]
        starts = range(0, len(some), stretch)
        points += [_point(some[start : start + stretch], line, rows[0].captured_at) for start in starts]
    return points


def _point(rows: list[Row], line: Line, since: datetime) -> Point:
    rejected = {row.id for row in rows if row.verdict in ("ng", "inconclusive")}
    good = {row.id for row in rows if line.truth[row.id][1] is None}
    bad = {row.id for row in rows} - good
    return Point(
        seconds=round((rows[-1].captured_at - since) / timedelta(seconds=1), 2),
        stage=line.truth[rows[-1].id][0],
        false_rejects=Share(len(good & rejected), len(good)),
        caught=Share(len(bad & rejected), len(bad)),
    )


def met(stages: dict[str, Point], target_rate: float) -> dict[str, bool | None]:
    """Say whether false rejects fell to the target, as far as chance tells, and recall stayed; None: unknown.

    Recall is that of the same parts with the same defects, under the new lamp and, at the end, under the old.
    """
    start, end = stages.get(NEW), stages.get(AFTER)
    if start is None or end is None or start.caught.rate is None or end.caught.rate is None:
        return {"false_rejects": None, "recall": None}
    most = promotion.most_by_chance(end.false_rejects.of, target_rate, _CONFIDENCE)
    return {
        "false_rejects": end.false_rejects.hits <= most,
        "recall": end.caught.rate >= start.caught.rate - _MAY_LOSE,
    }


def as_json(rows: list[Row], line: Line, told: Told, target_rate: float, stretch: int) -> dict[str, Any]:
    """Give the report: by stage, the story with its times, and the curve."""
    stages = by_stage(rows, line)
    begin = rows[0].captured_at if rows else None

    def after(at: datetime | None) -> float | None:
        return None if at is None or begin is None else round((at - begin) / timedelta(seconds=1), 2)

    alarm, run = told.alarm, told.run
    return {
        "product": PRODUCT,
        "lot": line.lot,
        "parts": len(line.truth),
        "judged": sum(row.verdict not in (None, "error") for row in rows),
        "error": sum(row.verdict == "error" for row in rows),
        "pending": sum(row.verdict is None for row in rows),
        "reviews": told.reviews,
        "stages": {name: _as_json(point) for name, point in stages.items()},
        "alarm": alarm
        and {"statistic": alarm.statistic, "said": alarm.said, "after_s": after(alarm.opened_at)},
        "training": run
        and {
            "run": str(run.id),
            "why": run.why,
            "state": run.state,
            "begun_after_s": after(run.started_at),
            "ended_after_s": after(run.ended_at),
            "judged_meanwhile": judged_between(rows, run.started_at, run.ended_at),
        },
        "gate": run and {"passed": run.gate_passed, "said": run.gate_said},
        "refused": [{"run": str(id_), "said": said} for id_, said in told.refused.items()],
        "awaited": list(told.awaited),
        "promoted_after_s": after(told.promoted_at),
        "promoted_by": told.promoted_by,
        "why_not": told.why_not,
        "met": met(stages, target_rate),
        "curve": [_as_json(point) for point in curve(rows, line, stretch)],
    }


def _as_json(point: Point) -> dict[str, Any]:
    return {
        "seconds": point.seconds,
        "stage": point.stage,
        "good": point.false_rejects.of,
        "false_rejects": point.false_rejects.hits,
        "false_reject_rate": point.false_rejects.rate,
        "defects": point.caught.of,
        "caught": point.caught.hits,
        "recall": point.caught.rate,
    }
