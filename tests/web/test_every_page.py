"""Each page in a real browser: nothing is blocked or missing, and nobody is shut out by how it is made."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

import web.app
from db import events, models, rescorings, roles, runs, tokens, users
from db.ids import uuid7
from db.matching import Filter
from db.settings import DatabaseSettings
from db.tables import Alarm, DriftWindow, Inspection
from tests.web.browsers import log_in
from tests.web.every_page import every_page, paths_of_pages
from tests.web.screenshots import FOLDER

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]
SERIOUS = {"serious", "critical"}
PASSWORD = "correct horse: battery"  # of the fixture `account`


@pytest.fixture
def filled(plant: Any, sessions: sessionmaker[Session], account: Callable[..., None]) -> None:
    """Something of everything that a page shows."""
    account("ada", *roles.ROLES)
    for verdict in ("ok", "ng", "error", "inconclusive", "ng"):
        plant.inspect(verdict, line="line 1")
    plant.accept(line="line 1")
    with sessions.begin() as session:
        start = session.scalars(select(func.min(Inspection.captured_at))).one()
        models.set_champion(session, "tile", plant.model, "ada", "the first")
        tokens.make(session, "cam3", ["upload"], "ada", station="s1")
        users.add(session, "bob", "Bob", "given by the administrator", "ada", ["viewer"])
        users.set_roles(session, "bob", ["inspector"], "ada", "reviews as well")
        runs.request(session, "tile", "on demand", "ada")
        other = '{"format": 1, "another": true}'
        version = hashlib.sha256(other.encode()).hexdigest()
        models.register(session, version, "tile", other, "0" * 64, 120)
        rescorings.request(session, "tile", version, Filter(), None, "ada")
        alarm = Alarm(id=uuid7(start), kind="drift", product="tile", station="s1", statistic="brightness")
        alarm.since = alarm.opened_at = start
        alarm.said, alarm.detail, alarm.holds = "brightness of s1 is beyond its limit", {"value": 0.4}, False
        session.add(alarm)
        for hour in range(3):
            session.add(
                DriftWindow(
                    product="tile",
                    station="s1",
                    model_version=plant.model,
                    starts_at=start + timedelta(hours=hour),
                    ends_at=start + timedelta(hours=hour + 1),
                    images=40,
                    late=0,
                    verdicts={"ok": 38, "ng": 2},
                    statistics={"psi": {"value": 0.1 * hour, "limit": 0.25}},
                )
            )
        events.record(session, "policy.changed", "ada", "tile", {"before": {"x": 1}, "after": {"x": 2}})


@pytest.fixture
def visitor(
    browser: Browser, database: DatabaseSettings, serve: Callable[..., str], filled: None
) -> Iterator[Page]:
    context = browser.new_context(base_url=serve(database), viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.goto("/login")
    log_in(page, "ada", PASSWORD)
    yield page
    context.close()


@pytest.mark.timeout(240)  # some forty pages, each looked through
def test_each_page_is_whole_and_accessible(visitor: Page, sessions: sessionmaker[Session]) -> None:
    said: list[str] = []
    asked: list[str] = []
    visitor.on("console", lambda told: said.append(f"{visitor.url}: {told.text}") if _matters(told) else None)
    visitor.on("pageerror", lambda error: said.append(f"{visitor.url}: {error}"))
    visitor.on("request", lambda request: asked.append(request.url))
    axe = Axe()
    with sessions() as session:
        pages = every_page(session)
    found = []
    for number, one in enumerate(pages):
        visitor.emulate_media(color_scheme="dark" if number % 2 else "light")
        answer = visitor.goto(one.address, wait_until="load")
        assert answer is not None
        if answer.status != 200 or visitor.locator("h1").count() != 1:
            found.append(f"{one.address}: {answer.status}, {visitor.locator('h1').all_inner_texts()}")
            continue
        for violation in axe.run(visitor).response["violations"]:
            if violation["impact"] in SERIOUS:
                where = [node["html"][:120] for node in violation["nodes"]][:3]
                found.append(f"{one.address}: {violation['id']}, {violation['help']}: {where}")
        width = visitor.evaluate("document.documentElement.scrollWidth")
        if width > 1280:
            found.append(f"{one.address} is {width} pixels wide")
    assert found == []
    assert said == []  # nothing was blocked by the policy, nothing is missing
    base = visitor.url.split("/", 3)
    assert {url.split("/", 3)[2] for url in asked} == {base[2]}


def _matters(message: ConsoleMessage) -> bool:
    return message.type in ("error", "warning")  # what is blocked or missing; not what Chromium recommends


def test_no_page_is_forgotten(sessions: sessionmaker[Session], filled: None) -> None:
    parts = [one for one in vars(web.app).values() if isinstance(one, ModuleType) and hasattr(one, "router")]
    routers = [part.router for part in (*parts, *web.app.ADMIN, *web.app.MODELS)]
    with sessions() as session:
        seen = {one.path for one in every_page(session)}
    assert paths_of_pages(routers) == seen


def test_each_page_has_its_picture_in_the_docs(sessions: sessionmaker[Session], filled: None) -> None:
    with sessions() as session:
        names = {f"{one.name}.png" for one in every_page(session)}
    assert names - {path.name for path in FOLDER.iterdir()} == set(), "make screenshots"
    assert {path.name for path in FOLDER.iterdir()} - names == set(), "of no page any more"


@pytest.mark.parametrize("width", [820])
def test_a_tablet_shows_each_page_without_scrolling_sideways(
    visitor: Page, sessions: sessionmaker[Session], width: int
) -> None:
    visitor.set_viewport_size({"width": width, "height": 1180})
    with sessions() as session:
        pages = every_page(session)
    wide = []
    for one in pages:
        visitor.goto(one.address, wait_until="load")
        found = visitor.evaluate("document.documentElement.scrollWidth")
        if found > width:
            wide.append(f"{one.address}: {found}")
    assert wide == []
