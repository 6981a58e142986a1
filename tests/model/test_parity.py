"""One verdict for one image: in every preset, batch and precision, and after a bundle was kept and loaded."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from model import bundle
from model.images import Pixels
from model.inference import BF16_TOLERANCE, LOADING_TOLERANCE, SCORE_TOLERANCE, judge, to_device
from model.loading import for_scoring
from model.presets import PRESETS, configure
from model.scoring import Scored, Scorer, verdict
from model.training import Trained

Parts = Callable[..., list[bytes]]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    trained: Trained
    loaded: bundle.Bundle
    scorer: Scorer
    arrays: list[Pixels]  # 64: 40 good, 24 with a stain
    together: list[Scored]


@pytest.fixture(scope="module", params=list(PRESETS))
def case(
    request: pytest.FixtureRequest,
    make_parts: Parts,
    hastily: Callable[..., Trained],
    tmp_path_factory: pytest.TempPathFactory,
) -> Case:
    config = configure(request.param, size=(64, 64), epochs=1, batch=8, false_reject_rate=0.2)
    trained = hastily(make_parts(51, 24), config)
    saved = bundle.save(trained, tmp_path_factory.mktemp("parity"), product="washer")
    loaded = bundle.load(saved.folder)
    scorer = Scorer(loaded)
    arrays = [scorer.decode(data).array for data in make_parts(52, 40) + make_parts(53, 24, "stain")]
    return Case(trained, loaded, scorer, arrays, scorer.score(arrays))


def agree(case: Case, found: Scored, index: int, tolerance: float) -> None:
    expected, threshold = case.together[index].score, case.scorer.threshold
    assert abs(found.score - expected) <= tolerance * max(expected, threshold), index
    if abs(expected / threshold - 1) > tolerance:
        assert verdict(found.score, threshold) == verdict(expected, threshold), index


def test_alone_or_among_64(case: Case) -> None:
    for index in range(64):
        (alone,) = case.scorer.score([case.arrays[index]])
        agree(case, alone, index, SCORE_TOLERANCE)
        threshold = case.scorer.threshold
        assert verdict(alone.score, threshold) == verdict(case.together[index].score, threshold), index


def test_verdicts_do_not_hang_on_neighbours_wherever_the_threshold_lies(case: Case) -> None:
    """Beside any score, at a distance that rounding bridges: the verdict is that of the image alone."""
    some = case.arrays[32:48]
    for place in range(4, 12):
        judge_ = Scorer(case.loaded)
        judge_.threshold = case.together[32 + place].score * (1 + 1e-6)
        together = [verdict(one.score, judge_.threshold) for one in judge_.score(some)]
        alone = [verdict(judge_.score([one])[0].score, judge_.threshold) for one in some]
        assert together == alone


def test_the_calibration_image_that_sets_the_threshold_is_not_rejected(case: Case, make_parts: Parts) -> None:
    assert case.trained.calibration.method == "split-conformal"
    found = case.scorer.score([case.scorer.decode(data).array for data in make_parts(51, 24)])
    assert sum(one.score == case.scorer.threshold for one in found) == 1


def test_before_and_after_a_bundle_and_its_loading(case: Case) -> None:
    """Folded batch norms and widened buffers round as another batch does, and the bundle stays as it was."""
    before = list(judge(to_device(case.trained.detector, CPU), case.arrays[:16], CPU))
    for index, one in enumerate(before):
        agree(case, one, index, LOADING_TOLERANCE)
    states = case.trained.detector.state_dict(), case.loaded.detector.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_no_batch_norm_is_left_behind_a_convolution(case: Case) -> None:
    ready = for_scoring(case.loaded.detector, CPU)
    left = [name for name, one in ready.named_modules() if isinstance(one, torch.nn.BatchNorm2d)]
    # Of `paper`'s transposed convolutions, and those that `features` has before a convolution.
    stays = {"paper": "network.decoder.draw.", "features": "network."}.get(ready.preset)
    assert stays is not None or not left
    assert all(name.startswith(str(stays)) for name in left)
    assert all(buffer.dtype != torch.float16 for buffer in ready.buffers())


def test_bfloat16_stays_within_its_tolerance(case: Case) -> None:
    half = judge(for_scoring(case.loaded.detector, CPU), case.arrays[32:48], CPU, bf16=True)
    for index, one in enumerate(half, 32):
        agree(case, one, index, BF16_TOLERANCE)


def test_bfloat16_gives_the_very_same_verdicts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the threshold lies, also right beside a score: what could turn is scored in float32."""
    monkeypatch.setattr("model.scoring.has_fast_bf16", lambda _: True)
    some = list(range(36, 44))
    exact = [case.together[i].score for i in some]
    for place in (exact[0], exact[-1] * (1 + 1e-4), sorted(exact)[4] * (1 - 1e-4)):
        half = Scorer(case.loaded, bf16=True, band=0.1)
        half.threshold = place
        found = half.score([case.arrays[i] for i in some])
        for one, score in zip(found, exact, strict=True):
            if abs(score / place - 1) > SCORE_TOLERANCE:
                assert verdict(one.score, place, 0.1) == verdict(score, place, 0.1)
