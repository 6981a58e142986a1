"""A shift in a browser: the line runs, a defect is found, reviewed, audited and exported."""

import csv
import hashlib
import io
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from capture.simulator import GOOD, SimulatedLine
from db import models
from db.tables import Event, Inspection, ModelAlias, Result
from tests.web.browsers import log_in

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]
PASSWORD = "correct horse: battery"  # of the fixture `account`
LOT = "L 7/<i>b</i>"
PROMOTED = "beside the old one for a week"


@pytest.fixture
def line(tmp_path: Path) -> Path:
    """A folder that a camera fills: nothing yet, but what there is to come beside it."""
    simulated = SimulatedLine(seed=3, size=96)
    for folder, count, first, defect in (
        ("good", 40, 0, GOOD),
        ("parts", 2, 100, GOOD),
        ("bad", 2, 200, "missing"),
    ):
        (tmp_path / folder).mkdir()
        for index in range(count):
            data = simulated.encode(simulated.part(first + index, defect))
            (tmp_path / folder / f"{folder}-{index}.png").write_bytes(data)
    (tmp_path / "line").mkdir()
    return tmp_path


@pytest.fixture
def plant_runs(
    use_broker: Any, sessions: sessionmaker[Session], processes: Any, wait: Any, line: Path, tmp_path: Path
) -> str:
    """A model, a worker, a camera that watches a folder, and the page, each a process; gives its address."""
    train = (
        "train",
        "flange",
        "--images",
        str(line / "good"),
        "--size",
        "96",
        "--epochs",
        "2",
        "--augment",
        "none",
    )
    assert processes(*train).wait(100) == 0
    processes("worker", log=tmp_path / "worker.log")
    words = (
        "--product",
        "flange",
        "--station",
        "cam-1",
        "--line",
        "line 1",
        "--lot",
        LOT,
        "--serial-from-name",
    )
    processes("capture", str(line / "line"), *words, "--watch", log=tmp_path / "capture.log")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes("serve", "--port", str(port), log=tmp_path / "serve.log")
    wait(lambda: _answers(port), "the page", 60)
    return f"http://127.0.0.1:{port}"


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def enter(browser: Browser, plant_runs: str, account: Callable[..., None]) -> Callable[..., Page]:
    """Open the page as somebody with these roles."""

    def come_in(name: str, *granted: str) -> Page:
        account(name, *granted)
        context = browser.new_context(base_url=plant_runs, accept_downloads=True)
        page = context.new_page()
        page.goto("/login")
        log_in(page, name, PASSWORD)
        page.wait_for_url("**/")
        return page

    return come_in


@pytest.mark.timeout(300)  # a training and a dozen processes on two busy cores
def test_a_shift(
    enter: Callable[..., Page], line: Path, sessions: sessionmaker[Session], wait: Any, tmp_path: Path
) -> None:
    inspector = enter("ina", "inspector")
    first, *others = sorted([*(line / "parts").iterdir(), *(line / "bad").iterdir()], reverse=True)
    first.rename(line / "line" / first.name)
    wait(lambda: judged(sessions) == 1, "the first verdict", 90)
    wall = enter("vera", "viewer")
    wall.goto("/live/line 1")
    for file in others:
        file.rename(line / "line" / file.name)
    wall.get_by_text("bad-1").first.wait_for(timeout=90_000)  # pushed: nobody has loaded it anew
    wait(lambda: judged(sessions) == 4, "four verdicts", 60)

    inspector.goto("/?" + urlencode({"lot": LOT}))
    inspector.locator(".filters select[name=verdict]").select_option("ng")
    inspector.get_by_role("button", name="Filter").first.click()
    rows = inspector.locator("table.list tbody tr")
    assert rows.count() >= 2
    assert LOT in rows.first.inner_text()
    with inspector.expect_download() as export:
        inspector.get_by_role("link", name="CSV").click()
    exported = csv.DictReader(io.StringIO(export.value.path().read_text(encoding="utf-8")))
    with sessions() as session:
        kept = select(Inspection.id).join(Result, Result.inspection_id == Inspection.id)
        kept = kept.where(Inspection.lot == LOT, Result.verdict == "ng")
        assert {row["id"] for row in exported} == {str(id_) for id_ in session.scalars(kept)}

    inspector.get_by_label("Find a part").fill("bad-0")
    inspector.get_by_label("Find a part").press("Enter")
    inspector.wait_for_url(re.compile("/inspections/"))
    defect = inspector.url.rpartition("/")[2]
    shown = inspector.locator(".pictures, .viewer").first.screenshot()
    pixels = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(int)
    assert (np.abs(pixels[..., 0] - pixels[..., 2]) > 40).sum() > 50, "a map in colours over a grey part"
    inspector.keyboard.press("c")
    wait(lambda: reviewed(sessions, defect), "the review", 20)

    auditor = enter("aude", "auditor")
    auditor.goto(f"/audit?subject={defect}")
    assert "review.made" in auditor.locator("table.events").inner_text()
    assert "ina" in auditor.locator("table.events").inner_text()

    engineer = enter("enno", "engineer")
    version = challenger(sessions)
    engineer.goto("/models?product=flange")
    engineer.get_by_text("Promote the challenger").click()
    form = engineer.locator("form[action='/models/promote']")
    form.get_by_label(re.compile("why|reason", re.IGNORECASE)).fill(PROMOTED)
    form.get_by_label(re.compile("password", re.IGNORECASE)).fill(PASSWORD)
    form.get_by_role("button").click()
    wait(lambda: champion(sessions) == version, "the promotion", 20)
    with sessions() as session:
        event = session.scalars(select(Event).where(Event.kind == "model.promoted")).all()[-1]
    assert (event.actor, event.detail["signature"]["user"], event.detail["why"]) == ("enno", "enno", PROMOTED)

    admin = enter("adam", "admin")
    for page, allowed, refused in (
        (wall, "/lots", ("/review", "/audit", "/admin")),
        (inspector, "/review", ("/audit", "/admin")),
        (auditor, "/audit/ledger", ("/review", "/admin")),
        (engineer, "/models/runs", ("/audit", "/admin")),
        (admin, "/admin/people", ("/review",)),
    ):
        answer = page.goto(allowed)
        assert answer is not None
        assert answer.status == 200, allowed
        for address in refused:
            answer = page.goto(address)
            assert answer is not None
            assert answer.status == 403, address
            assert "This takes the role" in page.locator("main").inner_text()


def judged(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        return len(session.scalars(select(Result.inspection_id)).all())


def reviewed(sessions: sessionmaker[Session], inspection: str) -> bool:
    with sessions() as session:
        query = select(Event.id).where(Event.kind == "review.made", Event.subject == inspection)
        return session.scalar(query) is not None


def challenger(sessions: sessionmaker[Session]) -> str:
    """Let another version wait in the champion's shadow."""
    with sessions.begin() as session:
        judging = models.champion(session, "flange")
        assert judging is not None
        manifest = judging.manifest.replace('"product":', '"copy": true, "product":', 1)
        assert manifest != judging.manifest

        version = hashlib.sha256(manifest.encode()).hexdigest()
        models.register(session, version, "flange", manifest, judging.weights_sha256, 40)
        models.set_challenger(session, "flange", version, "enno", {"champion": judging.id})
    return version


def champion(sessions: sessionmaker[Session]) -> str:
    with sessions() as session:
        return session.get_one(ModelAlias, ("flange", "champion")).model_version
