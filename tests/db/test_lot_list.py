"""Which lots there are: read out of the inspections in two ways, which have to say the same."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session, sessionmaker

from db import inspections, lot_list, models
from db.ids import uuid7

START = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
# By time of capture; a lot goes on after others have begun, and one is of two products.
CAPTURED = [
    ("L1", "tile"),
    ("L2", "tile"),
    ("L1", "tile"),
    ("Lß/3", "plate"),
    ("L2", "tile"),
    (None, "tile"),
    ("l1", "plate"),
    ("L10", "tile"),
    ("Lß/3", "tile"),
    ("M", "plate"),
    ("L1", "tile"),
]
NEWEST_FIRST = ["L1", "M", "Lß/3", "L10", "l1", "L2"]


@pytest.fixture
def captured(sessions: sessionmaker[Session]) -> list[UUID]:
    new = [
        inspections.NewInspection(
            uuid7(at), product, "s1", None, None, lot, at, at, "a" * 64, "aa/aa", 1, 1, 1, "PNG"
        )
        for number, (lot, product) in enumerate(CAPTURED)
        for at in [START + timedelta(seconds=number)]
    ]
    with sessions.begin() as session:
        for product in ("tile", "plate"):
            models.ensure_product(session, product)
        inspections.accept(session, new)
    return [one.id for one in new]


@pytest.fixture(params=["by time", "by name", "by both"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by name":
        monkeypatch.setattr(lot_list, "_by_time", lambda *_, **__: None)
    if request.param == "by both":  # a row at a time, two at first; of three names nothing is heard at first
        few = {"sqlite": 2, "postgresql": 2}
        for name, value in (("_AT_ONCE", 1), ("_FEW_ROWS", few), ("_MANY_ROWS", 4), ("_FEW_NAMES", 3)):
            monkeypatch.setattr(lot_list, name, value)


def names(sessions: sessionmaker[Session], limit: int = 100, **wanted: Any) -> list[str]:
    with sessions() as session:
        return [one.lot for one in lot_list.newest(session, limit, **wanted)]


def test_the_lot_that_was_captured_last_comes_first(
    captured: list[UUID], sessions: sessionmaker[Session], way: None
) -> None:
    assert names(sessions) == NEWEST_FIRST
    assert names(sessions, product="plate") == ["M", "l1", "Lß/3"]
    assert names(sessions, begins="L1") == ["L1", "L10"]
    assert names(sessions, begins="Lß/") == ["Lß/3"]
    assert names(sessions, product="plate", begins="L") == ["Lß/3"]
    for nothing in ({"begins": "%"}, {"begins": "L_"}, {"begins": "zz"}, {"product": "none"}):
        assert names(sessions, **nothing) == []


@pytest.mark.parametrize("product", [None, "tile"])
def test_pages_neither_overlap_nor_leave_out(
    captured: list[UUID], sessions: sessionmaker[Session], way: None, product: str | None
) -> None:
    pages: list[str] = []
    after = None
    with sessions() as session:
        while page := lot_list.newest(session, 2, product, None, after):
            pages += [one.lot for one in page]
            after = page[-1].last
    assert pages == names(sessions, product=product)
    assert len(set(pages)) == len(pages)


def test_verdicts_are_those_of_the_newest_parts(
    captured: list[UUID], sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions() as session:
        first = lot_list.newest(session, 1)[0]
    assert (first.verdicts, first.is_all, first.product) == ({"pending": 3}, True, "tile")
    assert first.last_captured_at == START + timedelta(seconds=10)
    monkeypatch.setattr(lot_list, "COUNTED", 2)
    with sessions() as session:
        assert not lot_list.newest(session, 1)[0].is_all
