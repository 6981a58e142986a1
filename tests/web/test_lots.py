"""Lots: which there are, and what became of one."""

from collections.abc import Callable, Iterator
from html import unescape
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import reviews
from db.retention import policy
from db.settings import DatabaseSettings

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
PASSWORD = "correct horse: battery"  # of the fixture `account`
STRANGE = "../<script>alert(1)</script>/ü?#%2F"
Sessions = sessionmaker[Session]


def text_of(answer: httpx.Response) -> str:
    """What the page says, without its marks."""
    assert answer.status_code == 200, answer.text
    inside = " ".join(part.split(">", 1)[-1] for part in answer.text.split("<main", 1)[1].split("<"))
    return " ".join(unescape(inside).split())


@pytest.fixture
def lot(plant: Any, sessions: Sessions) -> dict[str, Any]:
    """Eight parts of two stations: 4 ok, 2 ng, 1 error, 1 pending; an ng and an ok are overruled."""
    ok = [plant.inspect("ok", station="s2" if n else "s1", line="line 1") for n in range(4)]
    ng = [plant.inspect("ng", serial="<b>bad</b>"), plant.inspect("ng")]
    plant.inspect("error")
    plant.accept()
    plant.inspect("ok", lot="other")
    with sessions.begin() as session:
        reviews.record(session, ng[0], "overrule", "ada", "false_alarm", "<img src=x> dust")
        reviews.record(session, ng[1], "confirm", "ada")
        reviews.record(session, ok[0], "overrule", "bob", "defect")
    return {"ok": ok, "ng": ng}


@pytest.fixture
def auditor(
    database: DatabaseSettings, serve: Callable[..., str], account: Callable[..., None]
) -> Iterator[httpx.Client]:
    account("vera", "viewer")
    account("aud", "auditor")
    with httpx.Client(base_url=serve(database), timeout=20, headers={"Accept": "text/html"}) as client:
        assert client.post("/login", data={"name": "aud", "password": PASSWORD}).status_code == 303
        yield client


def test_lots_are_listed_and_paged(page: httpx.Client, plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No part of a lot has been inspected yet" in text_of(page.get("/lots"))
    monkeypatch.setattr("web.lots.pages.ROWS", 2)
    for name in ("A-1", "A-2", STRANGE, "A-2"):
        plant.inspect("ok", lot=name)
    plant.inspect("ng", lot="B", product="plate")
    first = page.get("/lots")
    assert text_of(first).index("B ") < text_of(first).index("A-2")
    assert STRANGE not in text_of(first)
    older = unescape(first.text.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0])
    second = page.get(older)
    assert "<script>" not in second.text
    assert STRANGE in text_of(second)
    assert "A-1" in text_of(second)
    assert "A-2" not in text_of(second)
    assert "No older ones" in second.text
    found = text_of(page.get("/lots", params={"begins": "A-", "product": ""}))
    assert "A-2" in found
    assert "2 2 0 0 0 0 100.0 %" in found
    assert "No lot matches" in page.get("/lots", params={"product": "plate", "begins": "A"}).text


def test_a_lots_page_says_what_became_of_it(page: httpx.Client, lot: dict[str, Any]) -> None:
    answer = page.get("/lots/lot", params={"name": "L1"})
    said = text_of(answer)
    assert "! not complete 1 wait for a verdict" in said
    assert "8 captured = 6 judged + 1 error + 1 pending + 0 let go" in said
    assert "First pass 57.14 % After reviews 57.14 %" in said  # 4 of 7; one to the good, one to the bad
    assert "Reviewed 3 Overruled 2 of them ng 1 of them ok 1" in said
    assert "s2 line 1 tile 3 3 0 0 0 0" in said
    assert "<b>bad</b> ✕ ng" in said
    assert "false_alarm: <img src=x> dust" in said
    assert "<img" not in answer.text.split("<main", 1)[1]
    assert "Evidence" not in said
    shown = page.get("/?lot=L1&verdict=ng")
    assert 'href="/?lot=L1&amp;verdict=ng"' in answer.text
    assert all(str(id_) in shown.text for id_ in lot["ng"])


