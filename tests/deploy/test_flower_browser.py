"""Flower as a person meets it: in Chromium, with the name and password of the secret file."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

SHOTS = os.environ.get("PYRAMIDION_SCREENSHOTS")


def _chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    reason = "no Chromium: nobody looks at Flower. Install it: sudo apt-get install chromium"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.mark.browser
def test_flower_shows_the_workers_after_the_login(plant: Any) -> None:
    from playwright.sync_api import sync_playwright

    chromium = _chromium()
    plant.start("redis")
    plant.wait_until(lambda: plant.answers("redis"), "redis to listen")
    migrated = plant.run("migrate")  # a worker refuses a database that nobody has set up
    assert migrated.returncode == 0, migrated.stderr
    plant.start("housekeeping", "flower")
    plant.wait_until(lambda: plant.check_health("housekeeping").returncode == 0, "the worker to answer")
    plant.wait_until(lambda: plant.check_health("flower").returncode == 0, "Flower to answer")
    address = f"http://127.0.0.1:{plant.ports['flower']}/workers"
    name, _, password = plant.secret("flower_auth").partition(":")
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs a user that is not root.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        try:
            stranger = browser.new_context(
                http_credentials={"username": name, "password": "guess"}
            ).new_page()
            answer = stranger.goto(address)
            assert answer is not None
            assert answer.status == 401
            assert "housekeeping" not in stranger.content()

            page = browser.new_context(http_credentials={"username": name, "password": password}).new_page()
            page.goto(address)
            row = page.locator("#workers-table tbody tr", has_text="housekeeping-")
            row.wait_for(timeout=30_000)
            assert "Online" in row.inner_text()
            if SHOTS:
                page.screenshot(path=Path(SHOTS) / "flower.png")
        finally:
            browser.close()
