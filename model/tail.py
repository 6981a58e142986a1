"""Scores far above those around them: good parts as a model sees them, and what hides among them.

A robust rule, since what it looks for is in the data: up to a quarter of a window may be anything.
"""

import math
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

BEYOND: Final = 3.5  # deviations above the median: one good image in some thousand
_WINDOW: Final = 100  # images
_LEAST: Final = 20  # fewer don't tell how far good images spread
_TO_SIGMA: Final = 0.6745  # from the upper quartile of a normal distribution to its standard deviation
_LEAST_SPREAD: Final = 0.02  # of a logarithm: scores that are all but equal have no tail


def height(scores: Sequence[float]) -> NDArray[np.float64]:
    """Say of scores, in the order in which their images came, how many deviations above the median each lies.

    Of logarithms, since good images' scores have a long tail of their own; within windows of about 100
    images, since a lamp that fades, and the newest images that show it, are no defects; the deviation is that
    of the upper side. All are 0 where there are fewer than 20. Scores are positive.
    """
    logs = np.log(np.maximum(np.asarray(scores, np.float64), 1e-12))
    if len(logs) < _LEAST:
        return np.zeros(len(logs))
    heights = []
    for window in np.array_split(logs, max(1, len(logs) // _WINDOW)):
        middle, upper = np.quantile(window, [0.5, 0.75])
        heights.append((window - middle) / max((upper - middle) / _TO_SIGMA, _LEAST_SPREAD))
    return np.concatenate(heights)


def far(scores: Sequence[float], most: float, trusted: Collection[int] = ()) -> list[int]:
    """Give the indices of scores that lie beyond, highest first, a share `most` of all at most (rounded up).

    None of those that are `trusted`.
    """
    heights = height(scores)
    found = [i for i in np.argsort(-heights, kind="stable").tolist() if i not in trusted]
    return [i for i in found if heights[i] > BEYOND][: math.ceil(most * len(heights))]
