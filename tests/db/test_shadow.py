"""What a challenger scores beside the champion: which images, each once, and nothing once it is none."""

import hashlib
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import clock, events, golden, models, policies, results, shadow
from db.ids import uuid7
from db.ledger import released
from db.ledger.released import ACT, IMAGE
from db.policies import Rules
from db.results import HELD
from db.tables import GoldenTrial, ModelAlias, Rescore, Result, Shadow

Judge = Callable[..., list[UUID]]


@pytest.fixture
def challenger(sessions: sessionmaker[Session], model_version: str) -> ModelAlias:
    """The product tile, judged by `model_version`, whose challenger scores all of it."""
    manifest = '{"calibration":{"target_rate":0.01}}'
    version = hashlib.sha256(manifest.encode()).hexdigest()
    with sessions.begin() as session:
        models.set_champion(session, "tile", model_version, "ada", "first")
        models.register(session, version, "tile", manifest, "c" * 64, 100)
        policies.change(session, "tile", Rules(shadow_share=1.0), "ada")
    return challenge(sessions, version)


def challenge(sessions: sessionmaker[Session], version: str) -> ModelAlias:
    with sessions.begin() as session:
        models.set_challenger(session, "tile", version, "ada", {})
        found = models.challenger(session, "tile")
    assert found is not None
    return found


@pytest.fixture
def judge(sessions: sessionmaker[Session], accepted: Any, new_result: Any, model_version: str) -> Judge:
    """Accept and judge parts as a worker does; gives their ids."""

    def judge_them(number: int, **said: Any) -> list[UUID]:
        ids: list[UUID] = accepted(number)
        verdict = {"verdict": "ok", "score": 0.5, "threshold": 1.0, "error": None} | said
        model = {} if verdict["error"] else {"model_version": model_version}
        with sessions.begin() as session:
            new = [new_result(id_, **verdict, **model) for id_ in ids]
            results.record(session, new)
            shadow.offer(session, new)
        return ids

    return judge_them


def waiting(sessions: sessionmaker[Session]) -> list[UUID]:
    with sessions() as session:
        return list(session.scalars(select(Shadow.inspection_id).order_by(Shadow.inspection_id)))


def kept(sessions: sessionmaker[Session]) -> dict[UUID, str]:
    with sessions() as session:
        return {one.inspection_id: one.verdict for one in session.scalars(select(Rescore))}


def slice_of(sessions: sessionmaker[Session], one: ModelAlias, images: int = 100) -> list[tuple[UUID, int]]:
    with sessions() as session:
        return [(item.id, item.tries) for item in shadow.next_slice(session, one, images)[0]]


def record(sessions: sessionmaker[Session], one: ModelAlias, scored: list[results.NewResult]) -> bool:
    with sessions.begin() as session:
        return shadow.record(session, one, scored)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_share_is_chosen_by_ids_alone(share: float) -> None:
    draw = random.Random(7)
    ids = [uuid7(entropy=draw.randbytes(10)) for _ in range(20_000)]
    chosen = {id_ for id_ in ids if shadow.chosen(id_, share)}
    assert chosen == {id_ for id_ in reversed(ids) if shadow.chosen(UUID(str(id_)), share)}
    spread = (share * (1 - share) / len(ids)) ** 0.5
    assert abs(len(chosen) / len(ids) - share) < 4 * spread
    assert chosen < {id_ for id_ in ids if shadow.chosen(id_, share * 1.5)}, "more of it is added"
    assert all(shadow.chosen(id_, 1.0) for id_ in ids)


def test_only_parts_that_got_a_verdict_since_wait_for_the_challenger(
    sessions: sessionmaker[Session], judge: Judge, challenger: ModelAlias, accepted: Any, new_result: Any
) -> None:
    with sessions.begin() as session:
        models.withdraw_challenger(session, "tile", "ada", "later")
    judge(2)
    assert waiting(sessions) == []
    challenge(sessions, challenger.model_version)
    ids = sorted(judge(3) + judge(2, verdict="ng"))
    judge(1, verdict="error", score=None, threshold=None, error="broken")
    judge(1, verdict="inconclusive", timings={HELD: 1.0})
    assert waiting(sessions) == ids
    with sessions.begin() as session:
        policies.change(session, "tile", Rules(shadow_share=1e-9), "ada")
    judge(5)
    assert waiting(sessions) == ids


