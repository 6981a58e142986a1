"""One verdict per inspection, whoever competes for it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from db import attempts, inspections, results
from db.tables import AnomalyMap, Attempt, Result

Accept = Callable[..., list[UUID]]
NewResult = Callable[..., results.NewResult]
MAP = results.NewMap(bits=16, low=-0.5, high=2.25, width=128, height=96, data=b"\x89PNG...", sha256="d" * 64)


def test_a_verdict_is_kept_as_it_was_given(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult, model_version: str
) -> None:
    (id_,) = accepted()
    given = new_result(
        id_,
        verdict="ng",
        score=0.1 + 0.2,
        threshold=1e-300,
        model_version=model_version,
        timings={"queue_ms": 3.25, "total_ms": 12},
        regions=[{"x": 1, "y": 2, "width": 3, "height": 4, "area": 9, "peak": 0.75}],
        error=None,
        map=MAP,
    )
    with sessions.begin() as session:
        assert results.record(session, [given]) == {id_}
    with sessions() as session:
        kept, map_ = session.get_one(Result, id_), session.get_one(AnomalyMap, id_)
    assert {name: getattr(kept, name) for name in vars(given) if name != "map"} == {
        name: value for name, value in vars(given).items() if name != "map"
    }
    assert {name: getattr(map_, name) for name in vars(MAP)} == vars(MAP)
    assert map_.encoding == "png"


def test_the_first_verdict_stands_with_its_map(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult
) -> None:
    first, second = accepted(2)
    with sessions.begin() as session:
        twice = [new_result(first, worker="a"), new_result(first, worker="b", map=MAP)]
        assert results.record(session, twice) == {first}
    with sessions.begin() as session:
        later = [new_result(first, worker="c", map=MAP), new_result(second, worker="c", map=MAP)]
        assert results.record(session, later) == {second}
    with sessions() as session:
        assert session.execute(
            select(Result.inspection_id, Result.worker).order_by(Result.inspection_id)
        ).all() == [
            (first, "a"),
            (second, "c"),
        ]
        assert session.scalars(select(AnomalyMap.inspection_id)).all() == [second]
        assert session.scalar(select(func.count()).select_from(Attempt)) == 0


def test_competing_workers_leave_one_verdict_each(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult
) -> None:
    for _ in range(5):
        ids = accepted(100)
        start = Barrier(3)

        def judge(worker: str, mine: list[UUID], start: Barrier = start) -> set[UUID]:
            start.wait(10)
            for id_ in mine[:3]:  # attempts of others move the locks about
                with sessions.begin() as session:
                    attempts.begin(session, id_, None)
            with sessions.begin() as session:
                return results.record(session, [new_result(id_, worker=worker, map=MAP) for id_ in mine])

        with ThreadPoolExecutor(3) as pool:
            futures = [
                pool.submit(judge, "a", ids),
                pool.submit(judge, "b", ids[::-1]),
                pool.submit(judge, "c", ids[50:] + ids[:50]),
            ]
            won = [future.result(30) for future in futures]
        assert sorted(id_ for winners in won for id_ in winners) == ids
        with sessions() as session:
            query = select(Result.inspection_id, Result.worker).where(Result.inspection_id.in_(ids))
            assert all(id_ in won["abc".index(worker)] for id_, worker in session.execute(query))
            assert session.scalar(select(func.count()).select_from(Attempt)) == 0


def test_an_unknown_inspection_or_model_gets_no_verdict(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult
) -> None:
    with pytest.raises(IntegrityError), sessions.begin() as session:
        results.record(session, [new_result(uuid4())])
    (id_,) = accepted()
    judged = {"verdict": "ok", "score": 0.1, "threshold": 0.4, "model_version": "e" * 64, "error": None}
    with pytest.raises(IntegrityError), sessions.begin() as session:
        results.record(session, [new_result(id_, **judged)])
    with sessions() as session:
        assert inspections.counts(session).pending == 1
        assert [one.inspection.id for one in attempts.waiting(session, [id_])] == [id_], "it is tried again"


def test_a_reason_with_unkeepable_characters_is_kept_readable(
    sessions: sessionmaker[Session], accepted: Accept, new_result: NewResult
) -> None:
    (id_,) = accepted()
    with sessions.begin() as session:
        results.record(session, [new_result(id_, error="bad marker \0\udcff")])
    with sessions() as session:
        assert session.get_one(Result, id_).error == "bad marker \ufffd\ufffd"


OK = {"verdict": "ok", "score": 0.1, "threshold": 0.4, "model_version": "e" * 64, "error": None}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verdict": "fine"}, "none of ok, ng"),
        ({"error": None}, "needs its reason"),
        ({**OK, "error": "but"}, "any other verdict has none"),
        ({**OK, "score": None}, "needs score"),
        ({**OK, "model_version": None}, "needs score"),
        ({**OK, "score": float("nan")}, "not finite"),
        ({**OK, "timings": {"total_ms": float("inf")}}, "not finite"),
        ({**OK, "regions": [{"peak": float("nan")}]}, "not finite"),
    ],
)
def test_what_is_no_verdict_is_refused_when_made(
    changes: dict[str, Any], reason: str, new_result: NewResult
) -> None:
    with pytest.raises(ValueError, match=reason):
        new_result(uuid4(), **changes)
