"""Schedules: when a product is trained again, by a cron expression in a time zone of its own."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from sqlalchemy import select
from sqlalchemy.orm import Session

from db import clock, events, inspections, runs
from db.tables import GoldenSchedule, Schedule

ACTOR: Final = "schedule"
_SECOND: Final = timedelta(seconds=1)


class ScheduleError(Exception):
    """A schedule that makes no sense."""


def latest_due(cron: str, time_zone: str, after: datetime, now: datetime) -> datetime | None:
    """Give the newest due time after `after` and up to `now`: several that were missed are one.

    Where clocks go forward, what was due in the hour that is left out is due at its end; where they go back,
    what is due in the hour that comes twice is due in its first run (as Debian's cron has it). Raises
    ScheduleError.
    """
    # One second on, since it looks at times before the one that it is given; in UTC, since adding to a local
    # time would lose which of an hour's two runs it is in.
    start = (now.astimezone(UTC).replace(microsecond=0) + _SECOND).astimezone(_zone(time_zone))
    due = _first(cron, start, reverse=True)
    return due if due is not None and after < due <= now else None


def next_due(cron: str, time_zone: str, after: datetime) -> datetime | None:
    """Give the first due time after `after`; None where there is none in 50 years. Raises ScheduleError."""
    return _first(cron, after.astimezone(_zone(time_zone)), reverse=False)


def upcoming(schedule: Schedule | GoldenSchedule, now: datetime, number: int = 1) -> list[datetime]:
    """Give when a schedule is due next, so many times; none of one that is off."""
    found: list[datetime] = []
    while schedule.enabled and len(found) < number:
        due = next_due(schedule.cron, schedule.time_zone, found[-1] if found else now)
        if due is None:
            break
        found.append(due)
    return found


def _first(cron: str, start: datetime, *, reverse: bool) -> datetime | None:
    wanted = (
        f"the cron expression {cron!r} makes no sense: give minute, hour, day of month, month and day of "
        "week, such as '0 2 * * 1-5' for 2 o'clock on workdays"
    )
    if len(cron.split()) != 5:
        raise ScheduleError(wanted)
    try:
        found = next(CronSim(cron, start, reverse=reverse), None)
    except CronSimError as error:
        raise ScheduleError(f"{wanted} ({error})") from None
    return None if found is None else found.astimezone(UTC)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder, or a path that leads out of them
        raise ScheduleError(
            f"there is no time zone {name!r}: give a name of the IANA's list, such as Europe/Berlin or UTC"
        ) from None


def change(
    session: Session,
    product: str,
    by: str,
    *,
    cron: str | None = None,
    time_zone: str | None = None,
    min_new: int | None = None,
    enabled: bool | None = None,
) -> Schedule:
    """Make or change a product's schedule; what is None stays, and is UTC, 50 and on for a new one.

    What was due before doesn't count for other times, nor for a schedule that was off. Raises
    UnknownProductError and ScheduleError.
    """
    inspections.require_product(session, product)
    now = clock.now(session)
    schedule = session.get(Schedule, product, with_for_update=True)
    if schedule is None:
        if cron is None:
            raise ScheduleError(f"{product!r} has no schedule yet: give --cron, such as --cron '0 2 * * *'")
        schedule = Schedule(
            product=product, cron=cron, time_zone="UTC", min_new=50, enabled=True, last_due=now
        )
        session.add(schedule)
    schedule.min_new = schedule.min_new if min_new is None else min_new
    if set_times(schedule, by, now, cron, time_zone, enabled):
        schedule.last_skipped = None
    session.flush()
    events.record(session, "schedule.changed", by, product, _detail(schedule))
    return schedule


def set_times(
    schedule: Schedule | GoldenSchedule,
    by: str,
    now: datetime,
    cron: str | None,
    time_zone: str | None,
    enabled: bool | None,
) -> bool:
    """Change when a schedule is due, where what is None stays; says whether that is another time now.

    What was due before doesn't count for it. Raises ScheduleError.
    """
    before = (schedule.cron, schedule.time_zone, schedule.enabled)
    schedule.cron = schedule.cron if cron is None else " ".join(cron.split())
    schedule.time_zone = schedule.time_zone if time_zone is None else time_zone
    schedule.enabled = schedule.enabled if enabled is None else enabled
    if next_due(schedule.cron, schedule.time_zone, now) is None:
        raise ScheduleError(f"the cron expression {schedule.cron!r} is never due: correct its day or month")
    schedule.changed_by, schedule.changed_at = by, now
    changed = (schedule.cron, schedule.time_zone, schedule.enabled) != before
    if changed:
        schedule.last_due = now
    return changed


def _detail(schedule: Schedule) -> dict[str, Any]:
    return {
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "min_new": schedule.min_new,
        "enabled": schedule.enabled,
    }


def enabled(session: Session) -> list[str]:
    """Give the products whose schedule is on."""
    return list(session.scalars(select(Schedule.product).where(Schedule.enabled).order_by(Schedule.product)))


def every(session: Session) -> Sequence[Schedule]:
    return session.scalars(select(Schedule).order_by(Schedule.product)).all()


def serve(session: Session, product: str) -> UUID | None:
    """Ask for a run where one is due, and note that it was, or why not; gives the run.

    However many look at once, each due time is served once: the schedule's row is locked. Raises
    ScheduleError where this machine doesn't know the time zone.
    """
    schedule = session.get(Schedule, product, with_for_update=True)
    if schedule is None or not schedule.enabled:
        return None
    now = clock.now(session)
    due = latest_due(schedule.cron, schedule.time_zone, schedule.last_due, now)
    if due is None:
        return None
    schedule.last_due = due
    since = runs.last_succeeded_at(session, product)
    new = inspections.count_ok(session, product, schedule.min_new, since)
    if new < schedule.min_new:
        lacking = f"{new} good images since the last run, {schedule.min_new} are needed"
        schedule.last_skipped = f"due {due:%Y-%m-%d %H:%M} UTC: {lacking}"
        return None
    try:
        run = runs.request(session, product, "schedule", ACTOR)
    except runs.RunThereError as error:
        schedule.last_skipped = f"due {due:%Y-%m-%d %H:%M} UTC: run {error.run.id} was {error.run.state} then"
        return None
    schedule.last_skipped = None
    return run