def test_a_golden_sample_is_no_part(
    sessions: sessionmaker[Session],
    accepted: Any,
    new_result: Any,
    challenger: ModelAlias,
    model_version: str,
) -> None:
    part, sample = accepted(2)
    said = {"verdict": "ok", "score": 0.5, "threshold": 1.0, "error": None, "model_version": model_version}
    with sessions.begin() as session:
        image = golden.StoredImage("a" * 64, 1000, 320, 240, "png")
        added = golden.add(session, "tile", "s1", "good", "ok", image, "ada")
        session.add(GoldenTrial(inspection_id=sample, sample=added.id, sent_at=clock.now(session)))
        new = [new_result(id_, **said) for id_ in (part, sample)]
        results.record(session, new)
        shadow.offer(session, new)
    assert waiting(sessions) == [part]


def test_what_ended_a_worker_comes_after_all_others(
    sessions: sessionmaker[Session], judge: Judge, challenger: ModelAlias, new_result: Any, model_version: str
) -> None:
    ids = judge(4)
    before = verdicts(sessions)
    with sessions.begin() as session:
        shadow.begin(session, ids[:2])
    assert slice_of(sessions, challenger) == [(ids[2], 0), (ids[3], 0), (ids[0], 1), (ids[1], 1)]
    assert slice_of(sessions, challenger, 1) == [(ids[2], 0)]
    scored = [
        new_result(ids[0]),
        new_result(ids[2], verdict="ng", score=2.0, threshold=1.0, error=None, model_version=model_version),
    ]
    assert record(sessions, challenger, scored)
    assert record(sessions, challenger, scored), "another worker did the same"
    assert kept(sessions) == {ids[0]: "error", ids[2]: "ng"}
    assert slice_of(sessions, challenger) == [(ids[3], 0), (ids[1], 1)]
    with sessions() as session:
        assert {one.origin for one in session.scalars(select(Rescore))} == {"shadow"}
    assert verdicts(sessions) == before


def verdicts(sessions: sessionmaker[Session]) -> list[tuple[Any, ...]]:
    with sessions() as session:
        query = select(Result.inspection_id, Result.verdict, Result.score, Result.model_version)
        return [tuple(row) for row in session.execute(query.order_by(Result.inspection_id))]


@pytest.mark.parametrize("act", ["withdrawn", "replaced", "promoted"])
def test_who_is_no_challenger_any_more_keeps_nothing(
    sessions: sessionmaker[Session],
    judge: Judge,
    challenger: ModelAlias,
    new_result: Any,
    model_version: str,
    act: str,
) -> None:
    ids = judge(2)
    with sessions.begin() as session:
        if act == "withdrawn":
            assert models.withdraw_challenger(session, "tile", "ada", "x", "0" * 64) is None, "not this one"
            assert models.withdraw_challenger(session, "tile", "ada", "x") == challenger.model_version
        elif act == "replaced":
            models.set_challenger(session, "tile", challenger.model_version, "ada", {})
        else:
            models.set_champion(session, "tile", challenger.model_version, "ada", "better")
    assert waiting(sessions) == []
    assert not record(sessions, challenger, [new_result(ids[0])])
    assert kept(sessions) == {}
    with sessions() as session:
        assert not shadow.stands(session, challenger)
        assert [one.product for one in shadow.challengers(session)] == ["tile"] * (act == "replaced")


def test_what_retention_let_go_is_not_waited_for(
    sessions: sessionmaker[Session], judge: Judge, challenger: ModelAlias
) -> None:
    ids = judge(3)
    with sessions.begin() as session:
        act = events.record(session, ACT, "test")
        released.add(session, act, IMAGE, ids[:1])
        session.add(Shadow(inspection_id=uuid7(), model_version=challenger.model_version))
    with sessions.begin() as session:
        there, gone = shadow.next_slice(session, challenger, 10)
        assert [one.id for one in there] == ids[1:]
        assert len(gone) == 2
        shadow.forget(session, gone)
    assert waiting(sessions) == ids[1:]


def test_a_challenger_that_cannot_keep_up_forgets_the_oldest(
    sessions: sessionmaker[Session],
    judge: Judge,
    challenger: ModelAlias,
    model_version: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadow, "_LONGEST", 2)
    ids = judge(6)
    with sessions.begin() as session:
        session.add(Shadow(inspection_id=uuid7(), model_version=model_version))  # which challenged before
    for wanted, left in ((5, ids[1:]), (1, ids[4:]), (1, ids[4:])):
        with sessions.begin() as session:
            shadow.tidy(session, challenger, wanted)
        assert waiting(sessions) == left


def test_a_reign_begins_by_the_clock_that_rescores_are_told_by(
    sessions: sessionmaker[Session], judge: Judge, challenger: ModelAlias, new_result: Any
) -> None:
    (id_,) = judge(1)
    slow = challenger.changed_at - timedelta(days=1)
    assert record(sessions, challenger, [new_result(id_, judged_at=slow)])
    with sessions() as session:
        assert session.scalars(select(Rescore.scored_at)).one() >= challenger.changed_at
