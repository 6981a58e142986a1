"""Trainings, schedules, policies, golden samples and rescorings on the page: acts, and who did them."""

import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import golden, models, policies, retraining, runs
from db.settings import DatabaseSettings
from db.tables import Event, GoldenTrial, Rescoring, TrainingRun
from model.images import LEAST_IMAGES

PASSWORD = "correct horse: battery"  # of the fixture `account`
HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
Sessions = sessionmaker[Session]


@pytest.fixture
def grace(
    database: DatabaseSettings, account: Callable[..., None], serve: Callable[..., str], plant: Any
) -> Iterator[httpx.Client]:
    """An engineer, logged in, of a plant with one judged part of `tile`."""
    plant.inspect("ok")
    account("grace", "engineer")
    with httpx.Client(base_url=serve(database), headers={"Accept": "text/html"}, timeout=30) as client:
        assert client.post("/login", data={"name": "grace", "password": PASSWORD}).status_code == 303
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', client.get("/account").text)
        assert found is not None
        client.headers["X-Form-Token"] = found[1]
        yield client


def image(grey: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (16, 12), grey).save(out, "PNG")
    return out.getvalue()


def told(sessions: Sessions, kind: str) -> Event:
    """The newest event of a kind."""
    with sessions() as session:
        found = session.scalars(select(Event).where(Event.kind == kind).order_by(Event.id.desc())).first()
    assert found is not None, kind
    return found


def test_a_run_is_asked_for_shown_and_cancelled(grace: httpx.Client, sessions: Sessions, plant: Any) -> None:
    assert retraining.LEAST_GOOD == LEAST_IMAGES  # page and trainer agree how few are too few
    few = grace.post("/models/runs", data={"product": "tile"})
    assert few.status_code == 409
    assert "1 parts that passed for good, at least 8 are needed" in few.text
    assert "Train tile now" not in grace.get("/models/runs").text

    for _ in range(8):
        plant.inspect("ok")
    assert "Train tile now" in grace.get("/models/runs").text
    asked = grace.post("/models/runs", data={"product": "tile"})
    assert asked.status_code == 303
    assert asked.headers["location"].endswith("?note=broker")  # none runs in this test
    shown = grace.get(asked.headers["location"]).text
    assert "so nobody was woken" in shown
    assert "no trainer has it yet" in shown
    assert "data-run=" in shown
    event = told(sessions, "training.requested")
    assert (event.actor, event.detail["why"]) == ("grace", "on demand")
    run = event.detail["run"]

    again = grace.post("/api/v1/runs", json={"product": "tile"})
    assert again.status_code == 409
    assert run in again.json()["detail"]

    with sessions.begin() as session:
        held = runs.take(session, 30, 3)
        assert held is not None
    with sessions.begin() as session:
        runs.beat(session, held, 30, runs.Standing(4, 60, 0.25, 200.0), f"epoch 4\n{HOSTILE}")
    document = grace.get(f"/api/v1/runs/{run}").json()
    assert (document["state"], document["epoch"], document["epochs"], document["eta_s"]) == (
        "running",
        4,
        60,
        200,
    )
    shown = grace.get(f"/models/runs/{run}").text
    assert "epoch 4 of 60, loss 0.2500, 3 min left" in shown
    assert "<script>alert" not in shown
    assert "epoch 4 of 60" in grace.get("/models/runs?product=tile").text

    assert grace.post(f"/models/runs/{run}/cancel").status_code == 303
    with sessions() as session:
        assert session.get_one(TrainingRun, UUID(run)).state == "cancelled"
    assert told(sessions, "training.cancelled").actor == "grace"
    assert grace.post(f"/models/runs/{run}/cancel").status_code == 409
    assert "data-run=" not in grace.get(f"/models/runs/{run}").text  # nothing is renewed any more
    assert grace.get("/api/v1/runs?limit=1").json()["items"][0]["id"] == run


