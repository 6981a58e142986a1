"""Whether scores and images of a station are still like those that a model was trained and calibrated on.

Pure statistics. What is compared with travels in the model's manifest, as `reference` makes it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, betaincinv, chdtri, kolmogi, rel_entr

from model.appearance import Look

FORMAT: Final = 1
_KEPT = 200  # calibration scores at most: their order statistics, evenly spaced
_BINS = 10
_A_BIN = 5  # calibration scores at least: fewer would make its share a guess
_TO_SIGMA = 1.4826  # from the median absolute deviation of a normal distribution to its standard deviation
# A lamp that never flickered in training has no spread at all: changes of less than this share are no news.
_LEAST_SPREAD = 0.02
_LEAST_ABSOLUTE = 0.005

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Usual:
    """Median and robust standard deviation of an image statistic over good training images."""

    median: float
    spread: float


def reference(scores: Sequence[float], looks: Sequence[Look]) -> dict[str, Any]:
    """Sum up calibration scores and the looks of good training images, for the manifest."""
    ordered = np.sort(np.asarray(scores, np.float64))
    places = np.linspace(0, len(ordered) - 1, min(_KEPT, len(ordered))).round().astype(int)
    images = {}
    for name in Look.__dataclass_fields__:
        values = np.asarray([getattr(one, name) for one in looks], np.float64)
        median = float(np.median(values))
        spread = _TO_SIGMA * float(np.median(np.abs(values - median)))
        images[name] = asdict(Usual(_short(median), _short(spread)))
    return {
        "format": FORMAT,
        "scores": [_short(float(one)) for one in ordered[places]],
        "images": images,
    }


def edges(calibration: Sequence[float]) -> Values:
    """Give the inner edges of PSI's bins: quantiles of the calibration scores, 10 bins or what they allow."""
    bins = max(2, min(_BINS, len(calibration) // _A_BIN))
    return np.unique(np.quantile(np.asarray(calibration, np.float64), np.arange(1, bins) / bins))


def counts(scores: Sequence[float], inner: Values) -> NDArray[np.int64]:
    """Count scores by bin, from below the first edge to above the last: (len(inner) + 1,)."""
    places = np.searchsorted(inner, np.asarray(scores, np.float64), side="left")
    return np.bincount(places, minlength=len(inner) + 1).astype(np.int64)


def psi(expected: Sequence[int] | NDArray[np.int64], found: Sequence[int] | NDArray[np.int64]) -> float:
    """Population stability index of counts by bin: Jeffreys' divergence of their shares; 0 for equal counts.

    Half a count is added to each bin, so that an empty one is no infinity.
    """
    p, q = (np.asarray(one, np.float64) + 0.5 for one in (expected, found))
    p, q = p / p.sum(), q / q.sum()
    return float((rel_entr(p, q) + rel_entr(q, p)).sum())


def psi_limit(limit: float, bins: int, expected: int, found: int, alpha: float) -> float:
    """Give `limit`, or what chance alone exceeds with probability `alpha` where that is more.

    Of samples of one distribution, PSI / (1/n + 1/m) is about chi-squared with bins - 1 degrees of freedom
    (Yurdakul, Statistical Properties of Population Stability Index, 2018).
    """
    return max(limit, float(chdtri(bins - 1, alpha)) * (1 / expected + 1 / found))


def ks(calibration: Sequence[float], scores: Sequence[float]) -> tuple[float, float]:
    """Give the two-sample Kolmogorov-Smirnov statistic and its p-value."""
    from scipy.stats import ks_2samp  # noqa: PLC0415  # slow to import, and no scoring worker needs it

    said = ks_2samp(np.asarray(calibration, np.float64), np.asarray(scores, np.float64), method="auto")
    return float(said.statistic), float(said.pvalue)


def ks_limit(limit: float, expected: int, found: int, alpha: float) -> float:
    """Give `limit`, or the distance that chance alone exceeds with probability `alpha` where that is more.

    Of samples of one distribution, distance x sqrt(nm / (n + m)) is about Kolmogorov's (Smirnov, 1948).
    """
    return min(1.0, max(limit, float(kolmogi(alpha)) * math.sqrt(1 / expected + 1 / found)))


def robust_z(values: Sequence[float], usual: Usual) -> float:
    """Say how far the median of `values` lies from the usual one, in the usual images' deviations."""
    least = max(_LEAST_SPREAD * abs(usual.median), _LEAST_ABSOLUTE)
    return (float(np.median(np.asarray(values, np.float64))) - usual.median) / max(usual.spread, least)


def rate_limit(before: int, of: int, images: int, factor: float, alpha: float) -> float:
    """Give the share among `images` that a rate of `before` in `of` exceeds by chance with `alpha` at most.

    The rate may be as high as its own upper bound (Clopper and Pearson, 95 %); the limit is at least `factor`
    times what was seen, since among many images any change is significant.
    """
    upper = 1.0 if before >= of else float(betaincinv(before + 1, of - before, 0.95))
    most = _least(images, lambda k: float(bdtrc(k, images, upper)) <= alpha)
    return min(1.0, max(most / images, factor * before / of))


def _least(most: int, enough: Callable[[int], bool]) -> int:
    """Find the least number up to `most` that is enough, where all above it are too."""
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _short(value: float) -> float:
    """Six digits: a manifest is read by people too."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no statistic: scores and images must be finite numbers")
    return float(f"{value:.6g}")
