"""Drift on the page: windows over time with limits, alarms and models; drawn within the page's policy."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import alarms, models, reviews
from db.tables import DriftWindow, Station

HOSTILE = "</script><script>alert(1)</script>"
START = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
SPAN = "since=2026-03-01T00:00&until=2026-03-02T00:00"
QUARTER = timedelta(minutes=15)
Sessions = sessionmaker[Session]


@pytest.fixture
def windows(sessions: Sessions) -> str:
    """Eight windows of `tile` at a station, the last two beyond a limit, with an alarm and a promotion."""
    manifest = '{"format": 1}'
    version = hashlib.sha256(manifest.encode()).hexdigest()
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        models.register(session, version, "tile", manifest, "0" * 64, 10)
        session.add(Station(name=HOSTILE, line=None, created_at=START))
        session.flush()
        for number in range(8):
            statistics = {
                "psi": {"value": 0.1 if number < 6 else 0.41, "limit": 0.25},
                "brightness": {"value": -1.5, "limit": 4.0},
            }
            begin = START + number * QUARTER
            session.add(
                DriftWindow(
                    product="tile",
                    station=HOSTILE,
                    model_version=version,
                    starts_at=begin,
                    ends_at=begin + QUARTER,
                    images=100 + number,
                    late=0,
                    verdicts={"ok": 100},
                    statistics=statistics,
                )
            )
        said = "psi of tile is beyond its limit: look at the lamp"
        alarms.open_(session, "drift", "tile", HOSTILE, "psi", START + 6 * QUARTER, said, {"model": version})
        models.set_champion(session, "tile", version, "grace", "now")
    return version


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_stations_are_told_with_what_is_beyond(page: httpx.Client, windows: str) -> None:
    text = page.get("/drift").text
    assert text.count("beyond its limit</span>") == 1
    assert "<script>alert" not in text
    assert "look at the lamp" in text
    assert "107" in text
    assert "106" not in text  # only the newest window of each


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_table_has_the_numbers_of_the_chart(page: httpx.Client, windows: str) -> None:
    answer = page.get(f"/drift?product=tile&{SPAN}")  # its only station
    assert "<script>alert" not in answer.text
    drawn = json.loads(re.search(r'id="drawn">(.*?)</script>', answer.text, re.DOTALL)[1])  # type: ignore[index]
    psi, brightness = drawn["statistics"]
    assert (psi["name"], psi["value"][-3:], psi["limit"][-1]) == ("psi", [0.1, 0.41, 0.41], 0.25)
    assert (brightness["signed"], brightness["value"][0]) == (True, -1.5)
    assert drawn["alarms"] == [{"statistic": "psi", "since": "2026-03-01T07:30:00+00:00", "until": None}]
    assert answer.text.count("0.41</b>") + answer.text.count("0.41<span") == 2
    assert answer.text.count('<td class="number">10') == 8
    # The promotion is of now, so it is marked only where the range holds it.
    assert drawn["marks"] == []
    now = page.get("/drift?product=tile&days=7").text
    assert "promoted" in now
    assert "No window of tile" in now


def test_windows_are_paged_by_key(page: httpx.Client, windows: str) -> None:
    found: list[int] = []
    address: str | None = f"/api/v1/drift?{SPAN}&limit=3"
    while address:
        answer = page.get(address).json()
        found += [one["images"] for one in answer["items"]]
        address = answer["next"]
    assert found == [107, 106, 105, 104, 103, 102, 101, 100]
    first = page.get(f"/api/v1/drift?{SPAN}&limit=1").json()["items"][0]
    assert (first["beyond"], first["statistics"]["psi"]["value"]) == (["psi"], 0.41)
    marks = page.get("/api/v1/drift/marks?product=tile").json()
    assert [(one["what"], one["who"], one["model"]) for one in marks] == [("promoted", "grace", windows)]


def test_yield_is_summed_up_by_periods(page: httpx.Client, plant: Any, sessions: Sessions) -> None:
    for verdict in ("ok", "ok", "ok", "error"):
        plant.inspect(verdict)
    bad = plant.inspect("ng")
    with sessions.begin() as session:
        reviews.record(session, bad, "overrule", "ada", reason_code="false_alarm")
    (day,) = page.get(f"/api/v1/trends?product=tile&by=day&{SPAN}").json()
    assert (day["captured"], day["first_pass_yield"], day["false_reject_rate"]) == (5, 0.6, 1.0)
    text = page.get(f"/drift/yield?product=tile&by=shift&zone=Europe/Berlin&{SPAN}").text
    assert "2026-03-01 06:00" in text
    assert "60.0\N{NARROW NO-BREAK SPACE}%" in text
    assert "in Europe/Berlin" in text


NONSENSE = (
    "/drift?since=soon",
    "/drift?since=2026-03-02&until=2026-03-01",
    "/drift?since=0001-01-01&until=9999-12-31",
    "/drift?until=0001-01-01T00:00",
    "/drift?since=0001-01-01T00:00%2B14:00",
    "/drift?days=0",
    "/drift?product=%00",
    "/drift?product=nobody",
    "/drift/yield?zone=../etc/passwd",
    "/drift/yield?shifts=six",
    "/drift/yield?shifts=06:01&by=shift",
    "/drift/yield?by=' OR 1=1",
    "/api/v1/drift?after=x",
    "/api/v1/drift?after=WzEsMiwzLDRd",
    "/api/v1/drift?after=" + "W" * 1500,
    "/api/v1/drift/marks",
    "/api/v1/trends?zone=%F0%9F%98%80",
)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nonsense_is_told_as_such(page: httpx.Client, windows: str) -> None:
    assert {asked: page.get(asked).status_code for asked in NONSENSE} == dict.fromkeys(NONSENSE, 422)
    assert page.get("/drift?product=tile&station=nowhere").status_code == 200
    assert page.get("/drift?page=1000&product=tile&" + SPAN).status_code == 200


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_script_of_the_charts_is_named_by_its_hash_and_kept(page: httpx.Client, windows: str) -> None:
    text = page.get(f"/drift?product=tile&{SPAN}").text
    address = re.search(r'src="(/drift/plotly-[0-9a-f]{16}\.js)"', text)
    assert address is not None
    answer = page.get(address[1])
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert hashlib.sha256(answer.content).hexdigest()[:16] == address[1][14:30]
    assert page.get("/drift/plotly-0123456789abcdef.js").status_code == 404


@pytest.mark.browser
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_charts_are_drawn_without_breaking_the_policy(
    page: httpx.Client, windows: str, plant: Any, browser: Any
) -> None:
    plant.inspect("ok")
    said: list[str] = []
    look = browser.new_page(viewport={"width": 820, "height": 900}, color_scheme="dark")
    look.on("console", lambda message: said.append(message.text))
    look.on("pageerror", lambda error: said.append(str(error)))
    for asked, strips in ((f"drift?product=tile&{SPAN}", 2), (f"drift/yield?{SPAN}", 2)):
        look.goto(f"{page.base_url}/{asked}", timeout=60_000)
        look.wait_for_selector("#chart[data-drawn] .main-svg", timeout=60_000)
        assert look.locator("#chart .subplot").count() == strips
        assert look.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    look.goto(f"{page.base_url}/drift?product=tile&{SPAN}", timeout=60_000)
    look.wait_for_selector("#chart[data-drawn] .main-svg", timeout=60_000)
    # Eight windows of two statistics, and the two that are beyond once more, marked.
    assert look.locator("#chart .scatterlayer .points path").count() == 18
    assert look.locator("#chart .shapelayer path").count() == 1  # the alarm
    assert said == []
