"""A wall in a real browser: it changes by itself, comes back by itself, and says when it is not live."""

import socket
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from db.ids import uuid7
from db.settings import DatabaseSettings
from web.app import create_app
from web.server import Server
from web.settings import WebSettings

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]
HOSTILE = "<img src=x onerror=alert(1)>"


class Served:
    """The page on a port that stays, to be stopped and started again."""

    def __init__(self, database: DatabaseSettings) -> None:
        self._database = database
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def start(self) -> None:
        self.server = Server(create_app(WebSettings(), self._database), port=self.port)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started and time.monotonic() < deadline:
            time.sleep(0.02)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(8)
        assert not self.thread.is_alive()


def part(plant: Any, **facts: Any) -> Any:
    at = datetime.now(UTC)
    return plant.accept(
        **{"id": uuid7(at), "captured_at": at, "received_at": at, "line": "A", "serial": HOSTILE, **facts}
    )


def test_a_wall_changes_and_comes_back_by_itself(
    browser: Browser, database: DatabaseSettings, plant: Any
) -> None:
    old = part(plant)
    plant.judge(old, "ok")
    served = Served(database)
    served.start()
    page: Page = browser.new_page(viewport={"width": 1280, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append("a dialog"))
    page.goto(f"http://127.0.0.1:{served.port}/live/A")
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator(".tile .picture img")).to_have_count(1)
    marked = page.locator(f'a[data-key="{old}"]')
    marked.evaluate("one => { one.wasHere = true; one.focus(); }")

    bad = part(plant)
    waits = page.locator(f'[data-block="stations"] a[data-key="{bad}"]')
    expect(waits).to_contain_text("pending", timeout=8000)
    plant.judge(bad, "ng", judged_at=datetime.now(UTC))
    rejected = page.locator(f'[data-block="rejected"] a[data-key="{bad}"]')
    expect(rejected).to_contain_text("ng", timeout=8000)
    expect(waits).to_contain_text("ng")
    expect(rejected).to_contain_text(HOSTILE)
    expect(rejected.locator("img")).to_have_js_property("complete", True, timeout=8000)
    assert rejected.locator("img").evaluate("one => one.naturalWidth") > 100
    assert page.locator('[data-block="stations"] .tile').count() == 2
    assert marked.evaluate("one => one.wasHere && document.activeElement === one")  # what is the same stays

    served.stop()
    expect(page.locator("#state")).to_contain_text("Not live", timeout=15_000)
    expect(page.locator("#live")).to_have_class("stale")
    assert [one for one in said if "ERR_CONNECTION" not in one and "net::" not in one] == []
    plant.judge(part(plant, serial="while it was away"), "inconclusive")
    served.start()
    expect(page.locator('[data-block="rejected"]')).to_contain_text("while it was away", timeout=15_000)
    expect(page.locator("#state")).to_have_text("live")
    page.close()
    served.stop()