def test_a_products_part_of_a_lot_and_a_hold(page: httpx.Client, plant: Any, sessions: Sessions) -> None:
    plant.inspect("ok")
    plant.inspect("ng", product="plate")
    with sessions.begin() as session:
        policy.hold(session, "L1", "qa", "<i>claim</i> 7")
    said = text_of(page.get("/lots/lot", params={"name": "L1", "product": "plate"}))
    assert "1 captured = 1 judged" in said
    assert "complete each part has its verdict" in said
    assert "qa, " in said
    assert "<i>claim</i> 7" in said


@pytest.mark.parametrize("name", [STRANGE, "..", "a/b", "lot?x=1", "%2e%2e", "&amp;"])
def test_any_name_leads_to_its_lot(page: httpx.Client, plant: Any, name: str) -> None:
    plant.inspect("ok", lot=name)
    listed = page.get("/lots").text
    address = unescape(listed.split('<th scope="row" class="clip"><a href="', 1)[1].split('"')[0])
    answer = page.get(address)
    assert f"Lot {name}" in text_of(answer)
    assert "<script>alert" not in answer.text
    told = page.get(f"/api/v1/lots/{quote(name, safe='').replace('.', '%2E')}").json()
    assert (told["lot"], told["captured"], told["complete"]) == (name, 1, True)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/lots?after=1", 422),
        ("/lots?after=00000000-0000-0000-0000-000000000000", 200),
        ("/lots?colour=red", 422),
        ("/lots?begins=%00", 422),
        ("/lots?begins=" + "x" * 300, 422),
        ("/lots?" + urlencode({"begins": "'; DROP TABLE inspections; --"}), 200),
        ("/lots?" + urlencode({"product": '" OR 1=1 --', "begins": "%_\\"}), 200),
        ("/lots/lot", 422),
        ("/lots/lot?name=none", 404),
        ("/lots/lot?name=L1&product=none", 404),
        ("/api/v1/lots?limit=0", 422),
        ("/api/v1/lots?after=x", 422),
        ("/api/v1/lots?product=%00", 422),
        ("/api/v1/lots/none", 404),
    ],
)
def test_nonsense_is_answered_with_a_sentence(
    page: httpx.Client, plant: Any, address: str, status: int
) -> None:
    plant.inspect("ok")
    answer = page.get(address)
    assert answer.status_code == status, answer.text
    if status >= 400 and address.startswith("/api/"):
        assert answer.headers["content-type"] == "application/problem+json"
    assert page.get("/lots").text.count('<th scope="row"') == 1


def test_the_api_lists_lots_and_tells_of_one(page: httpx.Client, lot: dict[str, Any]) -> None:
    first = page.get("/api/v1/lots", params={"limit": 1}).json()
    assert first["items"][0]["lot"] == "other"
    second = page.get(first["next"]).json()
    assert second["next"] is None
    row = second["items"][0]
    assert (row["lot"], row["is_all"]) == ("L1", True)
    assert row["verdicts"] == {"ok": 4, "ng": 2, "error": 1, "pending": 1}
    told = page.get("/api/v1/lots/L1").json()
    assert told["captured"] == told["judged"] + told["error"] + told["pending"] + told["let_go"] == 8
    assert (told["overridden"], told["false_rejects"], told["escapes"]) == (2, 1, 1)
    assert told["yield_after_reviews"] == pytest.approx(4 / 7)
    assert [one["station"] for one in told["stations"]] == ["s1", "s1", "s2"]
    assert {one["id"] for one in told["overruled"]} == {str(lot["ng"][0]), str(lot["ok"][0])}


def test_evidence_is_offered_to_who_may_have_it(auditor: httpx.Client, lot: dict[str, Any]) -> None:
    assert "Download evidence" in auditor.get("/lots/lot?name=L1").text
    auditor.cookies.clear()
    auditor.post("/login", data={"name": "vera", "password": PASSWORD})
    assert "Download evidence" not in auditor.get("/lots/lot?name=L1").text
