"""Accepting, waiting and counting: on both databases, alone and in competition."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from db import inspections, results
from db.tables import Inspection, Station

Accept = Callable[..., list[UUID]]
NewInspection = Callable[..., inspections.NewInspection]
NewResult = Callable[..., results.NewResult]
SECOND = timedelta(seconds=1)


def test_accepting_twice_inserts_once(
    sessions: sessionmaker[Session], accepted: Accept, new_inspection: NewInspection
) -> None:
    accepted()
    first, second, third = (new_inspection(lot="7") for _ in range(3))
    with sessions.begin() as session:
        assert set(inspections.accept(session, [first, second])) == {first.id, second.id}
    with sessions.begin() as session:
        assert inspections.accept(session, [first, third, second]) == [third.id]
    with sessions.begin() as session:
        assert inspections.accept(session, [third, third]) == []
        assert inspections.counts(session, lot="7").accepted == 3


def test_a_repeated_id_keeps_what_was_accepted_first(
    sessions: sessionmaker[Session], accepted: Accept, new_inspection: NewInspection
) -> None:
    (id_,) = accepted(serial="first")
    with sessions.begin() as session:
        inspections.accept(session, [new_inspection(id=id_, serial="second")])
    with sessions() as session:
        assert session.scalars(select(Inspection.serial)).all() == ["first"]


def test_competing_intakes_accept_each_id_once(
    sessions: sessionmaker[Session], accepted: Accept, new_inspection: NewInspection
) -> None:
    accepted()
    for round_ in range(5):
        new = [new_inspection(station=f"s{round_}", lot=f"lot{round_}") for _ in range(200)]
        start = Barrier(2)

        def compete(mine: list[inspections.NewInspection], start: Barrier = start) -> list[UUID]:
            start.wait(10)
            with sessions.begin() as session:
                return inspections.accept(session, mine)

        with ThreadPoolExecutor(2) as pool:
            # The other way round: without an order of their own these two would deadlock on PostgreSQL.
            one, other = pool.submit(compete, new), pool.submit(compete, new[::-1])
            together = one.result(30) + other.result(30)
        assert sorted(together) == sorted(item.id for item in new)


def test_an_unknown_product_is_named_with_the_known_and_nothing_is_inserted(
    sessions: sessionmaker[Session], accepted: Accept, new_inspection: NewInspection
) -> None:
    accepted()
    with (
        pytest.raises(inspections.UnknownProductError, match=r"'gear' \(known: tile\).*`pyramidion train "),
        sessions.begin() as session,
    ):
        inspections.accept(session, [new_inspection(station="new"), new_inspection(product="gear")])
    with sessions() as session:
        assert inspections.counts(session).accepted == 1
        assert session.scalars(select(Station.name)).all() == ["s1"]


@pytest.mark.parametrize("name", ["", "x" * 256, "caf\udce9", "nul\0"])
def test_names_that_no_database_keeps_are_refused_before_they_spoil_a_batch(
    name: str, new_inspection: NewInspection
) -> None:
    with pytest.raises(ValueError, match="serial"):
        new_inspection(serial=name)


def test_known_ids_finds_those_accepted_among_many(sessions: sessionmaker[Session], accepted: Accept) -> None:
    ids = accepted(3)
    with sessions() as session:
        assert inspections.known_ids(session, [*ids, *(uuid4() for _ in range(1200))]) == set(ids)
        assert inspections.known_ids(session, []) == set()


def test_counts_add_up_for_all_and_for_each(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult, model_version: str
) -> None:
    judged = {"score": 0.5, "threshold": 0.4, "model_version": model_version, "error": None}
    ok, ng, unsure, error, _ = accepted(5, station="s1", lot="A")
    accepted(2, station="s2", lot="B")
    accepted(1, product="gear", station="s2", lot="A")
    with sessions.begin() as session:
        results.record(
            session,
            [
                new_result(ok, verdict="ok", **judged),
                new_result(ng, verdict="ng", **judged),
                new_result(unsure, verdict="inconclusive", **judged),
                new_result(error),
            ],
        )
    with sessions() as session:
        assert inspections.counts(session) == inspections.Counts(8, 1, 1, 1, 1, 4)
        assert inspections.counts(session, station="s1") == inspections.Counts(5, 1, 1, 1, 1, 1)
        assert inspections.counts(session, product="tile", lot="B") == inspections.Counts(2, 0, 0, 0, 0, 2)
        assert inspections.counts(session, lot="none") == inspections.Counts(0, 0, 0, 0, 0, 0)
        total = session.scalar(select(func.count()).select_from(Inspection))
        assert total == 8
