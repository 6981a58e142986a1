"""Statistics of drift: quiet on the same, louder with every shift, and light told from lens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import drift
from model.appearance import Look, look

RANDOM = np.random.default_rng(0)
SCORES = list(RANDOM.normal(1, 0.1, 199))
PART = RANDOM.integers(60, 180, (64, 64, 3)).astype(np.uint8)


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=20))
@settings(max_examples=50, deadline=None)
def test_psi_of_the_same_counts_is_nothing_and_is_symmetric(bins: list[int]) -> None:
    assert drift.psi(bins, bins) == pytest.approx(0, abs=1e-12)
    other = bins[::-1]
    assert drift.psi(bins, other) == pytest.approx(drift.psi(other, bins))
    assert drift.psi(bins, other) >= 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_psi_and_ks_grow_with_the_shift(seed: int) -> None:
    live = np.random.default_rng(seed).normal(1, 0.1, 300)
    inner = drift.edges(SCORES)
    expected = drift.counts(SCORES, inner)
    shifts = (0.0, 0.1, 0.2, 0.3)
    psis = [drift.psi(expected, drift.counts(list(live + by), inner)) for by in shifts]
    distances = [drift.ks(SCORES, list(live + by))[0] for by in shifts]
    assert psis == sorted(psis)
    assert distances == sorted(distances)


def test_chance_alone_passes_the_limit_as_seldom_as_asked_for() -> None:
    inner = drift.edges(SCORES)
    expected = drift.counts(SCORES, inner)
    limit = drift.psi_limit(0.0, len(expected), len(SCORES), 60, 0.01)
    lives = [list(np.random.default_rng(seed).choice(SCORES, 60)) for seed in range(300)]
    assert sum(drift.psi(expected, drift.counts(live, inner)) > limit for live in lives) <= 9
    limit = drift.ks_limit(0.0, len(SCORES), 60, 0.01)
    assert sum(drift.ks(SCORES, live)[0] > limit for live in lives) <= 9
    assert drift.ks(SCORES, [one + 0.1 for one in lives[0]])[0] > limit
    assert drift.ks_limit(0.25, 10**6, 10**6, 0.01) == 0.25
    assert drift.ks_limit(0.25, 2, 2, 0.01) == 1


def test_the_rate_limit_allows_what_chance_does_and_a_factor() -> None:
    assert 0.01 < drift.rate_limit(10, 1000, 100, 2, 1e-3) < 0.12
    assert drift.rate_limit(1000, 100_000, 100_000, 2, 1e-3) == pytest.approx(0.02)  # the factor decides
    assert 0 < drift.rate_limit(0, 500, 50, 2, 1e-3) < 0.2
    assert drift.rate_limit(5, 5, 50, 2, 1e-3) == 1


def test_less_light_moves_brightness_only_and_a_dirty_lens_the_sharpness() -> None:
    usual, dark = look(PART), look((PART * 0.7).astype(np.uint8))
    assert dark.brightness / usual.brightness == pytest.approx(0.7, rel=0.02)
    assert dark.contrast == pytest.approx(usual.contrast, rel=0.03)
    assert dark.sharpness == pytest.approx(usual.sharpness, rel=0.03)
    blurred = sum(np.roll(PART.astype(np.float32), by, 1) for by in range(5)) / 5
    assert look(blurred.astype(np.uint8)).sharpness < 0.7 * usual.sharpness


def test_a_lamp_that_never_flickered_is_not_taken_for_news() -> None:
    made = drift.reference(SCORES, [Look(0.5, 0.3, 0.2, 0.0)] * 20)
    usual = {name: drift.Usual(**one) for name, one in made["images"].items()}
    assert abs(drift.robust_z([0.501] * 50, usual["brightness"])) < 1
    assert drift.robust_z([0.35] * 50, usual["brightness"]) < -10
    assert drift.robust_z([0.0] * 50, usual["saturation"]) == 0
    assert len(made["scores"]) == 199


@pytest.mark.parametrize("array", [np.zeros((8, 8, 1), np.uint8), np.ones((8, 1, 3), np.float32)])
def test_blank_images_have_a_look_too(array: np.ndarray) -> None:
    assert all(np.isfinite(list(vars(look(array)).values())))
