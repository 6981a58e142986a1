"""The figures, on what can be counted by hand and against an independent implementation."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from model.evaluation.masks import fit_map, fit_mask, read_mask
from model.evaluation.metrics import image_figures, precision_recall, roc
from model.evaluation.pixels import PRO_LIMIT, gather, pixel_figures
from model.evaluation.sets import SetError

Array = NDArray[np.float32]


def test_image_figures_counted_by_hand() -> None:
    """Good 1, 2, 3, 4 and defective 2.5, 5: of 8 pairs 6 are in order; sorted: 5b 4g 3g 2.5b 2g 1g."""
    found = image_figures(np.array([1.0, 2, 3, 4]), np.array([2.5, 5]))
    assert found["image_auroc"] == pytest.approx(6 / 8)
    assert found["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    assert found["f1_max"] == pytest.approx(2 / 3)  # at 5 (1, 1/2) as at 2.5 (1/2, 1)
    assert found["recall_at_fpr"] == {"0.005": 0.5, "0.01": 0.5}


def test_recall_at_a_rate_lets_exactly_that_share_be_rejected() -> None:
    good = np.arange(200.0)
    bad = np.array([196.5, 197.5, 198.5, 300])
    assert image_figures(good, bad)["recall_at_fpr"] == {"0.005": 0.5, "0.01": 0.75}


def test_equal_scores_are_no_separation() -> None:
    found = image_figures(np.ones(5), np.ones(5))
    assert found["image_auroc"] == 0.5
    assert found["recall_at_fpr"]["0.01"] == 0


def test_curves_end_where_they_must() -> None:
    good, bad = np.array([1.0, 2, 3, 4]), np.array([2.5, 5])
    curve = roc(good, bad)
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(6 / 8)
    curve = precision_recall(good, bad)
    assert (curve.x[0], curve.y[0], curve.x[-1]) == (0, 1, 1)


def test_aupro_counted_by_hand() -> None:
    """Two regions, of 1 and of 4 pixels; the small one is found at once, the large one never in reach.

    So the overlap is 1/2 from the first threshold on, whatever the regions' areas; pixel-wise it is 1/5.
    """
    values, mask = np.zeros((10, 10), np.float32), np.zeros((10, 10), np.bool_)
    mask[0, 0], mask[5:7, 5:7] = True, True
    values[0, 0] = 9
    values[5:7, 5:7] = -1
    found = pixel_figures([gather([values], [mask])])
    assert found is not None
    # From (0, 1/2) the curve goes level to (1, 1/2): all 95 normal pixels have one value, above the rest's.
    assert found.aupro == pytest.approx(0.5)
    assert found.pixel_auroc == pytest.approx(1 / 5)


def test_a_perfect_map_has_the_whole_area_and_a_constant_one_the_diagonals() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[3:6, 3:9] = True
    perfect = pixel_figures([gather([mask.astype(np.float32)], [mask])])
    level = pixel_figures([gather([np.ones((20, 20), np.float32)], [mask])])
    assert perfect is not None
    assert level is not None
    assert (perfect.aupro, perfect.pixel_auroc) == (1, 1)
    assert level.aupro == pytest.approx(PRO_LIMIT / 2)
    assert level.pixel_auroc == pytest.approx(0.5)


def test_regions_that_touch_by_a_corner_are_one() -> None:
    mask = np.zeros((6, 6), np.bool_)
    mask[1, 1] = mask[2, 2] = True
    assert gather([np.zeros((6, 6), np.float32)], [mask]).regions == 1


def test_no_defect_pixel_or_no_other_gives_no_figure() -> None:
    values = np.zeros((4, 4), np.float32)
    assert pixel_figures([gather([values], [None])]) is None
    assert pixel_figures([gather([values], [np.ones((4, 4), np.bool_)])]) is None


def slow_aupro(maps: list[Array], masks: list[NDArray[np.bool_]], limit: float) -> float:
    """AUPRO as its definition reads: at every threshold, every region's overlap, meaned."""
    normal = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
    points = [(0.0, 0.0)]
    for threshold in sorted({float(v) for m in maps for v in m.ravel()}, reverse=True):
        overlaps = []
        for values, mask in zip(maps, masks, strict=True):
            labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
            overlaps += [float((values[labels == i + 1] >= threshold).mean()) for i in range(count)]
        points.append((float((normal >= threshold).mean()), float(np.mean(overlaps))))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit:
            break
        end, top = (x1, y1) if x1 <= limit else (limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0))
        area += (end - x0) * (y0 + top) / 2
    return area / limit


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.sampled_from([2, 5, 1000]),
    count=st.integers(1, 4),
    share=st.floats(0.05, 0.6),
)
def test_aupro_and_pixel_auroc_agree_with_slow_ones(seed: int, levels: int, count: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    maps = [rng.integers(0, levels, (9, 7)).astype(np.float32) - 3 for _ in range(count)]
    masks = [rng.random((9, 7)) < share for _ in range(count)]
    masks[0][0, 0], masks[0][8, 6] = True, False
    truth = np.concatenate([mask.ravel() for mask in masks])
    values = np.concatenate([map_.ravel() for map_ in maps])
    whole = pixel_figures([gather(maps, masks)])
    parts = pixel_figures([gather([m], [k]) for m, k in zip(maps, masks, strict=True)])
    assert whole is not None
    assert parts is not None
    assert whole.pixel_auroc == pytest.approx(roc_auc_score(truth, values))
    assert whole.aupro == pytest.approx(slow_aupro(maps, masks, PRO_LIMIT))
    assert (parts.aupro, parts.pixel_auroc) == pytest.approx((whole.aupro, whole.pixel_auroc))


def test_a_mask_shrinks_by_area_and_no_region_vanishes() -> None:
    mask = np.zeros((64, 64), np.bool_)
    mask[0:8, 0:8] = True  # fills a pixel
    mask[40, 41:44] = True  # a scratch of 3 pixels in 64: less than half, but most in one place
    small = fit_mask(mask, (8, 8))
    assert sorted(zip(*np.nonzero(small), strict=True)) == [(0, 0), (5, 5)]


def test_a_mask_grows_with_the_map() -> None:
    mask = np.array([[True, False], [False, False]])
    assert fit_mask(mask, (4, 4)).sum() == 4


def test_a_large_map_is_measured_at_256_pixels() -> None:
    assert fit_map(np.zeros((512, 1024), np.float32)).shape == (128, 256)
    assert fit_map(np.zeros((64, 32), np.float32)).shape == (64, 32)


@pytest.mark.parametrize("top", [1, 255])
def test_masks_are_read_whatever_their_white_is(tmp_path: Path, top: int) -> None:
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1, 2] = top
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert np.argwhere(read_mask(tmp_path / "m.png", 6, 4)).tolist() == [[1, 2]]


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    Image.new("L", (6, 4)).save(tmp_path / "m.png")
    with pytest.raises(SetError, match=r"6 x 4 pixels, but its image 4 x 6"):
        read_mask(tmp_path / "m.png", 4, 6)
    (tmp_path / "m.png").write_bytes(b"no image")
    with pytest.raises(SetError, match="can't be read"):
        read_mask(tmp_path / "m.png", 4, 6)
