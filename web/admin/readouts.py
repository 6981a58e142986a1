"""What Admin only shows: an overview, schedules, settings."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from db import golden_schedules, logins, models, schedules, stations, tokens, users
from db.retention import acts, policy
from db.settings_shown import Shown
from db.tables import GoldenSchedule, Schedule
from web.access import Permission, needs
from web.admin.people import state
from web.site import Here, Site

router = APIRouter(prefix="/admin", include_in_schema=False)
SILENT_AFTER: Final = timedelta(days=1)  # a station of which nothing came for so long
ENDS_WITHIN: Final = timedelta(days=30)  # a token that an admin should replace
SHOWN_OF_EACH: Final = 1000  # beyond which the overview doesn't count


@router.api_route("", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def overview(request: Request, site: Here) -> Response:
    """Show what there is, and what of it wants looking after."""
    with site.reading() as session:
        facts = _counted(session, site)
    return site.page(request, "admin/overview.html", shown=settings_of(request), **facts)


@router.api_route("/schedules", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def all_schedules(request: Request, site: Here) -> Response:
    """Show when products are trained and their golden samples sent."""
    now = datetime.now(UTC)
    with site.reading() as session:
        trainings = [(one, _next(one, now)) for one in schedules.every(session)]
        golden = [(one, _next(one, now)) for one in golden_schedules.every(session)]
    return site.page(request, "admin/schedules.html", trainings=trainings, golden=golden)


@router.api_route("/settings", methods=["GET", "HEAD"], dependencies=[needs(Permission.ADMIN)])
def settings(request: Request, site: Here) -> Response:
    """Show the settings that were in force when the page was started, without secrets."""
    return site.page(request, "admin/settings.html", shown=settings_of(request))


def settings_of(request: Request) -> Shown:
    """Give the settings that `pyramidion serve` handed in."""
    shown: Shown = request.app.state.settings_shown
    return shown


def _next(schedule: Schedule | GoldenSchedule, now: datetime) -> datetime | str | None:
    """Give when a schedule is due next, None where it is off, and in words what keeps it from being due."""
    if not schedule.enabled:
        return None
    try:
        return schedules.next_due(schedule.cron, schedule.time_zone, now)
    except schedules.ScheduleError as error:
        return str(error)


def _counted(session: Session, site: Site) -> dict[str, Any]:
    now = datetime.now(UTC)
    there = models.products(session)[:SHOWN_OF_EACH]
    judged = models.champions(session, there)
    all_stations = stations.overview(session, SHOWN_OF_EACH)
    made = tokens.everything(session, SHOWN_OF_EACH)
    in_force = [one for one in made if tokens.state(one, now) == "in force"]
    people = Counter(state(user, now) for user in users.everyone(session))
    return {
        "products": len(there),
        "unjudged": sorted(set(there) - set(judged)),
        "stations": len(all_stations),
        "silent": [one.name for one in all_stations if not _heard(one.last_received_at, now)],
        "tokens": len(in_force),
        "unused": [one.name for one in in_force if one.used_at is None],
        "ending": [one.name for one in in_force if one.expires_at and one.expires_at - now < ENDS_WITHIN],
        "people": people.total(),
        "by_state": dict(people),
        "admins": [user.name for user in users.admins(session)],
        "logins": len(logins.active(session, *site.settings.login_lasts())),
        "trainings": len(schedules.enabled(session)),
        "golden": len(golden_schedules.enabled(session)),
        "rules": len(policy.rules(session)),
        "holds": len(policy.holds(session)),
        "last_applied": acts.last_applied(session),
    }


def _heard(at: datetime | None, now: datetime) -> bool:
    return at is not None and now - at <= SILENT_AFTER
