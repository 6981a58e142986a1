"""Every page there is, with what a database holds: for the check of each, and for pictures of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi.routing import APIRoute
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.tables import (
    Alarm,
    DriftWindow,
    Event,
    Inspection,
    ModelVersion,
    Rescoring,
    Result,
    TrainingRun,
    User,
)

# What is no page: files, streams, where a page leads to, and what other programs ask.
NO_PAGES: Final = (
    ".png",
    ".js",
    ".json",
    "/image",
    "/events",
    "/find",
    "/healthz",
    "/metrics",
    "{form}",
    ".zip",
)
OPEN: Final = ("/login", "/account", "/account/changed")


@dataclass(frozen=True)
class Seen:
    """A page: the name of its picture, its address, and the path of its route."""

    name: str
    address: str
    path: str


def every_page(session: Session) -> list[Seen]:
    """Give all pages, of the newest rows; those whose rows are missing are left out."""
    return [Seen(name, address, path) for name, address, path in _pages(session) if "/None" not in address]


def _pages(session: Session) -> Iterator[tuple[str, str, str]]:
    defect = _newest(
        session, select(Result.inspection_id).where(Result.verdict == "ng"), Result.inspection_id
    )
    part = None if defect is None else session.get_one(Inspection, defect)
    product, lot = (None, None) if part is None else (part.product, part.lot)
    line = None if part is None else part.line or "(no line)"
    window = session.scalars(select(DriftWindow).order_by(DriftWindow.starts_at.desc()).limit(1)).first()
    drift = {} if window is None else {"product": window.product, "station": window.station}
    yield "live", "/live", "/live"
    yield "live-wall", f"/live/{quote(str(line))}", "/live/{line:path}"
    yield "alarms", "/alarms", "/alarms"
    yield "alarm", f"/alarms/{_newest(session, select(Alarm.id), Alarm.id)}", "/alarms/{id_}"
    yield "inspections", "/", "/"
    yield "inspections-sheet", "/?" + urlencode({"view": "sheet", "verdict": "ng"}), "/"
    yield "inspection", f"/inspections/{defect}", "/inspections/{id_}"
    yield "review", "/review", "/review"
    yield "lots", "/lots", "/lots"
    yield "lot", "/lots/lot?" + urlencode({"name": lot or ""}), "/lots/lot"
    yield "models", "/models", "/models"
    yield "models-product", "/models?" + urlencode({"product": product or ""}), "/models"
    model = _newest(session, select(ModelVersion.id), ModelVersion.created_at)
    yield "model", f"/models/{model}", "/models/{id_}"
    yield "runs", "/models/runs", "/models/runs"
    run = _newest(session, select(TrainingRun.id), TrainingRun.id)
    yield "run", f"/models/runs/{run}", "/models/runs/{id_}"
    yield "policy", "/models/policy?" + urlencode({"product": product or ""}), "/models/policy"
    yield "golden", "/models/golden?" + urlencode({"product": product or ""}), "/models/golden"
    yield "rescorings", "/models/rescorings", "/models/rescorings"
    rescoring = _newest(session, select(Rescoring.id), Rescoring.id)
    yield "rescoring", f"/models/rescorings/{rescoring}", "/models/rescorings/{id_}"
    yield "drift", "/drift", "/drift"
    yield "drift-station", "/drift?" + urlencode(drift), "/drift"
    yield "yield", "/drift/yield?" + urlencode({"product": product or ""}), "/drift/yield"
    yield "audit", "/audit", "/audit"
    event = _newest(session, select(Event.id).where(Event.kind == "user.roles_changed"), Event.id)
    event = event or _newest(session, select(Event.id), Event.id)
    yield "event", f"/audit/events/{event}", "/audit/events/{id_}"
    yield "ledger", "/audit/ledger", "/audit/ledger"
    yield "admin", "/admin", "/admin"
    for name in ("products", "stations", "tokens", "people", "logins", "schedules", "retention", "settings"):
        yield f"admin-{name}", f"/admin/{name}", f"/admin/{name}"
    person = session.scalars(select(User.name).order_by(User.name).limit(1)).first()
    yield "admin-person", f"/admin/people/{person}", "/admin/people/{name}"
    yield "api", "/api", "/api"
    for address in OPEN:
        yield address.strip("/").replace("/", "-"), address, address


def paths_of_pages(routers: list[Any]) -> set[str]:
    """Give the paths of all routes that answer with a page."""
    return {
        route.path
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        and "GET" in route.methods
        and not route.path.startswith("/api/")
        and not route.path.endswith(NO_PAGES)
    }


def _newest(session: Session, query: Any, order: Any) -> Any:
    return session.scalars(query.order_by(order.desc()).limit(1)).first()
