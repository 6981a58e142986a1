"""The threshold, from scores of held-out good images only."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

CONFORMAL = "split-conformal"
TAIL = "tail-fit"


@dataclass(frozen=True)
class Calibration:
    """`guaranteed_rate` is the false-reject rate that holds whatever the scores' distribution."""

    threshold: float
    method: str
    target_rate: float
    guaranteed_rate: float
    images: int
    note: str


def calibrate(scores: Sequence[float], target_rate: float) -> Calibration:
    """The threshold that rejects (score > threshold) at most `target_rate` of good images.

    Split conformal (Vovk et al., 2005; Angelopoulos and Bates, 2021, section 1): the k-th smallest of n
    scores with k = ceil((n + 1)(1 - rate)) bounds the rate for any n and any distribution. That needs
    n >= 1/rate - 1. With fewer, the greatest score bounds it by 1/(n + 1), and where the prediction limit of
    a normal distribution lies beyond it, that is taken.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    count = len(values)
    if count < 2 or not np.isfinite(values).all():
        raise ValueError(f"calibration needs at least 2 finite scores, got {list(scores)}")
    if not 0 < target_rate < 1:
        raise ValueError(f"the target false-reject rate is {target_rate}, but must lie between 0 and 1")
    rank = math.ceil((count + 1) * (1 - target_rate) - 1e-9)  # 200 * 0.995 is a hair above 199 in binary
    if rank <= count:
        guaranteed = 1 - rank / (count + 1)
        note = f"rank {rank} of {count} held-out good images: rejects at most {guaranteed:.2%} of good parts"
        return Calibration(float(values[rank - 1]), CONFORMAL, target_rate, guaranteed, count, note)
    guaranteed = 1 / (count + 1)
    needed = math.ceil(1 / target_rate - 1 - 1e-9)
    note = (
        f"{count} held-out good images are too few to promise {target_rate:.2%} ({needed} would do): the "
        f"tail is fitted, and no more than {guaranteed:.2%} is promised; train with more good images"
    )
    threshold = max(float(values[-1]), _prediction_limit(values, target_rate))
    return Calibration(threshold, TAIL, target_rate, guaranteed, count, note)


def trimmed(scores: Sequence[float], without: Collection[int], target_rate: float) -> Calibration:
    """Calibrate without some of the scores, which may be defects' (their indices).

    If they are good images' after all, so many more are rejected: that is part of what is guaranteed.
    """
    kept = [score for i, score in enumerate(scores) if i not in without]
    calibration = calibrate(kept, target_rate)
    if not without:
        return calibration
    guaranteed = calibration.guaranteed_rate + len(without) / len(scores)
    note = f"{calibration.note}; {len(without)} more were left out for scores far above the others"
    return replace(calibration, guaranteed_rate=guaranteed, note=note)


def _prediction_limit(values: np.ndarray, rate: float) -> float:
    """The 1 - rate prediction limit for one more score, where what they are the softplus of is normal.

    Scores made of deviations are just that; for losses, far below 1, it is their logarithm. (The logarithm of
    a softplus has a long left tail, and a right one that is fitted to both lies beyond every defect.) It goes
    at most as far beyond the greatest value as that is from the mean: of a handful of values the limit is
    astronomical, and a threshold that rejects nothing is none.
    """
    safe = np.maximum(values, 1e-6)
    plain = safe + np.log(-np.expm1(-safe))  # the inverse of softplus, also where its exponential overflows
    spread = float(plain.std(ddof=1)) * math.sqrt(1 + 1 / len(plain))
    # Student's t quantile; scipy.stats gives the same, and takes a worker a second to import.
    beyond = float(special.stdtrit(len(plain) - 1, 1 - rate)) * spread
    limit = float(plain.mean()) + min(beyond, 2 * float(plain.max() - plain.mean()))
    return float(np.logaddexp(0, limit))
