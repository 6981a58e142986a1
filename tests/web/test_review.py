"""The review queue as people and programs meet it, and reviewing on a part's own page."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import review_claims, reviews
from db.engine import session_factory
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.retention import acts, policy
from db.settings import DatabaseSettings
from db.tables import Event, Review, ReviewClaim

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # tests/db asks both
PASSWORD = "correct horse: battery"  # of the fixture `account`
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
LogIn = Callable[..., httpx.Client]


@pytest.fixture
def address(database: DatabaseSettings, serve: Callable[..., str]) -> str:
    return serve(database)


@pytest.fixture
def log_in(address: str, account: Callable[..., None]) -> Iterator[LogIn]:
    """Open an account and give a client that is logged in with it."""

    def open_(name: str = "ada", role: str = "inspector") -> httpx.Client:
        account(name, role)
        client = closing.enter_context(httpx.Client(base_url=address, timeout=20))
        assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
        token = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get("/").text)
        assert token
        client.headers["X-Form-Token"] = token[1]
        return client

    with ExitStack() as closing:
        yield open_


def fields(text: str) -> dict[str, str]:
    """Give what the hidden fields of a page's review form hold."""
    form = text[text.index('<form class="review"') :]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[: form.index("</form>")])
    return {name: value.replace("&amp;", "&") for name, value in found}


def part_on(text: str) -> str | None:
    found = re.search(r'<article id="part"[^>]* data-id="([0-9a-f-]{36})"', text)
    return found[1] if found else None


def say(client: httpx.Client, page: httpx.Response, verdict: str, **more: str) -> httpx.Response:
    found = fields(page.text)
    return client.post(
        f"/inspections/{part_on(page.text)}/review", data={**found, "verdict": verdict, **more}
    )


def said(sessions: sessionmaker[Session], id_: UUID) -> list[tuple[str, str, str | None]]:
    with sessions() as session:
        return [(one.reviewer, one.verdict, one.reason_code) for one in reviews.of(session, id_)]


def test_the_queue_goes_from_part_to_part_without_script(log_in: LogIn, plant: Any) -> None:
    plant.inspect("ok")
    parts = [plant.inspect(verdict) for verdict in ("ng", "inconclusive", "ng")]
    ada = log_in()
    shown = ada.get("/review")
    assert part_on(shown.text) == str(parts[0])
    assert "overlay.png" in shown.text
    gone_on = say(ada, shown, "confirm")
    assert gone_on.status_code == 303
    shown = ada.get(gone_on.headers["location"])
    assert part_on(shown.text) == str(parts[1])
    assert "Overrule</b>" not in shown.text  # there is nothing to overrule
    skipped = re.search(r'<a href="([^"]+)" data-way="skip"', shown.text)
    assert skipped
    shown = ada.get(skipped[1].replace("&amp;", "&"))
    assert part_on(shown.text) == str(parts[2])
    gone_on = say(ada, shown, "overrule", reason_code="lighting")
    shown = ada.get(gone_on.headers["location"])
    assert part_on(shown.text) == str(parts[1])
    assert "From the beginning again" in shown.text
    undo = re.search(r'<a href="([^"]+)" data-way="undo"', shown.text)
    assert undo
    shown = ada.get(undo[1].replace("&amp;", "&"))
    assert part_on(shown.text) == str(parts[2])
    assert "overrule</b> by ada" in shown.text
    assert say(ada, shown, "confirm").status_code == 303
    assert said(plant.sessions, parts[0]) == [("ada", "confirm", None)]
    assert said(plant.sessions, parts[1]) == []
    assert said(plant.sessions, parts[2]) == [("ada", "overrule", "lighting"), ("ada", "confirm", None)]
    with plant.sessions() as session:
        told = session.scalars(select(Event).where(Event.kind == "review.made").order_by(Event.id)).all()
    assert [(one.actor, one.subject) for one in told] == [("ada", str(parts[place])) for place in (0, 2, 2)]


def test_source_filter_and_order_stand_in_the_address(log_in: LogIn, plant: Any) -> None:
    bad = plant.inspect("ng", lot="L & 1", line="A")
    odd, failed = plant.inspect("inconclusive"), plant.inspect("error")
    near = plant.accept()
    plant.judge(near, "ok", score=0.199)
    ada = log_in()
    for query, wanted in {
        "source=ng": bad,
        "source=inconclusive": odd,
        "source=error": failed,
        "source=borderline": near,
        "order=newest": near,
        "lot=L+%26+1": bad,
        "line=A&source=ng&product=tile": bad,
        "source=&product=&line=&lot=&order=oldest": bad,
    }.items():
        shown = ada.get(f"/review?{query}")
        assert part_on(shown.text) == str(wanted), query
        ada.post("/review/leave")
    text = ada.get("/review?source=disagreement&order=newest").text
    assert part_on(text) is None
    assert "Nothing waits for a review here" in text
    for name in ("any", "ng", "inconclusive", "error", "borderline", "disagreement"):
        count = {"any": 4, "disagreement": 0}.get(name, 1)
        assert f'data-count="{name}">{count}</b>' in text
    assert "newest first" in text
    long = "lot=" + "x" * 256
    for wrong in ("source=fine", "order=best", "lot=%00", long, "after=yesterday", "part=1", "lots=L1"):
        assert ada.get(f"/review?{wrong}").status_code == 422, wrong
        assert ada.get(f"/api/v1/review/next?{wrong}").status_code == 422, wrong
    for odd_one in ("' OR 1=1 --", "%", HOSTILE, "\N{GRINNING FACE}"):
        shown = ada.get("/review", params={"lot": odd_one})
        assert shown.status_code == 200
        assert "<script>alert" not in shown.text


