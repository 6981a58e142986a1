"""What an auditor asked for, followed in a real browser."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy.orm import Session, sessionmaker

from db import replays
from db.settings import DatabaseSettings
from tests.web.browsers import log_in

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]
PASSWORD = "correct horse: battery"  # of the fixture `account`


def test_the_answer_to_a_replay_comes_by_itself(
    browser: Browser,
    database: DatabaseSettings,
    serve: Callable[..., str],
    account: Callable[..., None],
    plant: Any,
    sessions: sessionmaker[Session],
) -> None:
    id_ = plant.inspect("ng")
    account("aud", "auditor")
    base, page, said = serve(database), browser.new_page(), []
    page.set_default_timeout(30_000)
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{base}/login?next=/inspections/{id_}")
    log_in(page, "aud", PASSWORD)
    page.get_by_role("button", name="Replay the verdict").click()
    expect(page.locator("#replay")).to_contain_text("it waits for a worker", timeout=30_000)
    with sessions.begin() as session:
        (wish,) = replays.waiting(session)
        found = {"equal": True, "model": plant.model, "stored": 0.8, "score": 0.8, "differences": []}
        replays.answer(session, wish, found)
    expect(page.locator("#replay")).to_contain_text("equal, score 0.8000", timeout=30_000)
    expect(page.get_by_role("button", name="Replay the verdict")).to_be_visible()
    assert page.locator("#replay[data-live]").count() == 0
    assert said == []
    page.close()
