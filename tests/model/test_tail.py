"""Scores far above those around them, and none of those that only drift."""

import numpy as np
import pytest

from model import tail


def good(number: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.exp(np.random.default_rng(seed).normal(-1, 0.3, number)))


def test_few_good_images_are_called_extreme() -> None:
    high = [np.mean(tail.height(list(good(1000, seed))) > tail.BEYOND) for seed in range(20)]
    assert float(np.mean(high)) < 0.002


def test_a_twentieth_of_defects_stands_out_wherever_it_lies() -> None:
    scores, bad = good(400), np.arange(7, 400, 20)
    scores[bad] *= 10
    high = np.flatnonzero(tail.height(list(scores)) > tail.BEYOND)
    assert set(bad) <= set(high)
    assert len(high) <= len(bad) + 2


def test_scores_that_rise_slowly_are_no_defects() -> None:
    rising = good(1000) * np.linspace(1, 6, 1000)
    assert float(np.mean(tail.height(list(rising)) > tail.BEYOND)) < 0.003


@pytest.mark.parametrize("number", [0, 1, 19])
def test_of_few_scores_nothing_is_said(number: int) -> None:
    scores = [0.1] * number
    if scores:
        scores[-1] = 100.0
    assert tail.height(scores).tolist() == [0.0] * number


def test_scores_that_are_all_equal_or_nothing_have_no_tail() -> None:
    assert tail.height([0.0] * 40).tolist() == [0.0] * 40
    assert tail.height([0.3] * 39 + [0.31])[-1] < tail.BEYOND


def test_the_highest_are_named_so_many_at_most_and_none_that_is_trusted() -> None:
    scores = list(good(60))
    for place, score in [(3, 30.0), (8, 60.0), (40, 20.0), (50, 90.0)]:
        scores[place] = score
    assert tail.far(scores, 0.1) == [50, 8, 3, 40]
    assert tail.far(scores, 0.1, {8}) == [50, 3, 40]
    assert tail.far(scores, 2.5 / 60) == [50, 8, 3]
    assert tail.far(scores, 0.0) == []
