"""Who lets a challenger judge, by what it and the champion said of the same parts; once, whoever looks."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from scipy.stats import binom
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from db import comparison, models, policies, promotion, results, reviews, shadow
from db.comparison import Agreement, Seen
from db.policies import Rules
from db.tables import Event, ModelAlias

RULES = Rules(promotion="automatic", shadow_share=1.0, shadow_images=4)
Said = tuple[str, str, str | None]  # by the champion, the challenger, a review


@pytest.mark.parametrize(
    ("images", "rate"), [(0, 0.01), (1, 0.9), (200, 0.005), (199, 0.3), (100_000, 0.002)]
)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_what_chance_allows_is_the_binomial_quantile(images: int, rate: float, confidence: float) -> None:
    assert promotion.most_by_chance(images, rate, confidence) == max(0, binom.ppf(confidence, images, rate))


def seen(*counts: tuple[str, str, Any, int]) -> Seen:
    return Seen(tuple(Agreement(*one) for one in counts))


@pytest.mark.parametrize(
    ("counts", "changes", "why"),
    [
        ([("ok", "ok", None, 197), ("ok", "ng", None, 3), ("ng", "ok", None, 9)], {}, None),
        ([("ok", "ok", None, 196), ("ok", "ng", None, 4)], {}, "rejects 4 of 200 parts"),
        ([("ok", "ok", None, 196), ("ok", "ng", None, 4)], {"false_reject_rate": 0.02}, None),
        (
            [("ok", "ok", None, 196), ("ok", "ng", None, 1), ("ok", "inconclusive", None, 3)],
            {},
            "rejects 4 of 200 parts that the champion accepts (3 are inconclusive)",
        ),
        ([("ok", "ok", None, 200), ("inconclusive", "inconclusive", None, 9)], {}, None),
        ([("ok", "ok", None, 196), ("ok", "ng", "bad", 4)], {}, None),
        ([("ok", "ok", None, 200), ("ng", "ok", "bad", 1)], {}, "misses 1 of 1 parts that people call bad"),
        ([("ok", "ok", None, 200), ("ng", "ok", "good", 5)], {}, None),
        ([("ok", "ok", "bad", 1), ("ok", "ok", None, 200)], {}, "misses 1 of 1"),
        ([("ok", "ok", None, 199), ("ok", "error", None, 1)], {}, "could not score 1 images"),
        ([("ng", "ok", None, 200)], {}, "accepts none of these parts"),
        ([("ok", "ok", None, 200)], {"promotion": "person"}, "policy leaves the promotion to a person"),
    ],
)
def test_a_challenger_may_judge_where_chance_explains_its_rejects_and_it_misses_nothing(
    counts: Any, changes: dict[str, Any], why: str | None
) -> None:
    rules = replace(RULES, **changes)
    decision = promotion.decide(seen(*counts), rules, 0.005, signed=False)
    assert decision.promote is (why is None)
    assert why is None or why in "; ".join(decision.reasons)
    assert len(decision.reasons) == (2 if why is None else 1)
    signed = promotion.decide(seen(*counts), rules, 0.005, signed=True)
    assert not signed.promote
    assert "electronic signature" in "; ".join(signed.reasons)


@pytest.mark.parametrize(
    ("shown", "unbiased", "missed", "promoted"),
    [
        ((80, 100), (80, 100), 7, True),
        ((80, 100), (80, 100), 8, False),
        ((5, 100), (80, 100), 8, False),
        ((80, 100), (5, 100), 8, False),
        ((80, 100), (0, 100), 7, True),
        ((5, 100), (100, 100), 1, False),
        ((5, 100), None, 1, False),
        ((100, 100), (80, 100), 1, False),
        (None, (80, 100), 1, False),
        (None, None, 0, True),
    ],
)
def test_it_may_miss_of_what_people_call_bad_as_much_as_its_exam_explains(
    shown: tuple[int, int] | None, unbiased: tuple[int, int] | None, missed: int, promoted: bool
) -> None:
    parts = seen(("ok", "ok", None, 200), ("ng", "ok", "bad", missed), ("ng", "ng", "bad", 20 - missed))
    assert binom.ppf(RULES.confidence, 20, 0.2) == 7
    decision = promotion.decide(parts, RULES, 0.005, signed=False, shown=shown, unbiased=unbiased)
    assert decision.promote is promoted


def test_without_a_rate_nobody_is_promoted_automatically() -> None:
    decision = promotion.decide(seen(("ok", "ok", None, 200)), RULES, None, signed=False)
    assert (decision.promote, decision.evidence["most"]) == (False, None)


@pytest.fixture
def plant(sessions: sessionmaker[Session], model_version: str) -> ModelAlias:
    """The product tile, judged by `model_version`, and its challenger."""
    with sessions.begin() as session:
        models.set_champion(session, "tile", model_version, "ada", "first")
        policies.change(session, "tile", RULES, "ada")
    return challenge(sessions, register(sessions, 1))


def register(sessions: sessionmaker[Session], number: int) -> str:
    manifest = f'{{"calibration":{{"target_rate":0.01}},"dataset":"d{number}"}}'
    version = hashlib.sha256(manifest.encode()).hexdigest()
    with sessions.begin() as session:
        models.register(session, version, "tile", manifest, "c" * 64, 100)
    return version


def challenge(
    sessions: sessionmaker[Session], version: str, evidence: dict[str, Any] | None = None
) -> ModelAlias:
    with sessions.begin() as session:
        champion = models.champion(session, "tile")
        assert champion is not None
        shown = {"champion": champion.id, **(evidence or {})}
        models.set_challenger(session, "tile", version, "ada", shown)
        found = models.challenger(session, "tile")
    assert found is not None
    return found


@pytest.fixture
def line(
    sessions: sessionmaker[Session], accepted: Any, new_result: Any, model_version: str
) -> Callable[..., list[UUID]]:
    """Let parts be judged by the champion and scored by the challenger, as a worker does, and reviewed."""

    def judge(one: ModelAlias, *parts: Said) -> list[UUID]:
        ids: list[UUID] = accepted(len(parts))

        def say(id_: UUID, verdict: str, model: str) -> results.NewResult:
            made: results.NewResult = new_result(
                id_, verdict=verdict, score=0.5, threshold=1.0, error=None, model_version=model
            )
            return made

        with sessions.begin() as session:
            champion = models.champion(session, "tile")
            assert champion is not None
            judged = [say(id_, part[0], champion.id) for id_, part in zip(ids, parts, strict=True)]
            results.record(session, judged)
            shadow.offer(session, judged)
        with sessions.begin() as session:
            scored = [say(id_, part[1], one.model_version) for id_, part in zip(ids, parts, strict=True)]
            assert shadow.record(session, one, scored)
            for id_, part in zip(ids, parts, strict=True):
                if part[2] is not None:
                    reviews.record(session, id_, part[2], "ada", "defect")
        return ids

    return judge


def settle(sessions: sessionmaker[Session], one: ModelAlias) -> promotion.Decision | None:
    with sessions.begin() as session:
        return promotion.settle(session, one)


def told(sessions: sessionmaker[Session], *kinds: str) -> list[Event]:
    with sessions() as session:
        found = session.scalars(select(Event).where(Event.kind.in_(kinds)).order_by(Event.id))
        return [one for one in found if one.actor == promotion.ACTOR]


def test_what_it_showed_the_gate_is_read_from_the_event(
    sessions: sessionmaker[Session], plant: ModelAlias, line: Any
) -> None:
    shown = {
        "reviewed": {"candidate_caught": 1, "defects": 1},
        "borderline": {"candidate_caught": 1, "defects": 3},
        "synthesised": {"candidate_caught": 4, "champion_caught": 2, "defects": 4},
    }
    one = challenge(sessions, register(sessions, 2), shown)
    line(one, *[("ok", "ok", None)] * 2, ("ng", "ok", "confirm"), ("ng", "ng", "confirm"))
    decision = settle(sessions, one)
    assert decision is not None
    assert (decision.promote, decision.evidence["missed"], decision.evidence["missable"]) == (True, 1, 2)


def test_a_challenger_that_has_shown_enough_is_promoted_once_whoever_looks(
    sessions: sessionmaker[Session], plant: ModelAlias, line: Any, model_version: str
) -> None:
    line(plant, *[("ok", "ok", None)] * 2, ("ng", "ok", "overrule"))
    assert settle(sessions, plant) is None, "one is missing"
    line(plant, ("ng", "ng", "confirm"))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: settle(sessions, plant), range(4)))
    assert [one.promote for one in found if one is not None] == [True]
    (event,) = told(sessions, models.PROMOTED, promotion.AWAITS)
    assert (event.detail["model"], event.detail["before"]) == (plant.model_version, model_version)
    evidence = event.detail["evidence"]
    assert (evidence["images"], evidence["good"], evidence["bad"], evidence["missed"]) == (4, 2, 1, 0)
    assert evidence["dataset"] == "d1"
    assert evidence["verdicts"] == [
        {"champion": "ng", "challenger": "ng", "images": 1},
        {"champion": "ng", "challenger": "ok", "images": 1},
        {"champion": "ok", "challenger": "ok", "images": 2},
    ]
    with sessions() as session:
        champion = models.champion(session, "tile")
        assert champion is not None
        assert (champion.id, models.challenger(session, "tile")) == (plant.model_version, None)


@pytest.mark.parametrize(
    ("rules", "setting", "part", "why"),
    [
        (replace(RULES, promotion="person"), "", ("ok", "ok", None), "to a person"),
        (RULES, "promotion", ("ok", "ok", None), "electronic signature"),
        (RULES, "", ("ng", "ok", "confirm"), "misses 1 of 1"),
        (RULES, "", ("ok", "ok", "overrule"), "misses 1 of 1"),
    ],
)
def test_what_speaks_against_it_is_told_once_and_a_person_promotes(
    sessions: sessionmaker[Session],
    plant: ModelAlias,
    line: Any,
    monkeypatch: pytest.MonkeyPatch,
    rules: Rules,
    setting: str,
    part: Said,
    why: str,
) -> None:
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", setting)
    with sessions.begin() as session:
        policies.change(session, "tile", rules, "ada")
    line(plant, *[("ok", "ok", None)] * 3, part)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: settle(sessions, plant), range(2)))
    assert [one.promote for one in found if one is not None] == [False]
    line(plant, *[("ok", "ok", None)] * 4)
    with sessions.begin() as session:
        policies.change(session, "tile", replace(RULES, false_reject_rate=0.5), "ada")
    monkeypatch.setenv("PYRAMIDION_REQUIRE_SIGNATURE", "")
    assert settle(sessions, plant) is None, "it waits for a person, and is not decided on until it passes"
    (event,) = told(sessions, models.PROMOTED, promotion.AWAITS)
    assert (event.kind, event.detail["model"]) == (promotion.AWAITS, plant.model_version)
    assert why in event.detail["why"][0]
    with sessions() as session:
        found_again = promotion.awaits(session, plant)
    assert found_again is not None
    assert found_again.id == event.id


def test_only_what_it_said_beside_this_champion_in_this_time_counts(
    sessions: sessionmaker[Session], plant: ModelAlias, line: Any, model_version: str
) -> None:
    line(plant, *[("ok", "ok", None)] * 3)
    again = challenge(sessions, plant.model_version)
    line(again, ("ok", "ok", None))
    assert settle(sessions, plant) is None
    assert settle(sessions, again) is None, "the former time does not count"
    other = register(sessions, 2)
    with sessions.begin() as session:
        models.set_champion(session, "tile", other, "ada", "urgent")
    line(again, *[("ok", "ok", None)] * 3)
    assert settle(sessions, again) is None, "nor does the former champion"
    with sessions() as session:
        assert comparison.scored(session, other, again.model_version, again.changed_at) == 3
    line(again, ("ok", "ok", None))
    decision = settle(sessions, again)
    assert decision is not None
    assert not decision.promote, "it was never compared with this one"
    assert model_version[:12] in decision.reasons[0]
    assert f"{other[:12]} judges now" in decision.reasons[0]


def test_nobody_promotes_over_a_champion_that_he_has_not_seen(
    sessions: sessionmaker[Session], plant: ModelAlias, model_version: str
) -> None:
    """Two people promote different versions at once: the second is told."""
    versions = [register(sessions, number) for number in (2, 3)]

    def promote(version: str) -> None:
        with sessions.begin() as session:
            models.set_champion(session, "tile", version, "ada", "race", expected=model_version)

    with ThreadPoolExecutor(2) as pool:
        acts = [pool.submit(promote, version) for version in versions]
    refused = [act.exception() for act in acts if act.exception() is not None]
    assert [type(one) for one in refused] == [models.ChampionChangedError]
    with sessions() as session:
        beside = models.challenger(session, "tile")
    assert beside is not None
    assert beside.model_version == plant.model_version, "who was promoted instead leaves the challenger alone"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_challenger_whose_place_another_takes_is_withdrawn(
    sessions: sessionmaker[Session], plant: ModelAlias
) -> None:
    challenge(sessions, plant.model_version)
    challenge(sessions, register(sessions, 2))
    with sessions() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == models.WITHDRAWN))
    told = {"model": plant.model_version, "why": "a newer candidate passed the gate"}
    assert (event.actor, event.detail) == ("ada", told)
