"""Looking inspections up: filters, pages, prefixes, details."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import history, inspections, results
from db.ids import uuid7
from db.matching import Filter, newest_ids
from db.tables import Inspection, Review

Accept = Callable[..., list[UUID]]
NewInspection = Callable[..., inspections.NewInspection]
NewResult = Callable[..., results.NewResult]


def test_pages_neither_overlap_nor_shift_while_inspections_arrive(
    sessions: sessionmaker[Session], accepted: Accept
) -> None:
    there = accepted(25)
    seen: list[UUID] = []
    after = None
    while True:
        with sessions() as session:
            page = history.search(session, Filter(), 10, after)
        if not page:
            break
        seen += [row.id for row in page]
        after = page[-1].id
        accepted(7)  # newer ones arrive between two pages
    assert seen == there[::-1]


def test_filters_narrow_and_combine(
    sessions: sessionmaker[Session],
    accepted: Accept,
    new_inspection: NewInspection,
    new_result: NewResult,
    model_version: str,
) -> None:
    noon, hour = new_inspection().captured_at, timedelta(hours=1)
    ok, ng, error = (accepted(serial=serial, lot="A", line="L1")[0] for serial in ("1", "2", "3"))
    (pending,) = accepted(product="gear", station="s2", lot="B", captured_at=noon + hour)
    judged = {"threshold": 0.5, "model_version": model_version, "error": None}

    def box(area: float) -> dict[str, float]:
        return {"x": 1, "y": 1, "width": 20, "height": 20, "area": area, "peak": 0.8}

    with sessions.begin() as session:
        results.record(
            session,
            [
                new_result(ok, verdict="ok", score=0.2, **judged),
                new_result(ng, verdict="ng", score=0.8, regions=[box(20), box(300)], **judged),
                new_result(error),
            ],
        )
    for wanted, expected in (
        (Filter(), [pending, error, ng, ok]),
        (Filter(product="tile"), [error, ng, ok]),
        (Filter(station="s2"), [pending]),
        (Filter(line="L1"), [error, ng, ok]),
        (Filter(serial="2"), [ng]),
        (Filter(lot="A", verdict="ok"), [ok]),
        (Filter(verdict="error"), [error]),
        (Filter(verdict="pending"), [pending]),
        (Filter(since=noon + hour), [pending]),
        (Filter(until=noon + hour), [error, ng, ok]),
        (Filter(since=noon, until=noon), []),
        (Filter(model_version=model_version), [ng, ok]),
        (Filter(min_score=0.8), [ng]),
        (Filter(max_score=0.5), [ok]),
        (Filter(min_score=0.2, max_score=0.8, verdict="ng"), [ng]),
        (Filter(product="gear", verdict="ok"), []),
        (Filter(product="tile", min_score=0.1), [ng, ok]),
        (Filter(product="tile", verdict="pending"), []),
        (Filter(min_defect_area=300), [ng]),
        (Filter(min_defect_area=21, max_defect_area=299), []),
        (Filter(max_defect_area=300, lot="A"), [ng]),
    ):
        with sessions() as session:
            assert [row.id for row in history.search(session, wanted, 10)] == expected, wanted
            assert [row.id for row in history.stream(session, wanted)] == expected, wanted


def test_a_row_says_what_is_known(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult
) -> None:
    judged, pending = accepted(2, serial="77")
    with sessions.begin() as session:
        results.record(session, [new_result(judged)])
    with sessions() as session:
        first, second = history.search(session, Filter(serial="77"), 10)
    assert (first.id, first.verdict, first.judged_at, first.regions) == (pending, None, None, [])
    assert (second.id, second.verdict, second.error) == (judged, "error", "grey where colour was learnt")


def test_streaming_gives_more_than_it_fetches_at_once(
    sessions: sessionmaker[Session], accepted: Accept
) -> None:
    there = accepted(history.ROWS_AT_ONCE + 3)
    with sessions() as session:
        assert [row.id for row in history.stream(session, Filter())] == there[::-1]


def test_the_detail_has_verdict_map_and_reviews(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult, new_inspection: NewInspection
) -> None:
    (id_,) = accepted()
    map_ = results.NewMap(bits=8, low=0, high=1, width=1, height=1, data=b"png", sha256="c" * 64)
    with sessions.begin() as session:
        bare = history.inspection(session, id_)
        assert (bare.result, bare.map, bare.reviews) == (None, None, [])
        results.record(session, [new_result(id_, map=map_)])
        noon = new_inspection().captured_at
        for verdict in ("overrule", "confirm"):
            noon += timedelta(seconds=1)
            review = Review(
                id=uuid7(noon), inspection_id=id_, verdict=verdict, reviewer="ada", created_at=noon
            )
            session.add(review)
    with sessions() as session:
        detail = history.inspection(session, id_)
    assert detail.inspection.id == id_
    assert detail.result is not None
    assert detail.map is not None
    assert (detail.result.verdict, detail.map.data) == ("error", b"png")
    assert [review.verdict for review in detail.reviews] == ["overrule", "confirm"]


def test_an_unknown_inspection_is_named(sessions: sessionmaker[Session]) -> None:
    id_ = uuid4()
    with pytest.raises(history.UnknownInspectionError, match=str(id_)), sessions() as session:
        history.inspection(session, id_)


def test_a_prefix_finds_what_begins_with_it(
    sessions: sessionmaker[Session], accepted: Accept, new_inspection: NewInspection
) -> None:
    noon = new_inspection().captured_at
    first, second = (accepted(id=uuid7(noon + timedelta(hours=hour), bytes(10)))[0] for hour in (0, 1))
    with sessions() as session:
        assert history.find(session, str(first)) == [first]
        assert history.find(session, str(first)[:9]) == [first]
        assert history.find(session, first.hex[:9].upper()) == [first]
        assert history.find(session, first.hex[:3]) == [second, first]
        assert history.find(session, first.hex[:3], limit=1) == [second]
        assert history.find(session, "ffff") == []
        for nonsense in ("", "xyz", "%", first.hex + "0"):
            with pytest.raises(ValueError, match="can't begin"):
                history.find(session, nonsense)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (Filter(late=True), "ix_results_late"),
        (Filter(model_version="v"), "ix_results_model_version_inspection_id"),
    ],
)
def test_what_few_have_is_found_by_index_in_the_order_of_time(
    sessions: sessionmaker[Session], asked: Filter, index: str
) -> None:
    with sessions() as session:
        query = newest_ids(session, asked).limit(50)
        sql = str(query.compile(session.connection(), compile_kwargs={"literal_binds": True}))
        steps = [row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}")]
    assert len(steps) == 1  # nothing is sorted
    assert index in steps[0]


def test_pages_go_back_and_neighbours_are_of_the_same_station(
    sessions: sessionmaker[Session], accepted: Accept
) -> None:
    there = accepted(9)
    elsewhere = accepted(1, station="s9")
    there += accepted(1)
    with sessions() as session:
        page = history.search(session, Filter(), 3, before=there[4])
        assert [row.id for row in page] == there[7:4:-1]
        (part,) = session.scalars(select(Inspection).where(Inspection.id == there[8]))
        assert history.neighbours(session, part) == (there[7], there[9])
        (alone,) = session.scalars(select(Inspection).where(Inspection.id == elsewhere[0]))
        assert history.neighbours(session, alone) == (None, None)
