"""Rescorings: what is asked for, how far it is, and that it goes when its inspections go."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, sessionmaker

from db import events, models, partitions, rescores, rescorings, results
from db.ids import UnknownIdError
from db.imagestore import open_image_store
from db.inspections import UnknownProductError
from db.ledger import released
from db.ledger.released import ACT, IMAGE
from db.ledger.seal import seal
from db.ledger.settings import LedgerSettings
from db.matching import Filter
from db.models import UnknownModelError
from db.rescorings import RescoringError
from db.results import NewMap, NewResult
from db.retention import acts, policy
from db.retention.policy import Terms
from db.settings import DatabaseSettings
from db.tables import Event, Inspection, Rescore, Rescoring, Result

MAP = NewMap(bits=8, low=0.0, high=2.0, width=4, height=4, data=b"png", sha256="c" * 64)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def judged(
    sessions: sessionmaker[Session], accepted: Callable[..., list[UUID]], new_result: Any, model_version: str
) -> Callable[..., list[UUID]]:
    """Accept and judge a number of inspections of the product tile."""

    def judge(number: int, verdict: str = "ok", **changes: Any) -> list[UUID]:
        ids = accepted(number, **changes)
        said = {"verdict": verdict, "score": 0.5, "threshold": 1.0, "error": None, "map": MAP}
        with sessions.begin() as session:
            results.record(session, [new_result(id_, model_version=model_version, **said) for id_ in ids])
        return ids

    return judge


def ask(sessions: sessionmaker[Session], model: str, limit: int | None = None, **wanted: Any) -> Rescoring:
    with sessions.begin() as session:
        return rescorings.request(session, "tile", model, Filter(product="tile", **wanted), limit, "ada")


def look(sessions: sessionmaker[Session], one: Rescoring) -> Rescoring:
    with sessions() as session:
        return session.get_one(Rescoring, one.id)


def todo(sessions: sessionmaker[Session], one: Rescoring, images: int = 100) -> list[UUID]:
    with sessions() as session:
        return [item.inspection.id for item in rescores.next_slice(session, one, images)]


def said(id_: UUID, verdict: str = "ng") -> NewResult:
    error = "broken" if verdict == "error" else None
    score, threshold = (None, None) if error else (1.5, 1.0)
    return NewResult(
        inspection_id=id_,
        verdict=verdict,
        score=score,
        threshold=threshold,
        model_version=None if error else "m",
        worker="w1",
        attempts=1,
        judged_at=NOON,
        timings={},
        regions=[],
        error=error,
        map=None if error else MAP,
    )


def score(sessions: sessionmaker[Session], one: Rescoring, ids: list[UUID], verdict: str = "ng") -> bool:
    """Begin and record a slice, as a worker does."""
    with sessions.begin() as session:
        assert rescorings.begin(session, one, ids[-1])
    with sessions.begin() as session:
        return rescores.record(session, one, [said(id_, verdict) for id_ in ids], ids[-1])


def kept(sessions: sessionmaker[Session]) -> dict[UUID, tuple[str, bytes | None]]:
    with sessions() as session:
        return {one.inspection_id: (one.verdict, one.map) for one in session.scalars(select(Rescore))}


def kinds(sessions: sessionmaker[Session]) -> list[str]:
    with sessions() as session:
        found = session.scalars(select(Event).where(Event.kind.startswith("rescore.")).order_by(Event.id))
        return [one.kind for one in found]


def test_it_goes_through_what_matches_once_and_leaves_verdicts_alone(
    sessions: sessionmaker[Session], judged: Any, accepted: Any, model_version: str
) -> None:
    ids = sorted(judged(5, lot="L1") + judged(2, lot="L1", verdict="inconclusive"))
    judged(2, lot="L2")
    accepted(1, lot="L1")  # pending: the line's
    with sessions() as session:
        before = session.execute(select(Result.inspection_id, Result.verdict, Result.score)).all()
    one = ask(sessions, model_version, lot="L1")
    assert (one.total, one.state, todo(sessions, one)) == (7, "requested", ids)
    assert score(sessions, one, ids[:4])
    assert not score_again(sessions, one, ids[:4]), "who lost the lease keeps nothing, and counts nothing"
    one = look(sessions, one)
    assert (one.done, one.cursor, one.state, one.tries, one.trying_to) == (4, ids[3], "running", 0, None)
    assert one.started_at is not None
    assert one.requested_at <= one.started_at <= one.updated_at
    assert score(sessions, one, ids[4:6], "error")
    one = look(sessions, one)
    assert score(sessions, one, ids[6:], "ok")
    one = look(sessions, one)
    assert (one.done, one.failed_images, todo(sessions, one)) == (7, 2, [])
    with sessions.begin() as session:
        assert rescorings.finish(session, one.id, "w1")
        assert session.execute(select(Result.inspection_id, Result.verdict, Result.score)).all() == before
        counts = rescores.compared(session, one)
        turned = list(rescores.turned(session, one))
    assert counts == [
        ("inconclusive", "error", 1),
        ("inconclusive", "ok", 1),
        ("ok", "error", 1),
        ("ok", "ng", 4),
    ]
    assert [item.inspection_id for item in turned] == ids[::-1]
    assert kinds(sessions) == ["rescore.requested", "rescore.done"]
    again = ask(sessions, model_version, lot="L1")
    assert todo(sessions, again) == ids[4:6], "only what could not be scored is tried again"
    assert score(sessions, again, ids[4:6], "ok")
    assert kept(sessions)[ids[4]][0] == "ok"


def score_again(sessions: sessionmaker[Session], one: Rescoring, ids: list[UUID]) -> bool:
    with sessions.begin() as session:
        return rescores.record(session, one, [said(id_, "ok") for id_ in ids], ids[-1])


def test_the_newest_are_chosen_by_filter_and_limit(
    sessions: sessionmaker[Session], judged: Any, model_version: str
) -> None:
    ids = judged(6, station="s1")
    judged(1, station="s2")
    bad = judged(1, station="s1", verdict="ng")
    assert todo(sessions, ask(sessions, model_version, 3, station="s1")) == [*ids[-2:], *bad]
    assert todo(sessions, ask(sessions, model_version, verdict="ng")) == bad
    one = ask(sessions, model_version, station="s1", since=NOON, until=NOON + timedelta(hours=1))
    assert one.total == 7
    assert one.filter["since"] == NOON.isoformat()
    with sessions.begin() as session:
        act = events.record(session, ACT, "test")
        released.add(session, act, IMAGE, ids[:5])
    assert todo(sessions, ask(sessions, model_version, station="s1")) == [ids[5], *bad], "images are needed"


def test_what_cannot_be_asked_for_is_said(
    sessions: sessionmaker[Session], judged: Any, model_version: str
) -> None:
    judged(1)
    with sessions.begin() as session:
        models.ensure_product(session, "bolt")
    with pytest.raises(UnknownModelError, match="has no model"):
        ask(sessions, "f" * 64)
    with pytest.raises(RescoringError, match="matches"):
        ask(sessions, model_version, lot="nowhere")
    for product, error in (("nut", UnknownProductError), ("bolt", UnknownModelError)):
        with pytest.raises(error), sessions.begin() as session:
            rescorings.request(session, product, model_version, Filter(product=product), None, "ada")
    with pytest.raises(UnknownIdError, match="no rescoring"), sessions() as session:
        rescorings.find(session, "0")


def test_what_is_cancelled_takes_nothing_more(
    sessions: sessionmaker[Session], judged: Any, model_version: str
) -> None:
    ids = judged(4)
    one = ask(sessions, model_version)
    assert score(sessions, one, ids[:2])
    one = look(sessions, one)
    with sessions.begin() as session:
        assert rescorings.begin(session, one, ids[3])
        rescorings.cancel(session, one.id, "ada")
    assert not score_again(sessions, one, ids[2:])
    with sessions() as session:
        assert rescorings.active(session) == []
    assert sorted(kept(sessions)) == ids[:2]
    with pytest.raises(RescoringError, match="cancelled already"), sessions.begin() as session:
        rescorings.cancel(session, one.id, "ada")
    assert kinds(sessions) == ["rescore.requested", "rescore.cancelled"]


@pytest.mark.parametrize("month", [True, False])
def test_what_retention_lets_go_takes_its_rescores_along(
    engine: Engine,
    sessions: sessionmaker[Session],
    judged: Any,
    model_version: str,
    monkeypatch: pytest.MonkeyPatch,
    month: bool,
) -> None:
    """Also where it went between scoring and recording; by whole months and one by one."""
    monkeypatch.setattr("db.retention.images.YOUNG", timedelta(days=-2))
    if month and engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            partitions.make(connection, [partitions.month_of(NOON)])
    ids = judged(6)
    one = ask(sessions, model_version)
    assert score(sessions, one, ids[:3])
    one = look(sessions, one)
    with sessions.begin() as session:
        assert rescorings.begin(session, one, ids[5])

    open_image_store(DatabaseSettings()).put(
        b"of another part"
    )  # an empty store is taken for one that is away

    def let_go(**terms: int) -> None:
        with sessions.begin() as session:
            policy.set_rule(session, None, None, Terms(**terms), "engineer", "storage")
        seal(engine, LedgerSettings())
        for _ in acts.apply(engine, open_image_store(DatabaseSettings()), "retention", archive=False):
            pass

    let_go(maps_days=1)
    assert kept(sessions) == dict.fromkeys(ids[:3], ("ng", None))
    with sessions() as session:
        assert [item.keeps_map for item in rescores.next_slice(session, one, 9)] == [False] * 3
    let_go(rows_days=1)
    assert kept(sessions) == {}
    assert score_again(sessions, one, ids[3:])
    assert kept(sessions) == {}, "nothing is kept of what is gone"
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Inspection)) == 0
    assert look(sessions, one).done == 6
