import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.calibration import CONFORMAL, TAIL, calibrate
from model.dataset import split


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.05])
@pytest.mark.parametrize("kind", ["normal", "bimodal", "lognormal", "uniform", "cauchy"])
def test_fresh_good_parts_are_rejected_no_more_often_than_promised(rate: float, kind: str) -> None:
    rng = np.random.default_rng(7)
    draws: dict[str, Callable[[int], NDArray[np.float64]]] = {
        "normal": lambda n: rng.normal(10, 1, n),
        "bimodal": lambda n: np.where(rng.random(n) < 0.9, rng.normal(5, 0.5, n), rng.normal(20, 1, n)),
        "lognormal": lambda n: rng.lognormal(0, 1, n),
        "uniform": lambda n: rng.uniform(1, 2, n),
        "cauchy": lambda n: np.abs(rng.standard_cauchy(n)),  # a tail that no fit would get right
    }
    draw = draws[kind]
    rejected = []
    for _ in range(600):
        found = calibrate(draw(math.ceil(1 / rate)).tolist(), rate)
        assert found.method == CONFORMAL
        rejected.append((draw(1000) > found.threshold).mean())
    error = np.std(rejected) / math.sqrt(len(rejected))
    assert np.mean(rejected) <= rate + 3 * error
    assert (
        np.mean(rejected) >= rate / 2.5
    )  # a threshold beyond every score would promise as much, and catch nothing


@given(st.lists(st.floats(0.01, 1e3), min_size=2, max_size=400), st.floats(0.001, 0.5))
def test_the_promise_is_never_looser_than_the_rank_allows(scores: list[float], rate: float) -> None:
    found = calibrate(scores, rate)
    above = sum(score > found.threshold for score in scores)
    assert above / (len(scores) + 1) <= rate + 1e-9
    assert found.guaranteed_rate <= rate + 1e-9 or found.method == TAIL


def test_a_handful_of_scores_gives_a_threshold_that_can_still_be_crossed() -> None:
    assert calibrate([1.0, 1.1], 0.005).threshold < 1.3


def test_199_images_are_just_enough_for_half_a_percent() -> None:
    enough = calibrate(list(range(1, 200)), 0.005)
    assert (enough.method, enough.threshold) == (CONFORMAL, 199)
    few = calibrate(list(range(1, 199)), 0.005)
    assert few.method == TAIL
    assert few.guaranteed_rate == pytest.approx(1 / 199)
    assert "199 would do" in few.note


@pytest.mark.parametrize("number", [20, 42, 120])
@pytest.mark.parametrize("kind", ["losses", "deviations", "three deviations"])
def test_a_fitted_tail_keeps_its_aim_and_is_not_beyond_every_defect(kind: str, number: int) -> None:
    rng = np.random.default_rng(3)

    def draw(count: int) -> np.ndarray:
        if kind == "losses":
            return np.asarray(rng.lognormal(-2, 0.3, count))
        parts = np.logaddexp(0, rng.normal(-0.5, 1.2, (count, 3 if kind.startswith("three") else 1)))
        return np.asarray(np.sqrt((parts**2).mean(1)))

    rejected, limits = [], []
    for _ in range(300):
        threshold = calibrate(draw(number).tolist(), 0.005).threshold
        rejected.append((draw(2000) > threshold).mean())
        limits.append(threshold)
    assert 0.002 <= np.mean(rejected) <= 0.01
    # No one calibration in twenty asks twice of a defect what the true limit would.
    assert np.quantile(limits, 0.95) <= 2 * np.quantile(draw(100_000), 0.995)


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, float("nan")]])
def test_scores_that_say_nothing_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="at least 2 finite"):
        calibrate(scores, 0.01)


@given(st.integers(8, 5000), st.floats(0.001, 0.2))
def test_every_part_of_the_split_has_images(count: int, rate: float) -> None:
    validated, calibrated = split(count, rate)
    assert validated >= 2
    assert calibrated >= 2
    assert count - validated - calibrated >= count // 2
