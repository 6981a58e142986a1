"""When a product's golden samples are sent: once a shift, say, by a cron expression in a time zone."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import clock, events, golden_trials, inspections
from db.golden import GoldenError
from db.schedules import ScheduleError, latest_due, set_times
from db.tables import GoldenSchedule

CHANGED: Final = "golden.schedule"
SKIPPED: Final = "golden.skipped"
ACTOR: Final = "schedule"


def change(
    session: Session,
    product: str,
    by: str,
    *,
    cron: str | None = None,
    time_zone: str | None = None,
    enabled: bool | None = None,
) -> GoldenSchedule:
    """Make or change the schedule and leave the event; what is None stays, and is UTC and on for a new one.

    What was due before doesn't count for other times, nor for a schedule that was off. Raises
    UnknownProductError and ScheduleError.
    """
    inspections.require_product(session, product)
    now = clock.now(session)
    schedule = session.get(GoldenSchedule, product, with_for_update=True)
    if schedule is None:
        if cron is None:
            raise ScheduleError(
                f"{product!r} has no schedule for its golden samples yet: give --cron, such as "
                "--cron '0 6,14,22 * * *' for each shift"
            )
        schedule = GoldenSchedule(product=product, cron=cron, time_zone="UTC", enabled=True, last_due=now)
        session.add(schedule)
    set_times(schedule, by, now, cron, time_zone, enabled)
    session.flush()
    told = {"cron": schedule.cron, "time_zone": schedule.time_zone, "enabled": schedule.enabled}
    events.record(session, CHANGED, by, product, told)
    return schedule


def enabled(session: Session) -> list[str]:
    """Give the products whose schedule is on."""
    query = select(GoldenSchedule.product).where(GoldenSchedule.enabled).order_by(GoldenSchedule.product)
    return list(session.scalars(query))


def every(session: Session) -> Sequence[GoldenSchedule]:
    return session.scalars(select(GoldenSchedule).order_by(GoldenSchedule.product)).all()


def serve(session: Session, product: str) -> list[UUID]:
    """Send the samples where that is due, and note that it was; gives the trials, for whoever queues them.

    However many look at once, and however many times were missed, they are sent once: the schedule's row is
    locked. Where there is nothing to send, or no model yet, an event says so. Raises ScheduleError where this
    machine doesn't know the time zone.
    """
    schedule = session.get(GoldenSchedule, product, with_for_update=True)
    if schedule is None or not schedule.enabled:
        return []
    due = latest_due(schedule.cron, schedule.time_zone, schedule.last_due, clock.now(session))
    if due is None:
        return []
    schedule.last_due = due
    why = f"due {due:%Y-%m-%d %H:%M} UTC"
    try:
        return golden_trials.send(session, product, ACTOR, why)
    except GoldenError as error:
        events.record(session, SKIPPED, ACTOR, product, {"why": why, "reason": str(error)})
        return []
