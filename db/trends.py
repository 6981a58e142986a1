"""How production goes over time: verdicts, first-pass yield, and what reviews say of the verdicts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Integer, Select, cast, extract, func
from sqlalchemy.orm import Session

from db.golden import is_trial
from db.matching import PENDING, Filter, matching
from db.reviewed import newest
from db.tables import Inspection, Result, Review

By = Literal["hour", "shift", "day"]
SHIFTS = (time(6), time(14), time(22))
_SLOT_S = 900  # a quarter of an hour: every zone's days and hours begin at one


@dataclass(frozen=True)
class Figures:
    """What was captured in a period, and what became of it: captured = judged + error + pending.

    `reviewed_ok` and `reviewed_ng` are verdicts that people have looked at, `escapes` and `false_rejects`
    those of them that they overruled, by the newest review of each inspection.
    """

    captured: int = 0
    ok: int = 0
    ng: int = 0
    inconclusive: int = 0
    error: int = 0
    pending: int = 0
    reviewed_ok: int = 0
    reviewed_ng: int = 0
    escapes: int = 0
    false_rejects: int = 0

    @property
    def judged(self) -> int:
        return self.ok + self.ng + self.inconclusive

    @property
    def first_pass_yield(self) -> float | None:
        """Share of ok among what was judged, errors included; None where there is nothing."""
        return _share(self.ok, self.judged + self.error)

    @property
    def false_reject_rate(self) -> float | None:
        """Share of rejected parts that were good, among those reviewed."""
        return _share(self.false_rejects, self.reviewed_ng)

    @property
    def escape_rate(self) -> float | None:
        """Share of accepted parts that were bad, among those reviewed."""
        return _share(self.escapes, self.reviewed_ok)

    def as_dict(self) -> dict[str, float | int | None]:
        rates = {
            name: getattr(self, name) for name in ("first_pass_yield", "false_reject_rate", "escape_rate")
        }
        return {**vars(self), "judged": self.judged, **rates}


@dataclass(frozen=True)
class Period:
    begin: datetime
    end: datetime
    figures: Figures


class InvalidShiftsError(ValueError):
    """Shifts that do not divide a day, or a time zone that is none."""


def read_zone(name: str) -> tzinfo:
    """Give the time zone of that name; raises InvalidShiftsError."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder, or a path that leads out of them
        raise InvalidShiftsError(f"{name!r} is no time zone: give one like Europe/Berlin or UTC") from None


def read_shifts(text: str) -> list[time]:
    """Give the times of day that stand there, such as 06:00,14:00,22:00; raises InvalidShiftsError."""
    try:
        return [datetime.strptime(word.strip(), "%H:%M").time() for word in text.split(",")]  # noqa: DTZ007
    except ValueError:
        raise InvalidShiftsError(f"{text!r} are no times of day: give some like 06:00,14:00,22:00") from None


def trend(
    session: Session, wanted: Filter, by: By, zone: tzinfo = UTC, shifts: Sequence[time] = SHIFTS
) -> list[Period]:
    """Sum up each hour, shift or day of the zone in which something was captured, oldest first.

    Golden samples are no production and don't count. `shifts` are the local times at which they begin.
    Raises InvalidShiftsError.
    """
    starts = sorted(set(shifts))
    if not starts or any(one.tzinfo or one.minute % 15 or one.second or one.microsecond for one in starts):
        raise InvalidShiftsError(
            f"shifts begin at {', '.join(map(str, shifts)) or 'no time'}, but need at least one time, "
            "each on a quarter of an hour, such as 06:00"
        )
    periods: dict[tuple[datetime, datetime], list[Figures]] = {}
    for at, part in _slots(session, wanted):
        periods.setdefault(_period(at, by, zone, starts), []).append(part)
    return [Period(*period, add(parts)) for period, parts in sorted(periods.items())]


def _slots(session: Session, wanted: Filter) -> Iterable[tuple[datetime, Figures]]:
    """Count verdicts and reviews by quarters of an hour: small answers, however many rows there are."""
    slot = cast(func.floor(extract("epoch", Inspection.captured_at) / _SLOT_S), Integer)
    verdict = func.coalesce(Result.verdict, PENDING)
    for number, said, count in session.execute(
        matching(session, wanted, slot, verdict, func.count())
        .where(~is_trial(Inspection.id))
        .group_by(slot, verdict)
    ):
        at = datetime.fromtimestamp(number * _SLOT_S, UTC)
        yield at, replace(Figures(captured=count), **{said: count})
    for number, said, review, count in session.execute(_reviewed(session, wanted, slot)):
        reviewed = {f"reviewed_{said}": count}
        if review == "overrule":
            reviewed["escapes" if said == "ok" else "false_rejects"] = count
        yield datetime.fromtimestamp(number * _SLOT_S, UTC), Figures(**reviewed)


def _reviewed(session: Session, wanted: Filter, slot: Any) -> Select[Any]:
    return (
        matching(session, wanted, slot, Result.verdict, Review.verdict, func.count())
        .join(Review, Review.inspection_id == Inspection.id)
        .where(newest(), Result.verdict.in_(("ok", "ng")), Review.verdict != "inconclusive")
        .where(~is_trial(Inspection.id))
        .group_by(slot, Result.verdict, Review.verdict)
    )


def _period(at: datetime, by: By, zone: tzinfo, starts: Sequence[time]) -> tuple[datetime, datetime]:
    local = at.astimezone(zone)
    if by == "hour":
        begin = local.replace(minute=0)
        return begin, (begin.astimezone(UTC) + timedelta(hours=1)).astimezone(zone)
    if by == "day":
        starts = (time(),)
    # Dates are added before the zone is: the night of a clock change has 23 or 25 hours.
    marks = [
        datetime.combine(local.date() + timedelta(days=day), start, zone)
        for day in (-1, 0, 1)
        for start in starts
    ]
    later = next(i for i, mark in enumerate(marks) if mark.astimezone(UTC) > at)
    return marks[later - 1], marks[later]


def add(parts: Iterable[Figures]) -> Figures:
    total = dict.fromkeys(Figures.__dataclass_fields__, 0)
    for part in parts:
        for name, value in vars(part).items():
            total[name] += value
    return Figures(**total)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
