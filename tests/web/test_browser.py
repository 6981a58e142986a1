"""The page in a real browser, with scripts switched off."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="dark", java_script_enabled=False
    )
    yield context.new_page()
    context.close()


def test_from_the_list_to_a_defect_drawn_on_its_image(
    browser_page: Page, page: httpx.Client, plant: Any
) -> None:
    plant.inspect("ok")
    bad = plant.inspect("ng", serial="<b>T</b>-77")
    plant.inspect("ok")
    asked, said = [], []
    browser_page.on("request", lambda request: asked.append(request.url))
    browser_page.on("console", lambda message: said.append(message.text))

    browser_page.goto(str(page.base_url))
    browser_page.get_by_label("Verdict").select_option("ng")
    browser_page.get_by_role("button", name="Filter").click()
    rows = browser_page.locator("tbody tr")
    assert rows.count() == 1
    assert "<b>T</b>-77" in rows.inner_text()
    rows.get_by_role("link").click()
    browser_page.wait_for_url(f"**/inspections/{bad}", wait_until="load")

    shown = Image.open(io.BytesIO(browser_page.locator("#overlay").screenshot())).convert("RGB")
    red, green, blue = (np.asarray(shown)[..., channel].astype(int) for channel in range(3))
    hot = ((red > green + 40) & (blue > green)).nonzero()
    share = hot[0].size / red.size
    assert 0.01 < share < 0.1  # the map's region covers about a thirtieth of the picture
    assert hot[0].mean() / red.shape[0] == pytest.approx(50 / 120, abs=0.05)
    assert said == []  # nothing was blocked by the policy, nothing is missing
    assert [url for url in asked if not url.startswith(str(page.base_url).rstrip("/"))] == []
