"""Looking closely at a part in a real browser: what the map, the boxes and the zoom do to the pixels."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]
Pixels = npt.NDArray[np.int64]


@pytest.fixture
def opened(browser: Browser, page: httpx.Client, plant: Any) -> Iterator[Page]:
    """The page of a defect whose region lies between (60, 40) and (90, 60) of 160 x 120 pixels."""
    bad = plant.inspect("ng")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    shown = context.new_page()
    said: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.goto(f"{page.base_url}/inspections/{bad}", wait_until="networkidle")
    yield shown
    assert said == []
    context.close()


def pixels(page: Page, what: str) -> Pixels:
    shot = Image.open(io.BytesIO(page.locator(what).screenshot())).convert("RGB")
    return np.asarray(shot).astype(np.int64)


def hot(found: Pixels) -> float:
    """The share of pixels that are as red as no grey part is."""
    return float((found[..., 0] > found[..., 1] + 25).mean())


def cut(page: Page, what: str) -> list[float]:
    return [float(number) for number in (page.locator(what).get_attribute("viewBox") or "").split()]


def test_map_and_boxes_lie_over_the_image_as_far_as_wanted(opened: Page) -> None:
    assert hot(pixels(opened, "#overlay")) == pytest.approx(30 * 20 / (160 * 120), abs=0.01)
    assert hot(pixels(opened, "#captured")) == 0
    centre = {}
    for percent in ("100", "50", "0"):
        opened.get_by_label("Map", exact=True).fill(percent)
        found = pixels(opened, "#overlay")
        y, x = found.shape[0] * 50 // 120, found.shape[1] * 75 // 160
        centre[percent] = found[y, x]
    captured = pixels(opened, "#captured")[y, x]
    assert abs(centre["0"] - captured).max() <= 3
    away = {percent: abs(one - captured).sum() for percent, one in centre.items()}
    assert away["100"] > away["50"] + 40 > away["0"] + 80
    assert (abs(pixels(opened, "#overlay") - pixels(opened, "#captured")) > 60).any()
    opened.get_by_label("Boxes").uncheck()
    assert not (abs(pixels(opened, "#overlay") - pixels(opened, "#captured")) > 60).any()
    opened.reload(wait_until="networkidle")  # whoever looks at many parts sets it once
    assert opened.get_by_label("Map", exact=True).input_value() == "0"


def test_zoom_and_pan_go_in_step_over_image_and_overlay(opened: Page) -> None:
    whole = pixels(opened, "#captured")
    box = opened.locator("#overlay").bounding_box()
    assert box
    x, y = box["x"] + box["width"] * 75 / 160, box["y"] + box["height"] * 50 / 120
    opened.mouse.move(x, y)
    for _ in range(6):
        opened.mouse.wheel(0, -100)
    opened.wait_for_function("document.querySelector('#zoom').value.startsWith('4.8')")
    left, top, width, height = cut(opened, "#overlay")
    assert cut(opened, "#captured") == [left, top, width, height]
    assert (width, height) == (pytest.approx(160 / 1.3**6), pytest.approx(120 / 1.3**6))
    at = left + width * 75 / 160, top + height * 50 / 120  # what lay under the pointer lies there still
    assert at == (pytest.approx(75, abs=1), pytest.approx(50, abs=1))
    assert hot(pixels(opened, "#overlay")) > 30 * 20 / (width * height)  # blurred by a map of 40 x 30
    assert abs(pixels(opened, "#captured") - whole).mean() > 10

    opened.mouse.down()
    opened.mouse.move(x + 60, y, steps=3)
    opened.mouse.up()
    moved = cut(opened, "#captured")
    assert moved[0] == pytest.approx(left - 60 * width / box["width"], abs=0.5)
    assert cut(opened, "#overlay") == moved

    opened.keyboard.press("+")
    assert cut(opened, "#captured")[2] == pytest.approx(width / 1.3)
    opened.locator("#viewer").focus()
    opened.keyboard.press("ArrowDown")
    assert cut(opened, "#captured")[1] > top
    opened.keyboard.press("-")
    opened.keyboard.press("0")
    assert cut(opened, "#captured") == cut(opened, "#overlay") == [0, 0, 160, 120]
    opened.get_by_label("Zoom in").click()
    assert cut(opened, "#overlay")[2] == pytest.approx(160 / 1.3)
    opened.get_by_role("button", name="Whole part").click()
    opened.get_by_label("Find a part").press_sequentially("T-+0")  # what is typed zooms nothing
    assert cut(opened, "#overlay") == [0, 0, 160, 120]


def test_a_missed_part_is_found_by_its_serial(browser: Browser, page: httpx.Client, plant: Any) -> None:
    for _ in range(3):
        plant.inspect("ok")
    missed = plant.inspect("ok", serial="SN-77-0042")
    plant.inspect("ok")
    shown = browser.new_page()
    shown.goto(f"{page.base_url}/?verdict=ng")
    shown.get_by_label("Find a part").fill("sn-77-0042")
    shown.keyboard.press("Enter")
    shown.wait_for_url(f"**/inspections/{missed}")
    assert "SN-77-0042" in shown.locator("h1").inner_text()
    shown.close()
