"""What inspections are made of, and how production goes over time."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session, sessionmaker

from db import results
from db.facets import facets
from db.ids import uuid7
from db.matching import Filter
from db.tables import Review
from db.trends import Figures, InvalidShiftsError, _period, trend

Accept = Callable[..., list[UUID]]
NewResult = Callable[..., results.NewResult]
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def judged(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult, model_version: str
) -> Callable[..., list[UUID]]:
    """Accept inspections with these verdicts, None for pending; give their ids."""

    def make(verdicts: list[str | None], **changes: object) -> list[UUID]:
        ids = accepted(len(verdicts), **changes)
        found = {"score": 0.4, "threshold": 0.5, "model_version": model_version, "error": None}
        with sessions.begin() as session:
            results.record(
                session,
                [
                    new_result(id_) if said == "error" else new_result(id_, verdict=said, **found)
                    for id_, said in zip(ids, verdicts, strict=True)
                    if said is not None
                ],
            )
        return ids

    return make


@pytest.fixture
def review(sessions: sessionmaker[Session]) -> Callable[[UUID, str], None]:
    def say(id_: UUID, verdict: str) -> None:
        now = datetime.now(UTC)
        with sessions.begin() as session:
            session.add(
                Review(id=uuid7(now), inspection_id=id_, verdict=verdict, reviewer="ada", created_at=now)
            )

    return say


def test_facets_count_each_value_and_say_when_there_is_more(
    sessions: sessionmaker[Session], judged: Callable[..., list[UUID]], model_version: str
) -> None:
    judged(["ok", "ok", "ng"], lot="A", line="L1")
    judged(["error", None], lot="B")
    judged(["ok"], product="gear", station="s2")
    with sessions() as session:
        all_ = facets(session, Filter())
        some = facets(session, Filter(product="tile", lot="A"))
        cut = facets(session, Filter(), most=3)
    assert (all_.counted, all_.complete) == (6, True)
    assert all_.values["verdict"] == {"ok": 3, "error": 1, "ng": 1, "pending": 1}
    assert all_.values["lot"] == {"A": 3, "B": 2, None: 1}
    assert all_.values["line"] == {None: 3, "L1": 3}
    assert all_.values["model_version"] == {model_version: 4, None: 2}
    assert list(all_.values["product"].items()) == [("tile", 5), ("gear", 1)]  # the most frequent first
    assert (some.counted, some.values["verdict"]) == (3, {"ok": 2, "ng": 1})
    assert (cut.counted, cut.complete) == (3, False)


def test_figures_add_up_and_newest_reviews_make_the_rates(
    sessions: sessionmaker[Session],
    judged: Callable[..., list[UUID]],
    review: Callable[[UUID, str], None],
) -> None:
    ids = judged(["ok", "ok", "ok", "ng", "ng", "inconclusive", "error", None], lot="A")
    judged(["ng"], lot="B")
    review(ids[0], "confirm")
    review(ids[1], "confirm")
    review(ids[1], "overrule")  # a change of mind: it escaped
    review(ids[3], "overrule")
    review(ids[4], "inconclusive")
    with sessions() as session:
        (period,) = trend(session, Filter(lot="A"), "day")
        assert trend(session, Filter(lot="C"), "day") == []
    found, nothing = period.figures, Figures()
    assert (found.captured, found.judged, found.error, found.pending) == (8, 6, 1, 1)
    assert found.captured == found.judged + found.error + found.pending
    assert found.first_pass_yield == 3 / 7
    assert (found.reviewed_ok, found.escapes, found.escape_rate) == (2, 1, 0.5)
    assert (found.reviewed_ng, found.false_rejects, found.false_reject_rate) == (1, 1, 1.0)
    assert (nothing.captured, nothing.first_pass_yield, nothing.escape_rate) == (0, None, None)


def test_reviewed_states_can_be_asked_for(
    sessions: sessionmaker[Session],
    judged: Callable[..., list[UUID]],
    review: Callable[[UUID, str], None],
) -> None:
    from db import history

    confirmed, changed, untouched = judged(["ng", "ng", "ng"])
    review(confirmed, "confirm")
    review(changed, "confirm")
    review(changed, "overrule")
    with sessions() as session:
        for asked, expected in (
            ("confirm", [confirmed]),
            ("overrule", [changed]),
            ("unreviewed", [untouched]),
            ("inconclusive", []),
        ):
            assert [row.id for row in history.search(session, Filter(reviewed=asked), 9)] == expected


def test_hours_shifts_and_days_are_those_of_the_plant(
    sessions: sessionmaker[Session], judged: Callable[..., list[UUID]]
) -> None:
    def at(day: int, hour: int, minute: int = 0) -> datetime:
        return datetime(2026, 3, day, hour, minute, tzinfo=BERLIN)

    for moment, verdicts in (
        (at(27, 21, 59), ["ok"]),  # late shift
        (at(27, 22), ["ng"]),  # night
        (at(28, 5, 45), ["ok", None]),  # the same night
        (at(29, 6), ["ok"]),  # the clock went forward in the night before
    ):
        judged(verdicts, captured_at=moment)
    with sessions() as session:
        hours = trend(session, Filter(), "hour", BERLIN)
        shifts = trend(session, Filter(), "shift", BERLIN)
        days = trend(session, Filter(), "day", BERLIN)
        one = trend(session, Filter(), "shift", BERLIN, [time(6)])
    assert [period.begin for period in hours] == [at(27, 21), at(27, 22), at(28, 5), at(29, 6)]
    assert [(p.begin, p.figures.captured) for p in shifts] == [
        (at(27, 14), 1),
        (at(27, 22), 3),
        (at(29, 6), 1),
    ]
    assert shifts[1].end == at(28, 6)
    assert [(p.begin, p.figures.captured) for p in days] == [(at(27, 0), 2), (at(28, 0), 2), (at(29, 0), 1)]
    assert days[2].end.astimezone(UTC) - days[2].begin.astimezone(UTC) == timedelta(hours=23)
    assert [period.begin for period in one] == [at(27, 6), at(29, 6)]
    assert shifts[1].figures.first_pass_yield == 0.5


@given(
    at=st.integers(0, 4 * 366 * 96).map(
        lambda n: datetime(2024, 1, 1, tzinfo=UTC) + n * timedelta(minutes=15)
    ),
    by=st.sampled_from(["hour", "shift", "day"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"]),
)
def test_every_moment_lies_in_its_period(at: datetime, by: str, zone: str) -> None:
    begin, end = _period(at, by, ZoneInfo(zone), [time(6), time(14), time(22)])  # type: ignore[arg-type]
    assert begin.astimezone(UTC) <= at < end.astimezone(UTC)
    assert end.astimezone(UTC) - begin.astimezone(UTC) <= timedelta(hours=25)


@pytest.mark.parametrize("shifts", [[], [time(6, 10)], [time(6, 0, 1)]])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_shifts_that_divide_no_day_are_refused(sessions: sessionmaker[Session], shifts: list[time]) -> None:
    with sessions() as session, pytest.raises(InvalidShiftsError, match="such as 06:00"):
        trend(session, Filter(), "shift", UTC, shifts)
