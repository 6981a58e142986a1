"""Models on the page: who judges, who may, and whose act it was when that changes."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import datasets, events, models, policies, results, reviews, runs, shadow
from db.imagestore import ImageStore, key_of
from db.policies import Rules
from db.results import NewResult
from db.settings import DatabaseSettings
from db.tables import Event

PASSWORD = "correct horse: battery"  # of the fixture `account`
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
Sessions = sessionmaker[Session]


@dataclass
class Versions:
    champion: str
    challenger: str
    other: str


def manifest(weights: str, threshold: float, **more: Any) -> str:
    return json.dumps(
        {
            "network": {"preset": "pyramid", "size": [64, 48]},
            "calibration": {"threshold": threshold, "target_rate": 0.005, "images": 199, "note": "rank 198"},
            "preprocessing": {"resize": "squash", "range": [0, 1]},
            "training": {"epochs": 7},
            "weights_sha256": weights,
            **more,
        }
    )


@pytest.fixture
def versions(sessions: Sessions, plant: Any) -> Versions:
    """A champion, a challenger that a run made and the gate let through, and one more version."""
    store: ImageStore = plant.store
    store.put(b"weights")
    weights = hashlib.sha256(b"weights").hexdigest()
    with sessions.begin() as session:
        models.ensure_product(session, "tile")
        policies.change(session, "tile", Rules(shadow_share=1.0), "grace")
        summary = {"stations": {"s1": {"train": 90, "hold_out": 10}}, "left_out": {"doubted": 2}}
        dataset = datasets.keep(session, "tile", [{"id": "1", "sha256": "a" * 64}], summary)
        texts = manifest(weights, 0.25), manifest(weights, 0.5, dataset=dataset), manifest(weights, 0.75)
        ids = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        models.register(session, ids[0], "tile", texts[0], weights, 50, HOSTILE)
        models.set_champion(session, "tile", ids[0], "grace", "the first")
        runs.request(session, "tile", "schedule", "clock")
        held = runs.take(session, 30, 3)
        assert held is not None
        models.register(session, ids[1], "tile", texts[1], weights, 100, "from the line")
        runs.succeed(session, held, ids[1], "trained", gate_passed=True, gate_said=["rejects 0 of 40"])
        said = {
            "passed": True,
            "said": ["rejects 0 of 40 good parts"],
            "champion": ids[0],
            "evidence": {"good": {"parts": 40, "candidate_rejects": 0, "champion_rejects": 3, "most": 1}},
        }
        events.record(session, "model.examined", "trainer", "tile", {"model": ids[1], "run": "r", **said})
        models.set_challenger(session, "tile", ids[1], "trainer", said)
        models.register(session, ids[2], "tile", texts[2], weights, 60, "another")
    return Versions(*ids)


@pytest.fixture
def beside(versions: Versions, sessions: Sessions, plant: Any) -> list[Any]:
    """Three parts: both accept one, only the challenger rejects one, only it accepts one that is bad."""
    said = [("ok", "ok"), ("ok", "ng"), ("ng", "ok")]
    ids = [plant.accept() for _ in said]

    def say(id_: Any, verdict: str, model: str) -> NewResult:
        return NewResult(id_, verdict, 0.4, 0.25, model, "w1", 1, datetime.now(UTC), {}, [], None, None)

    with sessions.begin() as session:
        pairs = list(zip(ids, said, strict=True))
        results.record(session, [say(id_, one, versions.champion) for id_, (one, _) in pairs])
        alias = models.challenger(session, "tile")
        assert alias is not None
        assert shadow.record(session, alias, [say(id_, its, versions.challenger) for id_, (_, its) in pairs])
        reviews.record(session, ids[2], "confirm", "ada")
    return ids


@pytest.fixture
def served(database: DatabaseSettings, account: Callable[..., None], serve: Callable[..., str]) -> str:
    account("grace", "engineer")
    account("vera", "viewer")
    return serve(database)


@contextmanager
def logged_in(served: str, name: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served, headers={"Accept": "text/html"}, timeout=30) as client:
        assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get("/account").text)
        assert found is not None
        client.headers["X-Form-Token"] = found[1]
        yield client


@pytest.fixture
def grace(served: str) -> Iterator[httpx.Client]:
    with logged_in(served, "grace") as client:
        yield client


@pytest.fixture
def vera(served: str) -> Iterator[httpx.Client]:
    with logged_in(served, "vera") as client:
        yield client


def judges(sessions: Sessions) -> tuple[str | None, str | None]:
    with sessions() as session:
        champion, challenger = models.champion(session, "tile"), models.challenger(session, "tile")
    return champion and champion.id, challenger and challenger.model_version


def told(sessions: Sessions, kind: str) -> Event:
    """The newest event of a kind."""
    with sessions() as session:
        found = session.scalars(select(Event).where(Event.kind == kind).order_by(Event.id.desc())).first()
    assert found is not None
    return found


def of_form(text: str, action: str, **more: str) -> dict[str, str]:
    """Give what a form on a page sends, with what a person fills in."""
    form = text[text.index(f'action="{action}"') :]
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[: form.index("</form>")])
    return dict(hidden) | more


def test_champion_and_challenger_stand_side_by_side(
    grace: httpx.Client, versions: Versions, beside: list[Any]
) -> None:
    text = grace.get("/models?product=tile").text
    assert f'title="{versions.champion}">{versions.champion[:12]}</a> <b class="plays">champion</b>' in text
    assert re.search(r"good parts rejected, at the gate</th>\s*<td>3 of 40</td>\s*<td>0 of 40</td>", text)
    assert "0.2500" in text
    assert "0.5000" in text
    assert "scored 3 images that" in text
    assert re.search(r"Of 1 parts that people call bad it misses <b class=\"ng-text\">1</b>", text)
    assert str(beside[1]) in text  # judged differently
    assert str(beside[2]) in text
    assert str(beside[0]) not in text
    assert "3 count" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text  # the note of the champion

    other = grace.get(f"/models?product=tile&first={versions.other}&second={versions.champion}").text
    assert "0.7500" in other
    assert "There is no challenger" not in other
    api = grace.get(f"/api/v1/models/compare?product=tile&first={versions.champion}").json()
    assert api["detail"].startswith(f"{versions.champion[:12]} would be compared with itself")
    api = grace.get("/api/v1/models/compare?product=tile").json()
    assert [one["version"] for one in api["models"]] == [versions.champion, versions.challenger]
    assert api["shadow"]["called_bad_and_missed"] == 1
    assert grace.get("/api/v1/models/disagreements?product=tile").json()[0]["challenger"] == "ok"


def test_a_version_tells_where_it_comes_from(grace: httpx.Client, versions: Versions) -> None:
    text = grace.get(f"/models/{versions.challenger}").text
    for fact in (
        "64 x 48 pixels",
        "0.5000",
        "rank 198",
        "doubted 2",
        "It passed.",
        "from the line",
        "squash",
    ):
        assert fact in text
    assert "asked for by clock" in text
    raw = grace.get(f"/models/{versions.challenger}/manifest.json").content
    assert hashlib.sha256(raw).hexdigest() == versions.challenger
    api = grace.get(f"/api/v1/models/{versions.challenger}").json()
    assert api["plays"] == "challenger"
    assert api["dataset_summary"]["left_out"] == {"doubted": 2}
    assert [event["kind"] for event in api["events"]] == ["model.examined", "model.challenger"]


def test_a_promotion_takes_a_signature_where_it_is_asked_for_and_keeps_it(
    grace: httpx.Client,
    versions: Versions,
    beside: list[Any],
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "promotion")
    form = of_form(grace.get("/models?product=tile").text, "/models/promote", why="fewer false rejects")
    assert form["version"] == versions.challenger

    assert grace.post("/models/promote", data=form).status_code == 403
    assert grace.post("/models/promote", data={**form, "password": "guess"}).status_code == 403
    assert judges(sessions) == (versions.champion, versions.challenger)

    done = grace.post("/models/promote", data={**form, "password": PASSWORD})
    assert (done.status_code, done.headers["location"]) == (303, "/models?product=tile")
    assert judges(sessions) == (versions.challenger, None)
    event = told(sessions, "model.promoted")
    assert (event.actor, event.detail["why"], event.detail["before"]) == (
        "grace",
        "fewer false rejects",
        versions.champion,
    )
    signature = event.detail["signature"]
    assert (signature["name"], signature["meaning"]) == ("Grace", "approval: fewer false rejects")
    assert len(signature["record_sha256"]) == 64
    assert event.detail["evidence"]["disagreements"] == 2
    assert "Grace, approval: fewer false rejects" in grace.get(f"/models/{versions.challenger}").text


def test_nobody_promotes_over_a_change_that_was_not_seen(
    grace: httpx.Client, versions: Versions, sessions: Sessions
) -> None:
    form = of_form(grace.get(f"/models/{versions.challenger}").text, "/models/promote", why="it is better")
    with sessions.begin() as session:
        models.set_champion(session, "tile", versions.other, "linus", "quicker than grace")

    refused = grace.post("/models/promote", data=form)
    assert refused.status_code == 409
    assert "somebody promoted a model meanwhile" in refused.text
    asked = {"expected": versions.champion, "why": "it is better"}
    api = grace.post(f"/api/v1/models/{versions.challenger}/promote", json=asked)
    assert (api.status_code, api.headers["content-type"]) == (409, "application/problem+json")
    back = {"product": "tile", "expected": versions.champion, "why": "back"}
    assert grace.post("/models/rollback", data=back).status_code == 409
    gone = {"product": "tile", "expected": versions.other, "why": "gone"}
    assert grace.post("/models/withdraw", data=gone).status_code == 409
    assert judges(sessions) == (versions.other, versions.challenger)

    ok = grace.post(
        f"/api/v1/models/{versions.challenger}/promote", json={**asked, "expected": versions.other}
    )
    assert ok.status_code == 204
    assert judges(sessions) == (versions.challenger, None)


def test_a_challenger_is_withdrawn_and_a_champion_rolled_back(
    grace: httpx.Client, versions: Versions, sessions: Sessions
) -> None:
    text = grace.get("/models?product=tile").text
    assert "/models/rollback" not in text  # nobody judged before
    assert (
        grace.post("/models/withdraw", data=of_form(text, "/models/withdraw", why="slow")).status_code == 303
    )
    assert judges(sessions) == (versions.champion, None)
    assert told(sessions, "model.withdrawn").detail["why"] == "slow"

    with sessions.begin() as session:
        models.set_champion(session, "tile", versions.other, "grace", "try")
    form = of_form(grace.get("/models?product=tile").text, "/models/rollback", why=HOSTILE)
    assert grace.post("/models/rollback", data=form).status_code == 303
    assert judges(sessions) == (versions.champion, None)
    text = grace.get("/models?product=tile").text
    assert "<script>alert" not in text
    assert "rolled back" in text


def test_a_model_whose_weights_are_lost_is_not_let_judge(
    grace: httpx.Client, versions: Versions, sessions: Sessions, home: Path
) -> None:
    form = of_form(grace.get(f"/models/{versions.other}").text, "/models/promote", why="now")
    (home / "images" / key_of(hashlib.sha256(b"weights").hexdigest())).unlink()
    assert grace.post("/models/promote", data=form).status_code == 404
    assert judges(sessions)[0] == versions.champion


ACTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/models/promote", {"version": "0" * 64, "why": "x"}),
    ("/models/rollback", {"expected": "0" * 64, "why": "x"}),
    ("/models/withdraw", {"expected": "0" * 64, "why": "x"}),
    ("/models/runs", {}),
    ("/models/schedule", {"cron": "0 2 * * *"}),
    ("/models/golden/send", {}),
    ("/models/golden/schedule", {"cron": "0 2 * * *"}),
    ("/models/rescorings", {"model": "0" * 64}),
)


def test_who_only_looks_is_shown_no_acts_and_refused_all(
    vera: httpx.Client, versions: Versions, sessions: Sessions
) -> None:
    for address in ("", "/runs", "/policy", "/golden", "/rescorings", f"/{versions.challenger}"):
        answer = vera.get(f"/models{address}", params={"product": "tile"})
        assert answer.status_code == 200
        assert 'method="post"' not in answer.text.replace('action="/logout" method="post"', "")
    for address, form in ACTS:
        answer = vera.post(address, data={"product": "tile", **form})
        assert answer.status_code == 403, address
        assert "takes the role engineer" in answer.text
    assert judges(sessions) == (versions.champion, versions.challenger)


def test_versions_are_paged_by_key(grace: httpx.Client, versions: Versions) -> None:
    found, address = [], "/api/v1/models?product=tile&limit=1"
    while address:
        answer = grace.get(address).json()
        found += [(one["id"], one["plays"]) for one in answer["items"]]
        address = answer["next"]
    assert found == [
        (versions.other, None),
        (versions.challenger, "challenger"),
        (versions.champion, "champion"),
    ]


NONSENSE: tuple[tuple[str, int], ...] = (
    ("/models?product=%00", 422),
    ("/models?product=nobody", 422),
    ("/models?product=tile&first=' OR 1=1 --", 422),
    ("/models?product=tile&after=" + "f" * 64, 404),
    ("/models/" + "f" * 64, 404),
    ("/models/..%2f..%2fetc", 404),
    ("/models/%00", 404),
    ("/models/runs/nonsense", 404),
    ("/models/runs?after=1", 422),
    ("/models/rescorings/019ca7fb-7300-7000-8a52-0967e22eef0a", 404),
    ("/models/golden/019ca7fb-7300-7000-8a52-0967e22eef0a/view.png", 404),
    ("/api/v1/models?after=x", 422),
    ("/api/v1/models/%00", 404),
    ("/api/v1/models/compare?product=tile&first=" + "f" * 64, 404),
    ("/api/v1/runs?limit=0", 422),
)


def test_nonsense_is_told_as_such(grace: httpx.Client, versions: Versions, sessions: Sessions) -> None:
    with sessions.begin() as session:
        models.ensure_product(session, "ring")
        models.set_champion(session, "tile", versions.other, "grace", "now")
    ring = f"/models?product=ring&first={versions.champion}&second={versions.other}"
    assert grace.get(ring).status_code == 404  # they are none of its versions
    there = {"product": "ring", "version": versions.champion, "expected": "", "why": "mistaken"}
    assert grace.post("/models/promote", data=there).status_code == 404
    assert {asked: grace.get(asked).status_code for asked, _ in NONSENSE} == dict(NONSENSE)