def test_two_people_are_given_different_parts_and_told_of_each_other(log_in: LogIn, plant: Any) -> None:
    first, second = plant.inspect("ng"), plant.inspect("ng")
    ada, bob = log_in("ada"), log_in("bob")
    before = ada.get("/review")
    assert part_on(before.text) == str(first)
    assert part_on(bob.get("/review").text) == str(second)
    for page in (f"/inspections/{first}", f"/review?part={first}"):
        assert "ada looks at it now" in bob.get(page).text
    assert "looks at it now" not in ada.get(f"/inspections/{first}").text
    ada.post("/review/leave")
    assert part_on(bob.get("/review").text) == str(first)


def test_what_another_said_meanwhile_is_shown_before_ones_own_is_taken(log_in: LogIn, plant: Any) -> None:
    part = plant.inspect("ng", serial=HOSTILE)
    ada, bob = log_in("ada"), log_in("bob")
    shown = ada.get("/review")
    new = {"verdict": "overrule", "reason_code": "other", "reason": HOSTILE}
    assert bob.post(f"/api/v1/inspections/{part}/reviews", json=new).status_code == 201
    refused = say(ada, shown, "inconclusive", reason="half of it is dark")
    assert refused.status_code == 409
    assert "bob said overrule" in refused.text
    assert "half of it is dark" in refused.text
    assert "<script>alert" not in refused.text
    assert said(plant.sessions, part) == [("bob", "overrule", "other")]
    taken = ada.post(
        f"/inspections/{part}/review",
        data={**fields(refused.text), "verdict": "inconclusive", "reason": "half of it is dark"},
    )
    assert (taken.status_code, unquote(taken.headers["location"])) == (303, f"/review?after={part}")
    assert said(plant.sessions, part)[1] == ("ada", "inconclusive", None)
    assert "<script>alert" not in ada.get(f"/review?part={part}").text
    conflict = bob.post(f"/api/v1/inspections/{part}/reviews", json={"verdict": "confirm"})
    assert conflict.status_code == 409
    told = conflict.json()["reviews"]
    assert [one["reviewer"] for one in told] == ["bob", "ada"]
    known = {"verdict": "confirm", "known": told[-1]["id"]}
    assert bob.post(f"/api/v1/inspections/{part}/reviews", json=known).status_code == 201


def test_reviewing_on_a_parts_own_page(log_in: LogIn, plant: Any) -> None:
    part, pending = plant.inspect("ok"), plant.accept()
    ada = log_in()
    page = ada.get(f"/inspections/{part}")
    assert "<b>Overrule</b>: it is bad" in page.text
    data = {**fields(page.text), "verdict": "overrule"}
    refused = ada.post(f"/inspections/{part}/review", data={**data, "reason": "a scratch"})
    assert refused.status_code == 422
    assert "gives a reason code" in refused.text
    assert 'value="a scratch"' in refused.text
    done = ada.post(f"/inspections/{part}/review", data={**data, "reason_code": "defect"})
    assert (done.status_code, done.headers["location"]) == (303, f"/inspections/{part}")
    assert "overrule by ada (defect)" in ada.get(f"/inspections/{part}").text
    assert '<form class="review"' not in ada.get(f"/inspections/{pending}").text
    for wrong, status in (
        ({"verdict": "fine"}, 422),
        ({"verdict": "confirm", "reason_code": "\0"}, 422),
        ({"verdict": "confirm", "known": "x"}, 422),
        ({"verdict": "confirm", "reason": "x" * 5000}, 422),
    ):
        assert ada.post(f"/inspections/{part}/review", data=wrong).status_code == status, wrong
    assert ada.post(f"/inspections/{pending}/review", data={"verdict": "confirm"}).status_code == 422
    assert ada.post(f"/inspections/{uuid4()}/review", data={"verdict": "confirm"}).status_code == 404


def test_overruling_an_ng_takes_a_signature_where_the_settings_say_so(
    log_in: LogIn, plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "overrule")
    part = plant.inspect("ng")
    ada = log_in()
    shown = ada.get("/review")
    assert "Your password, to sign, where you overrule" in shown.text
    for password, sentence in (("", "takes your signature"), ("guessed at random", "password is wrong")):
        refused = say(ada, shown, "overrule", reason_code="lighting", password=password)
        assert refused.status_code == 403
        assert sentence in refused.text
        assert "guessed" not in refused.text
    unsigned = {"verdict": "overrule", "reason_code": "lighting"}
    assert ada.post(f"/api/v1/inspections/{part}/reviews", json=unsigned).status_code == 403
    assert say(ada, shown, "overrule", reason_code="lighting", password=PASSWORD).status_code == 303
    with plant.sessions() as session:
        (review,) = session.scalars(select(Review)).all()
    assert review.signature is not None
    assert (review.signature["user"], review.signature["meaning"]) == ("ada", "review: overrule")


