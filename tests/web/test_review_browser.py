"""Reviewing by keyboard alone, in a real browser."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page

from db import review_claims, reviews
from db.settings import DatabaseSettings

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]
PASSWORD = "correct horse: battery"  # of the fixture `account`


@pytest.fixture
def ada(
    database: DatabaseSettings, serve: Callable[..., str], account: Callable[..., None], browser: Browser
) -> Page:
    """A browser in which ada, an inspector, is logged in."""
    address = serve(database)
    account("ada", "inspector")
    page = browser.new_context(base_url=address, viewport={"width": 1280, "height": 900}).new_page()
    page.goto("/login")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/")
    return page


def said(plant: Any, id_: UUID) -> list[tuple[str, str | None, str | None]]:
    with plant.sessions() as session:
        return [(one.verdict, one.reason_code, one.reason) for one in reviews.of(session, id_)]


def is_held(plant: Any, id_: UUID) -> bool:
    with plant.sessions() as session:
        return review_claims.holder_of(session, id_) is not None


def wait_for(page: Page, id_: UUID) -> None:
    page.wait_for_selector(f'#part[data-id="{id_}"]')


def test_parts_are_reviewed_by_keyboard_alone(ada: Page, plant: Any) -> None:
    first, second, third, fourth = (plant.inspect(one) for one in ("ng", "ng", "inconclusive", "ng"))
    complained: list[str] = []
    ada.on("console", lambda message: complained.append(message.text))
    ada.on("pageerror", lambda error: complained.append(str(error)))
    with ada.expect_response(f"**/inspections/{second}/overlay.png"):  # fetched before it is asked for
        ada.goto("/review")
    wait_for(ada, first)
    ada.keyboard.press("c")
    wait_for(ada, second)
    assert said(plant, first) == [("confirm", None, None)]
    assert ada.locator("#told").inner_text() == "T-0001: confirm, saved."
    ada.keyboard.press("o")
    assert "choose the reason by its digit" in ada.locator("#told").inner_text()
    assert said(plant, second) == []
    ada.keyboard.press("4")
    wait_for(ada, third)
    assert said(plant, second) == [("overrule", "lighting", None)]
    ada.keyboard.press("7")  # other, which takes words
    ada.keyboard.press("i")
    ada.keyboard.type("half of it is dark")  # and the letters in it are no keys
    ada.keyboard.press("Enter")
    wait_for(ada, fourth)
    assert said(plant, third) == [("inconclusive", "other", "half of it is dark")]
    ada.keyboard.press("u")
    wait_for(ada, third)
    ada.keyboard.press("c")
    wait_for(ada, fourth)
    assert [one[0] for one in said(plant, third)] == ["inconclusive", "confirm"]
    ada.keyboard.press("b")
    wait_for(ada, third)
    ada.keyboard.press("s")
    wait_for(ada, fourth)
    with plant.sessions.begin() as session:  # somebody else, meanwhile
        reviews.record(session, fourth, "overrule", "bob", "defect")
    ada.keyboard.press("c")
    ada.wait_for_selector(".review .said:has-text('bob said overrule (defect)')")
    assert len(said(plant, fourth)) == 1
    complained = [one for one in complained if "409" not in one]  # the browser tells of that answer
    ada.keyboard.press("c")
    ada.wait_for_selector("#part.empty")
    assert [one[0] for one in said(plant, fourth)] == ["overrule", "confirm"]
    ada.wait_for_selector("[data-count=any]:text-is('0')")
    assert complained == []


def test_a_password_is_asked_for_and_leaving_frees_the_part(
    ada: Page, plant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "overrule")
    first, second = plant.inspect("ng"), plant.inspect("ng")
    ada.goto("/review")
    wait_for(ada, first)
    ada.keyboard.press("2")
    ada.keyboard.press("o")
    ada.keyboard.type("not her password")
    ada.keyboard.press("Enter")
    ada.wait_for_selector(".review .said:has-text('password is wrong')")
    ada.keyboard.type(PASSWORD)
    ada.keyboard.press("o")  # a letter of the password, since it is typed there
    assert said(plant, first) == []
    ada.keyboard.press("Backspace")
    ada.keyboard.press("Enter")
    wait_for(ada, second)
    assert said(plant, first) == [("overrule", "false_alarm", None)]
    assert is_held(plant, second)
    ada.goto("/account")
    deadline = time.monotonic() + 10
    while is_held(plant, second):
        assert time.monotonic() < deadline, "leaving freed nothing"
        time.sleep(0.05)


def test_the_same_keys_review_a_part_on_its_own_page(ada: Page, plant: Any) -> None:
    part = plant.inspect("ok")
    ada.goto(f"/inspections/{part}")
    ada.keyboard.press("o")
    ada.keyboard.press("1")
    ada.wait_for_selector("text=overrule by ada (defect)")
    assert said(plant, part) == [("overrule", "defect", None)]