def test_a_schedule_says_when_it_is_due_and_refuses_what_never_is(
    grace: httpx.Client, sessions: Sessions
) -> None:
    form = {"product": "tile", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "min_new": "20"}
    for wrong in ({"cron": "61 2 * * *"}, {"cron": "0 0 31 2 *"}, {"time_zone": "../etc"}, {"min_new": "-1"}):
        assert grace.post("/models/schedule", data=form | wrong).status_code == 422, wrong
    assert grace.get("/api/v1/schedules").json() == []

    assert grace.post("/models/schedule", data=form).status_code == 303
    (plan,) = grace.get("/api/v1/schedules").json()
    assert (plan["cron"], plan["min_new"], plan["changed_by"]) == ("30 2 * * *", 20, "grace")
    assert len(plan["next_due"]) == 3
    first = datetime.fromisoformat(plan["next_due"][0])
    assert (first.hour, first.minute) in {(0, 30), (1, 30)}  # in UTC, in summer and winter
    assert f"{first:%Y-%m-%d %H:%M}" in grace.get("/models/runs").text

    off = grace.post("/api/v1/schedules", json={"product": "tile", "enabled": False}).json()
    assert (off["enabled"], off["next_due"], off["cron"]) == (False, [], "30 2 * * *")
    assert told(sessions, "schedule.changed").detail["enabled"] is False


def test_a_policy_is_changed_with_a_signature_where_it_is_asked_for(
    grace: httpx.Client, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "policy")
    form = {
        "product": "tile",
        "false_reject_rate": "0.01",
        "confidence": "0.9",
        "promotion": "automatic",
        "shadow_share": "0.5",
        "shadow_images": "300",
        "retrain_on_drift": "on",
        "hold_on_golden": "off",
        "password": PASSWORD,
    }
    assert "to sign <input" in grace.get("/models/policy").text
    assert grace.post("/models/policy", data=form | {"password": ""}).status_code == 403
    for wrong in (
        {"confidence": "0.2"},
        {"confidence": "nan"},
        {"false_reject_rate": "much"},
        {"shadow_images": "0"},
    ):
        assert grace.post("/models/policy", data=form | wrong).status_code == 422, wrong
    with sessions() as session:
        assert policies.of(session, "tile") == policies.Rules()

    assert grace.post("/models/policy", data=form).status_code == 303
    event = told(sessions, "policy.changed")
    assert (event.actor, event.detail["signature"]["name"]) == ("grace", "Grace")
    assert event.detail["after"]["shadow_images"] == 300
    back = {"product": "tile", "false_reject_rate": None, "password": PASSWORD}
    rules = grace.post("/api/v1/policies", json=back).json()
    assert (rules["false_reject_rate"], rules["confidence"]) == (None, 0.9)
    assert "1.00" not in grace.get("/models/policy").text


def test_golden_samples_are_added_sent_and_retired(
    grace: httpx.Client, sessions: Sessions, plant: Any
) -> None:
    part = plant.inspect("ng")
    with sessions.begin() as session:
        models.set_champion(session, "tile", plant.model, "grace", "first")
    offered = grace.get(f"/inspections/{part}").text
    assert f"/models/golden?inspection={part}#add" in offered
    filled_in = grace.get(f"/models/golden?inspection={part}").text
    assert 'list="stations" value="s1"' in filled_in
    assert f'value="{part}"' in filled_in
    form = {"product": "tile", "station": "s1", "name": HOSTILE, "expected": "ng"}
    both = grace.post("/models/golden", data=form | {"inspection": str(part)}, files={"image": b"x"})
    assert both.status_code == 422
    no_image = grace.post("/models/golden", data=form, files={"image": b"no image"})
    assert "can&#39;t be a golden sample: not an image" in no_image.text
    assert grace.post("/models/golden", data=form | {"inspection": "nonsense"}).status_code == 422
    elsewhere = form | {"station": "s2", "inspection": str(part)}
    assert "not of tile at s2" in grace.post("/models/golden", data=elsewhere).text.replace("&#39;", "")

    assert grace.post("/models/golden", data=form | {"inspection": str(part)}).status_code == 303
    upload = grace.post(
        "/api/v1/golden", data=form | {"name": "clean", "expected": "ok"}, files={"image": image(7)}
    )
    assert upload.status_code == 201, upload.text
    assert plant.store.get(upload.json()["image_sha256"]) == image(7)
    assert told(sessions, "golden.added").actor == "grace"
    again = grace.get(f"/api/v1/golden/{upload.json()['id']}/image")
    assert (again.content, again.headers["content-type"]) == (image(7), "image/png")

    sent = grace.post("/models/golden/send", data={"product": "tile", "station": ""})
    assert sent.headers["location"].endswith("note=broker")
    with sessions() as session:
        trials = session.scalars(select(GoldenTrial.inspection_id)).all()
    assert len(trials) == 2
    page = grace.get("/models/golden").text
    assert page.count(">waits</span>") == 4  # each sample, and its trial
    assert "<script>alert" not in page
    view = re.search(r"/models/golden/[0-9a-f-]{36}/view\.png", page)
    assert view is not None
    assert grace.get(view[0]).content.startswith(b"\x89PNG")

    gone = {"product": "tile", "station": "s1", "name": HOSTILE, "why": "worn"}
    assert grace.post("/models/golden/retire", data=gone).status_code == 303
    assert grace.post("/models/golden/retire", data=gone).status_code == 422
    with sessions() as session:
        assert [one.name for one in golden.in_use(session, "tile")] == ["clean"]

    plan = {"product": "tile", "cron": "0 6,14,22 * * *", "time_zone": "UTC", "enabled": "on"}
    assert grace.post("/models/golden/schedule", data=plan).status_code == 303
    assert len(grace.get("/api/v1/golden/schedules").json()[0]["next_due"]) == 3
    assert [one["name"] for one in grace.get("/api/v1/golden").json()] == ["clean"]
    assert len(grace.get("/api/v1/golden/trials").json()["items"]) == 2


