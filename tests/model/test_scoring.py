from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from model import bundle, regions
from model.inference import SCORE_TOLERANCE
from model.scoring import Scored, Scorer, verdict
from model.training import Trained

Parts = Callable[..., list[bytes]]
BF16_TOLERANCE = 0.05  # relative, of a score


@pytest.fixture(scope="module")
def scorer(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    saved = bundle.save(trained, tmp_path_factory.mktemp("bundles"), product="washer")
    return Scorer(bundle.load(saved.folder))


def scores_of(scorer: Scorer, parts: list[bytes]) -> list[Scored]:
    return scorer.score([scorer.decode(data).array for data in parts])


def test_defects_it_never_saw_are_found(scorer: Scorer, make_parts: Parts) -> None:
    good = [s.score for s in scores_of(scorer, make_parts(11, 60))]
    for seed, defect in ((12, "stain"), (13, "scratch")):
        bad = [s.score for s in scores_of(scorer, make_parts(seed, 40, defect))]
        assert roc_auc_score([0] * 60 + [1] * 40, good + bad) > 0.9, defect
    assert np.mean(np.array(good) > scorer.threshold) <= 0.15  # promised 1/18 from 17 calibration images


def test_the_map_is_highest_where_the_defect_is(scorer: Scorer, make_parts: Parts) -> None:
    """The same part with and without a stain: the pixels that differ are the truth."""
    hits = 0
    for seed in range(20, 40):
        (clean,), (stained,) = make_parts(seed, 1), make_parts(seed, 1, "stain")
        arrays = [scorer.decode(data).array[..., 0].astype(float) for data in (clean, stained)]
        truth = np.abs(arrays[0] - arrays[1]) > 30
        (scored,) = scores_of(scorer, [stained])
        peak = np.unravel_index(scored.map.argmax(), scored.map.shape)
        rows, columns = np.nonzero(truth)
        hits += bool(np.hypot(rows - peak[0], columns - peak[1]).min() <= 4)
    assert hits >= 17


def test_an_image_scores_the_same_alone_and_among_64(scorer: Scorer, make_parts: Parts) -> None:
    parts = make_parts(14, 40) + make_parts(15, 24, "stain")
    together = scores_of(scorer, parts)
    for index in (0, 15, 16, 40, 63):
        (alone,) = scores_of(scorer, [parts[index]])
        assert alone.score == pytest.approx(together[index].score, rel=SCORE_TOLERANCE)
        np.testing.assert_allclose(alone.map, together[index].map, atol=SCORE_TOLERANCE * scorer.threshold)
        assert verdict(alone.score, scorer.threshold) == verdict(together[index].score, scorer.threshold)


def test_bfloat16_gives_the_same_verdicts_and_nearly_the_same_scores(
    scorer: Scorer, trained: Trained, make_parts: Parts, tmp_path: Path
) -> None:
    loaded = bundle.load(bundle.save(trained, tmp_path, product="washer").folder)
    half = Scorer(loaded, bf16=True)
    parts = make_parts(16, 4) + make_parts(17, 4, "stain")
    for exact, rounded in zip(scores_of(scorer, parts), scores_of(half, parts), strict=True):
        assert rounded.score == pytest.approx(exact.score, rel=BF16_TOLERANCE)
        clear = abs(exact.score / scorer.threshold - 1) > BF16_TOLERANCE
        if clear:
            assert verdict(rounded.score, half.threshold) == verdict(exact.score, scorer.threshold)


def test_an_image_that_is_rejected_for_a_stain_shows_where_it_is(scorer: Scorer, make_parts: Parts) -> None:
    rejected = [s for s in scores_of(scorer, make_parts(18, 40, "stain")) if s.score > scorer.threshold]
    assert len(rejected) >= 20
    for scored in rejected:
        found = regions.find(scored.map, scorer.threshold, width=640, height=480)
        assert found[0].peak > scorer.threshold
        assert scored.map.dtype == np.float32
        assert scored.map.shape == scorer.size


def test_where_the_map_is_above_the_threshold_the_score_is_too(scorer: Scorer, make_parts: Parts) -> None:
    found = scores_of(scorer, make_parts(19, 40) + make_parts(20, 8, "stain"))
    assert all(one.map.max() <= one.score for one in found)


def test_an_array_of_another_shape_is_refused(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match=r"\(64, 64, 3\).*decode"):
        scorer.score([np.zeros((64, 64, 3), np.uint8)])


def test_no_images_no_scores(scorer: Scorer) -> None:
    assert scorer.score([]) == []


def test_scoring_leaves_the_threads_of_torch_alone(scorer: Scorer) -> None:
    before = torch.get_num_threads()
    scorer.warm_up()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("score", "band", "expected"),
    [
        (9.99, 0.0, "ok"),
        (10.0, 0.0, "ok"),  # calibration promises for scores above the threshold
        (10.01, 0.0, "ng"),
        (9.4, 0.05, "ok"),
        (9.6, 0.05, "inconclusive"),
        (10.4, 0.05, "inconclusive"),
        (10.6, 0.05, "ng"),
    ],
)
def test_verdicts_around_the_threshold(score: float, band: float, expected: str) -> None:
    assert verdict(score, 10.0, band) == expected


def test_a_band_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="band"):
        verdict(1.0, 1.0, 1.0)
