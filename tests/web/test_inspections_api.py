"""What the API says of inspections, and that it says what the database has."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import reviews
from db.retention import acts, policy
from db.settings import DatabaseSettings

API = "/api/v1"
PASSWORD = "correct horse: battery"  # of the fixture `account`
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_lists_are_paged_with_their_filters(page: httpx.Client, plant: Any) -> None:
    made = [str(plant.inspect("ng", lot="A & B")) for _ in range(5)]
    plant.inspect("ng", lot="C")
    plant.accept(lot="A & B")
    address, seen = f"{API}/inspections?lot=A%20%26%20B&verdict=ng&since=2026-03-01&limit=2", list[str]()
    while address:
        answer = page.get(address).json()
        seen += [one["id"] for one in answer["items"]]
        plant.inspect("ng", lot="A & B")  # newer ones don't shift what is paged
        address = answer["next"]
    assert seen == made[::-1]
    first = page.get(f"{API}/inspections?limit=1&verdict=ng&lot=C").json()["items"][0]
    assert (first["score"], first["threshold"], first["model_version"]) == (0.8, 0.2, plant.model)
    assert first["captured_at"] == "2026-03-01T06:00:05Z"
    assert first["regions"][0]["area"] == 480.0
    pending = page.get(f"{API}/inspections?verdict=pending").json()["items"]
    assert [(one["verdict"], one["score"]) for one in pending] == [(None, None)]


def test_an_inspection_is_given_whole(page: httpx.Client, plant: Any) -> None:
    id_ = plant.inspect("ng", line="L2")
    signature = {"user": "ada", "name": "Ada", "at": "2026-03-01T06:00:00Z", "meaning": "review: overrule"}
    with plant.sessions.begin() as session:
        reviews.record(session, id_, "overrule", "ada", "lighting", "reflex", signature)
    it = page.get(f"{API}/inspections/{id_}").json()
    assert (it["inspection"]["serial"], it["inspection"]["line"]) == ("T-0001", "L2")
    assert it["inspection"]["image_width"] == 160
    assert it["result"]["timings"] == {"queue_ms": 12.5, "decode_ms": 3.25, "score_ms": 20.0}
    assert (it["map"]["width"], it["map"]["high"]) == (40, 0.8)
    assert (it["reviews"][0]["verdict"], it["reviews"][0]["reason"]) == ("overrule", "reflex")
    assert it["reviews"][0]["signature"]["meaning"] == "review: overrule"
    assert it["let_go"] == {"image": None, "map": None}
    assert it["links"].keys() == {"image", "map", "overlay"}
    for name, address in it["links"].items():
        picture = page.get(address)
        assert picture.headers["content-type"] == "image/png"
        known = {"If-None-Match": picture.headers["etag"]}
        assert page.get(address, headers=known).status_code == 304, name
    waiting = page.get(f"{API}/inspections/{plant.accept()}").json()
    assert (waiting["result"], waiting["map"], waiting["reviews"]) == (None, None, [])
    assert waiting["links"].keys() == {"image"}


def test_what_retention_let_go_has_no_links(page: httpx.Client, plant: Any) -> None:
    id_ = plant.inspect("ok")
    with plant.sessions.begin() as session:
        policy.set_rule(session, "tile", "ok", policy.Terms(images_days=1, maps_days=2), "engineer", "room")
    done = acts.apply(plant.sessions.kw["bind"], plant.store, "retention", archive=False)
    assert [act.what for act in done] == ["images", "maps"]
    it = page.get(f"{API}/inspections/{id_}").json()
    assert it["links"] == {}
    assert datetime.fromisoformat(it["let_go"]["image"]).tzinfo == UTC
    for name in ("image", "map", "overlay"):
        gone = page.get(f"{API}/inspections/{id_}/{name}")
        assert (gone.status_code, gone.headers["content-type"]) == (410, "application/problem+json")


def test_facets_count_what_matches(page: httpx.Client, plant: Any) -> None:
    for verdict in ("ok", "ng", "ng"):
        plant.inspect(verdict)
    plant.accept(lot=None)
    found = page.get(f"{API}/facets").json()
    assert (found["counted"], found["complete"], found["more"]["lot"]) == (4, True, 0)
    assert found["verdict"][0] == {"value": "ng", "count": 2}
    assert found["lot"] == [{"value": "L1", "count": 3}, {"value": None, "count": 1}]
    assert page.get(f"{API}/facets?verdict=ng").json()["counted"] == 2


def test_nonsense_is_answered_with_a_problem_document(page: httpx.Client) -> None:
    for address, status in {
        "/inspections?verdict=bad": 422,
        "/inspections?prodct=tile": 422,
        "/inspections?lot=a&lot=b": 422,
        "/inspections?serial=%00": 422,
        "/inspections?since=1e400": 422,
        "/inspections?until=9999-12-31T23:59:59-14:00": 422,
        "/inspections?min_score=inf": 422,
        "/inspections?limit=501": 422,
        "/inspections?after=' OR 1=1 --": 422,
        "/facets?since=2026-03-02&until=2026-03-01": 422,
        f"/inspections/{uuid4()}": 404,
        "/inspections/..%2f..%2fetc": 404,
        f"/inspections/{uuid4()}/overlay": 404,
    }.items():
        answer = page.get(API + address)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
            address
        )
        assert answer.json()["detail"]
    for hostile in ("' OR 1=1 --", "%", "\\", "\N{GRINNING FACE}", "{{7*7}}"):
        assert page.get(f"{API}/inspections", params={"serial": hostile}).json()["items"] == []
    assert page.get(f"{API}/inspections?since=0001-01-01&until=9999-12-31T23:59:59").json()["items"] == []


@pytest.fixture
def ada(
    database: DatabaseSettings,
    serve: Callable[..., str],
    account: Callable[..., None],
    sessions: sessionmaker[Session],
) -> Iterator[httpx.Client]:
    account("ada", "viewer")
    with httpx.Client(base_url=serve(database), timeout=20) as client:
        client.post("/login", data={"name": "ada", "password": PASSWORD})
        text = client.get("/account").text
        client.headers["X-Form-Token"] = text.split('name="form_token" value="')[1].split('"')[0]
        yield client


def test_filters_are_kept_by_name(ada: httpx.Client) -> None:
    address = f"{API}/filters/ng%20of%2Fyesterday"
    document = {"query": "?verdict=ng&period=yesterday&after=" + "0" * 32, "is_shared": True}
    assert ada.put(address, json={**document, "query": "verdict=bad"}).status_code == 422
    assert ada.put(address, json={**document, "owner": "bob"}).status_code == 422
    document["query"] = document["query"].lstrip("?")
    kept = ada.put(address, json=document)
    assert kept.status_code == 200
    told = {"owner": "ada", "name": "ng of/yesterday", "query": "verdict=ng&period=yesterday"}
    assert {name: kept.json()[name] for name in told} == told
    assert [one["name"] for one in ada.get(f"{API}/filters").json()["items"]] == ["ng of/yesterday"]
    assert ada.delete(address).status_code == 204
    assert ada.delete(address).status_code == 404
    del ada.headers["X-Form-Token"]
    assert ada.put(address, json=document).status_code == 403
    assert ada.get(f"{API}/filters").json()["items"] == []