def test_a_part_that_retention_lets_go_meanwhile_is_told(
    log_in: LogIn, plant: Any, database: DatabaseSettings
) -> None:
    part = plant.inspect("ng")
    ada = log_in()
    shown = ada.get("/review")
    engine = plant.sessions.kw["bind"]
    with session_factory(engine).begin() as session:
        terms = policy.Terms(images_days=1, maps_days=1, rows_days=1)
        policy.set_rule(session, "tile", "ng", terms, "engineer", "storage")
    seal(engine, LedgerSettings())
    for file in (database.home / "images").rglob("*"):
        os.utime(file, (0, 0))  # a young one is kept
    plant.store.put(b"another image")
    assert "rows" in [one.what for one in acts.apply(engine, plant.store, "retention", archive=False)]
    gone = say(ada, shown, "confirm")
    assert gone.status_code == 410
    assert "was let go by retention" in gone.text
    assert part_on(ada.get("/review").text) is None
    assert ada.put(f"/api/v1/review/claims/{part}").status_code == 410


def test_the_queue_over_the_api(log_in: LogIn, plant: Any) -> None:
    first, second = plant.inspect("ng"), plant.inspect("error")
    ada, bob = log_in("ada"), log_in("bob")
    given = ada.get("/api/v1/review/next").json()["part"]
    assert given["inspection_id"] == str(first)
    assert given["sources"] == ["ng"]
    assert given["overlay"] == f"/inspections/{first}/overlay.png"
    assert given["claim"]["holder"] == "ada"
    assert ada.get("/api/v1/review/counts?source=ng").json()["counts"]["any"] == {
        "parts": 2,
        "complete": True,
    }
    assert bob.get("/api/v1/review/next").json()["part"]["inspection_id"] == str(second)
    prolonged = bob.put(f"/api/v1/review/claims/{first}").json()
    assert prolonged["holder"] == "ada"
    mine = ada.put(f"/api/v1/review/claims/{first}").json()
    assert datetime.fromisoformat(mine["until"]) > datetime.now(UTC) + timedelta(minutes=4)
    assert ada.delete(f"/api/v1/review/claims/{first}?until=2020-01-01T00:00:00Z").status_code == 204
    for wrong_time in ("noon", "2026-03-01T06:00:00", "0001-01-01T00:00:00+23:59"):
        refused = ada.delete(f"/api/v1/review/claims/{first}", params={"until": wrong_time})
        assert refused.status_code == 422, wrong_time
    assert bob.delete(f"/api/v1/review/claims/{first}").status_code == 204  # of hers it frees nothing
    with plant.sessions() as session:
        assert review_claims.holder_of(session, first) is not None
    until = mine["until"]
    assert ada.delete(f"/api/v1/review/claims/{first}", params={"until": until}).status_code == 204
    with plant.sessions() as session:
        assert session.get(ReviewClaim, first) is None
    made = ada.post(f"/api/v1/inspections/{first}/reviews", json={"verdict": "confirm", "reason": "a dent"})
    assert made.status_code == 201
    assert made.json()["reason"] == "a dent"
    listed = bob.get(f"/api/v1/inspections/{first}/reviews?limit=1").json()
    assert [one["reviewer"] for one in listed["items"]] == ["ada"]
    assert listed["next"] is None
    assert bob.get(f"/api/v1/inspections/{uuid4()}/reviews").status_code == 404
    assert bob.get("/api/v1/review/next", params={"after": str(second)}).json() == {
        "part": None,
        "came_round": False,
    }
    for wrong in ({}, {"verdict": "fine"}, {"verdict": "confirm", "by": "eve"}, {"verdict": "overrule"}, []):
        answer = ada.post(f"/api/v1/inspections/{second}/reviews", json=wrong)
        assert answer.status_code == 422, wrong
        assert answer.headers["content-type"] == "application/problem+json"


def test_who_may_not_review_is_not_asked_to(log_in: LogIn, plant: Any) -> None:
    part = plant.inspect("ng")
    eve = log_in("eve", "auditor")
    assert 'href="/review"' not in eve.get("/").text
    assert '<form class="review"' not in eve.get(f"/inspections/{part}").text
    assert eve.get("/review").status_code == 403
    assert eve.post(f"/inspections/{part}/review", data={"verdict": "confirm"}).status_code == 403
    assert eve.get(f"/api/v1/inspections/{part}/reviews").json()["items"] == []
    ada = log_in("ada")
    del ada.headers["X-Form-Token"]
    assert ada.post(f"/inspections/{part}/review", data={"verdict": "confirm"}).status_code == 403
    assert said(plant.sessions, part) == []