def test_history_is_scored_again_and_that_is_cancelled(
    grace: httpx.Client, sessions: Sessions, plant: Any
) -> None:
    plant.inspect("ng")
    form = {"product": "tile", "model": plant.model, "verdict": "ng"}
    for wrong in ({"since": "soon"}, {"limit": "many"}, {"model": "x"}, {"verdict": "odd"}):
        assert grace.post("/models/rescorings", data=form | wrong).status_code == 422, wrong
    assert grace.post("/models/rescorings", data=form | {"model": "f" * 64}).status_code == 404
    assert grace.post("/models/rescorings", data=form | {"lot": "none such"}).status_code == 422

    asked = grace.post("/models/rescorings", data=form | {"since": "2026-03-01T00:00"})
    assert asked.status_code == 303
    with sessions() as session:
        one = session.scalars(select(Rescoring)).one()
    assert (one.total, one.requested_by, one.filter["verdict"]) == (1, "grace", "ng")
    assert one.filter["since"] == datetime(2026, 3, 1, tzinfo=UTC).isoformat()
    assert "0 of 1 images" in grace.get(asked.headers["location"]).text

    api = grace.post(f"/api/v1/rescorings/{one.id}/cancel")
    assert (api.status_code, api.json()["state"]) == (200, "cancelled")
    assert grace.post(f"/models/rescorings/{one.id}/cancel").status_code == 422
    assert told(sessions, "rescore.cancelled").actor == "grace"
    assert grace.get("/api/v1/rescorings").json()["items"][0]["id"] == str(one.id)


@pytest.mark.browser
def test_how_far_a_run_is_shows_by_itself_until_it_ends(
    grace: httpx.Client, sessions: Sessions, browser: Any
) -> None:
    with sessions.begin() as session:
        runs.request(session, "tile", "on demand", "grace")
        held = runs.take(session, 300, 3)
        assert held is not None
    said: list[str] = []
    context = browser.new_context()
    context.add_cookies(
        [{"name": name, "value": value, "url": str(grace.base_url)} for name, value in grace.cookies.items()]
    )
    look = context.new_page()
    look.on("console", lambda message: said.append(message.text))
    look.goto(f"{grace.base_url}/models/runs/{held.id}", timeout=60_000)
    assert "it prepares its images" in look.inner_text("main")
    with sessions.begin() as session:
        runs.beat(session, held, 300, runs.Standing(30, 60, 0.5, 9.0), "half of it")
    look.get_by_text("epoch 30 of 60, loss 0.5000, 9 s left").wait_for(timeout=30_000)
    assert look.locator("progress").evaluate("bar => bar.value / bar.max") == 0.5
    assert "half of it" in look.inner_text("pre")
    with sessions.begin() as session:
        runs.fail(session, held, "its images went", "the end")
    look.get_by_text("its images went").wait_for(timeout=30_000)
    assert look.get_by_role("button", name="Cancel this run").count() == 0
    assert said == []
