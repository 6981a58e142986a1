"""The gate lets no worse model through, and keeps no equal one out for bad luck."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from model.gate import (
    Decision,
    HoldOutError,
    Rule,
    Trial,
    clearly_above,
    decide,
    fair_threshold,
    most_by_chance,
    wilson_least,
)

TARGET = 0.005


def trial(
    rejects: int = 0, good: int = 200, caught: int = 45, reviewed: int = 50, synthesised: int = 90
) -> Trial:
    return Trial(
        {f"g{i}": i < rejects for i in range(good)},
        {
            "reviewed": {f"d{i}": i < caught for i in range(reviewed)},
            "synthesised": {f"s{i}": i < synthesised for i in range(100)},
        },
    )


def test_an_equal_model_passes_and_says_what_it_showed() -> None:
    decision = decide(trial(rejects=1), trial(rejects=2), TARGET)
    assert decision.passed
    assert "rejects 1 of 200 good parts" in decision.reasons[0]
    assert "catches 45 of 50 reviewed defects, the champion 45" in decision.reasons[1]


def refusals(decision: Decision) -> str:
    assert not decision.passed
    return "; ".join(decision.reasons)


def test_what_is_worse_is_refused_with_the_reason() -> None:
    worse = decide(trial(rejects=9), trial(), TARGET)
    assert "rejects 9 of 200" in refusals(worse)
    assert worse.evidence["good"]["rejected"] == [f"g{i}" for i in range(9)]
    worse = decide(trial(caught=30), trial(), TARGET)
    assert "catches 30 of 50 reviewed" in refusals(worse)
    assert worse.evidence["reviewed"]["newly_missed"] == [f"d{i}" for i in range(30, 45)][:20]
    golden = Trial(trial().good, trial().defects, {"g7": "good, but rejected"})
    assert refusals(decide(golden, trial(), TARGET)) == "golden sample g7: good, but rejected"


def test_many_synthesised_defects_do_not_hide_the_reviewed_ones() -> None:
    said = refusals(decide(trial(caught=30, synthesised=100), trial(), TARGET))
    assert "reviewed" in said
    assert "synthesised" not in said


def test_a_first_model_is_held_to_its_own_promise_only() -> None:
    assert decide(trial(caught=0), None, TARGET).passed
    assert not decide(trial(rejects=20), None, TARGET).passed
    assert decide(trial(rejects=20), None, TARGET, Rule(false_reject_rate=0.1)).passed


def test_a_hold_out_that_can_tell_nothing_is_refused() -> None:
    with pytest.raises(HoldOutError, match="19 good parts"):
        decide(trial(good=19), None, TARGET)
    with pytest.raises(HoldOutError, match="no defect"):
        decide(Trial(trial().good, {"reviewed": {}}), Trial(trial().good, {"reviewed": {}}), TARGET)
    with pytest.raises(ValueError, match="same hold-out"):
        decide(trial(good=100), trial(good=101), TARGET)
    for rule in ({"confidence": 1.0}, {"false_reject_rate": 0.0}):
        with pytest.raises(ValueError, match="gate's"):
            Rule(**rule)


@settings(max_examples=60, deadline=None)
@given(caught=st.integers(0, 50), rejects=st.integers(0, 200))
def test_no_model_that_is_at_least_as_good_in_everything_is_refused_for_defects(
    caught: int, rejects: int
) -> None:
    champion = trial(rejects=rejects, caught=caught)
    decision = decide(trial(rejects=0, caught=caught), champion, TARGET)
    assert decision.passed


def test_a_model_that_keeps_its_promise_is_rarely_refused() -> None:
    draw = np.random.default_rng(7)
    refused = sum(
        not decide(trial(rejects=int(draw.binomial(200, TARGET))), trial(), TARGET).passed for _ in range(200)
    )
    assert refused <= 20  # a twentieth is the rule's own chance


@settings(max_examples=60, deadline=None)
@given(
    number=st.integers(1, 400),
    share=st.floats(0, 1),
    rate=st.floats(1e-4, 0.9),
    confidence=st.floats(0.5, 0.999),
)
def test_the_bounds_are_those_of_scipy(number: int, share: float, rate: float, confidence: float) -> None:
    hits = round(share * number)
    most = most_by_chance(number, rate, confidence)
    assert stats.binom.cdf(most, number, rate) >= confidence - 2e-9
    assert most == 0 or stats.binom.cdf(most - 1, number, rate) < confidence
    least, _ = stats.binomtest(hits, number).proportion_ci(confidence, "wilson")
    assert wilson_least(hits, number, confidence) == pytest.approx(least, abs=1e-9)


def test_a_champion_that_rejects_too_much_is_taken_with_the_threshold_that_it_would_need() -> None:
    scores = [0.1 * place for place in range(10)]
    assert fair_threshold(scores, 0.75, most=2) == 0.75
    assert fair_threshold(scores, 0.45, most=2) == scores[7]
    assert sum(one > fair_threshold(scores, 0.05, most=1) for one in scores) == 1
    assert fair_threshold(scores, 0.05, most=10) == 0.05
    drifted = dataclasses.replace(trial(rejects=90, caught=30), threshold=1.25)
    decision = decide(trial(caught=30), drifted, TARGET)
    assert decision.passed
    assert "the champion rejects 90 of them" in decision.reasons[1]
    assert "with a threshold of 1.25" in decision.reasons[1]
    assert decision.evidence["champion_threshold"] == 1.25


def test_defects_that_the_champion_caught_by_a_hair_are_not_asked_for_by_themselves() -> None:
    assert clearly_above({"hair": 1.2, "clear": 1.6, "missed": 0.9}, 1.0, [0.4, 0.5, 0.6]) == {"clear"}
    good = {f"part {number}": False for number in range(100)}
    found = {"reviewed": {f"clear {number}": True for number in range(30)}}
    champion = Trial(good, found, borderline={f"hair {number}": True for number in range(20)})
    candidate = Trial(good, found, borderline={f"hair {number}": number < 5 for number in range(20)})
    decision = decide(candidate, champion, 0.01)
    assert decision.passed
    told = {"defects": 20, "candidate_caught": 5, "champion_caught": 20}
    assert decision.evidence["borderline"] == told
    assert any("catches 5 of 20 reviewed defects" in reason for reason in decision.reasons)


@pytest.mark.parametrize(
    ("made", "caught", "passed"), [(90, 79, True), (90, 78, False), (90, 0, False), (0, 0, True)]
)
def test_of_all_reviewed_defects_a_share_is_asked_for_that_synthesised_ones_tell(
    made: int, caught: int, passed: bool
) -> None:
    """90 of 100 synthesised ones: 82.56 % at least (Wilson), of the 95 that the champion caught."""

    def of(caught: int) -> Trial:
        hair = {f"hair {number}": number < caught for number in range(95)}
        defects = {"reviewed": {}, "synthesised": {f"s{number}": number < made for number in range(100)}}
        return Trial(trial().good, defects, borderline=hair)

    decision = decide(of(caught), of(95), TARGET)
    assert decision.passed is passed
    said = "; ".join(decision.reasons)
    assert f"catches {caught} of all 95 reviewed defects, the champion 95" in said
    assert f"for one that catches {made} of 100 synthesised ones" in said
    assert ("it scored none clearly" in said) is passed
    least = round(95 * stats.binomtest(made * 95 // 100, 95).proportion_ci(0.95, "wilson").low)
    assert decision.evidence["reviewed_in_all"]["least"] == pytest.approx(least, abs=0.6)


def test_few_reviewed_defects_leave_room_for_chance_and_what_else_is_caught_counts() -> None:
    def of(hair: list[bool]) -> Trial:
        borderline = {f"hair {number}": was for number, was in enumerate(hair)}
        return Trial(trial().good, {"synthesised": trial().defects["synthesised"]}, borderline=borderline)

    champion = of([True, True, True, False, False])
    assert decide(of([True, False, False, True, False]), champion, TARGET).passed
    assert not decide(of([False] * 5), champion, TARGET).passed
    assert decide(of([False] * 5), of([False] * 5), TARGET).passed, "as good as the champion"


def test_a_champion_out_of_step_chose_what_it_caught_with_its_own_threshold() -> None:
    """It would catch 60 of 95 with the one that it needs, and 40 of 100 synthesised ones."""

    def of(caught: int) -> Trial:
        hair = {f"hair {number}": number < caught for number in range(95)}
        return Trial(
            trial().good, {"synthesised": trial(synthesised=40).defects["synthesised"]}, borderline=hair
        )

    champion = dataclasses.replace(of(60), threshold=1.25, caught_on_line=95)
    assert decide(of(29), champion, TARGET).evidence["reviewed_in_all"]["least"] == pytest.approx(
        29.0, abs=0.5
    )
    assert decide(of(30), champion, TARGET).passed
    said = "catches 28 of all 95 reviewed defects, the champion 60 (95 as it judges now), and"
    assert said in refusals(decide(of(28), champion, TARGET))
    assert decide(of(5), dataclasses.replace(of(5), threshold=1.25, caught_on_line=95), TARGET).passed
