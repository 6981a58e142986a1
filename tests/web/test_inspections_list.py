"""Lists: every filter, paging both ways, counts as links, finding a part, and filters that people keep."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import reviews, saved_filters
from db.ids import uuid7
from db.settings import DatabaseSettings
from db.tables import Event
from web.inspections import filters

PASSWORD = "correct horse: battery"  # of the fixture `account`
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def ids_on(text: str) -> list[str]:
    return re.findall(r'<a href="/inspections/([0-9a-f-]{36})">\s*(?:<img|\d)', text)


def link(text: str, pattern: str) -> str:
    found = re.search(f'<a [^>]*href="([^"]+)"[^>]*>{pattern}', text)
    assert found, f"no link {pattern}"
    return found[1].replace("&amp;", "&")


def form_token(text: str) -> str:
    found = re.search('name="form_token" value="([^"]+)"', text)
    assert found
    return found[1]


def test_every_filter_of_the_database_is_one_of_the_address(page: httpx.Client, plant: Any) -> None:
    later = datetime(2026, 3, 5, 6, tzinfo=UTC)
    good = plant.inspect("ok", id=uuid7(later), line="L9", serial="S-1", captured_at=later)
    small, large = plant.accept(), plant.accept(product="cube", station="s2", lot="L2")
    region = {"x": 1.0, "y": 1.0, "width": 9.0, "height": 9.0, "peak": 0.5}
    plant.judge(small, "ng", score=0.5, regions=[{**region, "area": 40.0}])
    plant.judge(large, "ng", score=0.9, regions=[{**region, "area": 900.0}], timings={"late_ms": 5.0})
    with plant.sessions.begin() as session:
        reviews.record(session, small, "confirm", "ada", None, None)
    wanted = {
        "product=cube": [large],
        "station=s2": [large],
        "line=L9": [good],
        "serial=S-1": [good],
        "lot=L2": [large],
        "verdict=ok": [good],
        "reviewed=confirm": [small],
        "reviewed=unreviewed&verdict=ng": [large],
        f"model_version={plant.model}": [good, large, small],
        "model_version=none": [],
        "min_score=0.6": [large],
        "max_score=0.6&min_score=0.1": [small],
        "min_defect_area=100": [large],
        "max_defect_area=100": [small],
        "late=true": [large],
        "since=2026-03-01T06:00:01&until=2026-03-01T06:00:02Z": [small],
        "since=2026-03-01&until=2026-03-02&verdict=ng": [large, small],
        "period=today": [],
    }
    for query, expected in wanted.items():
        assert ids_on(page.get(f"/?{query}").text) == [str(id_) for id_ in expected], query
    asked = {name for query in wanted for name in parse_qs(query)}
    assert asked == filters.FILTERS


@SQLITE
def test_pages_go_back_to_the_newest_without_a_gap(page: httpx.Client, plant: Any) -> None:
    made = [str(plant.accept()) for _ in range(115)][::-1]
    second = page.get(link(page.get("/").text, "Older")).text
    third = page.get(link(second, "Older")).text
    assert ids_on(second) + ids_on(third) == made[50:]
    newer = page.get(link(third, "Newer")).text
    assert ids_on(newer) == made[50:100]
    plant.accept()  # arrives meanwhile: what was the first page is now a full page after it
    first = page.get(link(newer, "Newer")).text
    assert ids_on(first)[:50] == made[:50]
    assert ids_on(page.get(link(first, "Newest")).text)[1:] == made[:49]


@SQLITE
def test_periods_are_days_by_utc(page: httpx.Client, plant: Any) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ids = {}
    for name, at in {
        "today": midnight,
        "yesterday": midnight - timedelta(seconds=1),
        "before": midnight - timedelta(days=1, seconds=1),
        "week": midnight - timedelta(days=6),
        "long ago": midnight - timedelta(days=6, seconds=1),
    }.items():
        ids[name] = str(plant.accept(id=uuid7(at), captured_at=at, received_at=at))
    shown = {name: ids_on(page.get(f"/?period={name}").text) for name in filters.PERIODS}
    assert shown["today"] == [ids["today"]]
    assert shown["yesterday"] == [ids["yesterday"]]
    assert set(shown["last-7-days"]) == set(ids.values()) - {ids["long ago"]}


@SQLITE
def test_counts_lead_to_what_they_count_and_back(page: httpx.Client, plant: Any) -> None:
    for lot in ("A & B", "A & B", "C"):
        plant.inspect("ok", lot=lot)
    plant.inspect("ng", lot="A & B", line="<L>")
    text = page.get("/?verdict=ok").text
    assert re.search(r'A &amp; B</a>\s*<span class="number">2</span>', text)
    narrowed = page.get(link(text, "A &amp; B")).text
    assert len(ids_on(narrowed)) == 2
    assert len(ids_on(page.get(link(narrowed, 'A &amp; B <span aria-hidden="true">')).text)) == 3
    assert len(ids_on(page.get(link(page.get("/").text, "&lt;L&gt;")).text)) == 1


@SQLITE
def test_a_contact_sheet_keeps_its_filters(page: httpx.Client, plant: Any) -> None:
    made = [plant.inspect("ok") for _ in range(61)]
    plant.inspect("ng", serial=HOSTILE)
    text = page.get("/?view=sheet&verdict=ok").text
    assert ids_on(text) == [str(id_) for id_ in made[:0:-1]]
    assert f"/inspections/{made[-1]}/thumbnail.png" in text
    older = link(text, "Older")
    assert parse_qs(urlsplit(older).query).keys() == {"view", "verdict", "after"}
    assert ids_on(page.get(older).text) == [str(made[0])]
    assert "<script" not in page.get("/?view=sheet").text


@SQLITE
def test_what_stands_on_a_part_leads_to_it(page: httpx.Client, plant: Any) -> None:
    one, two, three = plant.accept(serial="Sn/7&8", lot=None), plant.accept(), plant.accept()
    plant.accept(serial="T-0002", lot="L9")
    for text, address in {
        "Sn/7&8": f"/inspections/{one}",
        "  Sn/7&8 ": f"/inspections/{one}",
        "t-0003": f"/inspections/{three}",
        "T-0002": "/?serial=T-0002",  # two of them
        "l1": "/?lot=L1",
        str(two)[:9]: "/?serial=" + str(two)[:9],  # all three were captured within a minute
        str(two)[:14]: f"/inspections/{two}",
        str(two).upper(): f"/inspections/{two}",
        "": "/",
        "019": "/?serial=019",
        HOSTILE: "/?serial=%3Cscript",
    }.items():
        answer = page.get("/find", params={"part": text})
        assert answer.status_code == 303
        assert answer.headers["location"].startswith(address), text
    missing = page.get("/find?part=nothing", follow_redirects=True)
    assert "No part has the serial <b>nothing</b>" in missing.text
    assert page.get("/find?part=%00").status_code == 422
    assert page.get("/find?part=" + "x" * 256).status_code == 422


@SQLITE
def test_people_keep_share_and_delete_filters(
    database: DatabaseSettings,
    serve: Callable[..., str],
    account: Callable[..., None],
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account("ada", "viewer")
    account("bob", "viewer")
    address = serve(database)
    with httpx.Client(base_url=address) as ada, httpx.Client(base_url=address) as bob:
        for client, name in ((ada, "ada"), (bob, "bob")):
            client.post("/login", data={"name": name, "password": PASSWORD})
        token = {"form_token": form_token(ada.get("/").text)}
        kept = {**token, "name": HOSTILE, "query": "lot=A%26B&verdict=ng&after=" + "0" * 32}
        saved = ada.post("/filters", data=kept)
        assert (saved.status_code, saved.headers["location"]) == (303, "/?lot=A%26B&verdict=ng")
        text = ada.get("/").text
        assert "<script>alert" not in text
        assert link(text, "&lt;script&gt;") == "/?lot=A%26B&verdict=ng"
        assert "&lt;script&gt;alert" not in bob.get("/").text
        ada.post("/filters", data={**kept, "query": "period=yesterday", "is_shared": "true"})
        assert link(bob.get("/").text, "&lt;script&gt;") == "/?period=yesterday"
        theirs = {"form_token": form_token(bob.get("/").text), "name": HOSTILE}
        assert bob.post("/filters/remove", data=theirs).status_code == 404
        assert ada.post("/filters", data={**kept, "form_token": "stale"}).status_code == 403
        assert ada.post("/filters", data={**kept, "query": "verdict=bad"}).status_code == 422
        monkeypatch.setattr(saved_filters, "MOST", 1)
        assert ada.post("/filters", data={**kept, "name": "another"}).status_code == 409
        assert ada.post("/filters/remove", data={**token, "name": HOSTILE}).status_code == 303
        assert "&lt;script&gt;alert" not in ada.get("/").text
    with sessions() as session:
        told = session.scalars(select(Event).where(Event.kind.startswith("filter.")).order_by(Event.id)).all()
    assert [(event.kind, event.actor) for event in told] == [
        ("filter.saved", "ada"),
        ("filter.saved", "ada"),
        ("filter.removed", "ada"),
    ]
    assert told[1].detail == {"query": "period=yesterday", "is_shared": True}
