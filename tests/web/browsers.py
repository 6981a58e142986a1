"""A real Chromium, as the system has it."""

import os
import shutil
from typing import Final

from playwright.sync_api import Browser, Page, Playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


def find() -> str | None:
    """Give its path, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def launch(playwright: Playwright) -> Browser:
    """Start it without a window; raises RuntimeError where there is none."""
    found = find()
    if found is None:
        raise RuntimeError(f"none of {', '.join(NAMES)} is here: apt-get install chromium")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=found, args=flags)


def log_in(page: Page, name: str, password: str) -> None:
    """Fill in the form of /login, which the browser shows."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
