"""Where a part's score stands, and how long its steps took, as shapes that a template draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from db.distribution import Scores

BINS: Final = 80
STEPS: Final = ("queue_ms", "read_ms", "decode_ms", "device_ms", "score_ms", "encode_ms")  # in their order


@dataclass(frozen=True)
class Histogram:
    """Two rows of bars over one axis, whose places are shares (0..1) of its length.

    A bar is its place and its share of the row's highest; beyond the ends the first and last bar stand.
    """

    ok: list[tuple[float, float]]
    ng: list[tuple[float, float]]
    ok_parts: int
    ng_parts: int
    bar: float
    threshold_at: float
    score_at: float
    ends: tuple[float, float]


@dataclass(frozen=True)
class Step:
    """A step's milliseconds, and its share of the longest one's."""

    name: str
    ms: float
    share: float


def histogram(scores: Scores, threshold: float, score: float) -> Histogram | None:
    """Give the bars around the threshold, from 0 to twice of it; None where there are no other scores."""
    found = [*scores.ok, *scores.ng]
    if not found:
        return None
    low, high = (0.0, 2 * threshold) if threshold > 0 else (min(*found, score), max(*found, score))
    length = high - low or 1.0

    def place(value: float) -> float:
        return min(max((value - low) / length, 0.0), 1.0)

    def bars(values: Sequence[float]) -> list[tuple[float, float]]:
        counts = [0] * BINS
        for value in values:
            counts[min(int(place(value) * BINS), BINS - 1)] += 1
        most = max(counts)
        return [(n / BINS, round(count / most, 4)) for n, count in enumerate(counts) if count]

    return Histogram(
        ok=bars(scores.ok),
        ng=bars(scores.ng),
        ok_parts=len(scores.ok),
        ng_parts=len(scores.ng),
        bar=1 / BINS,
        threshold_at=place(threshold),
        score_at=place(score),
        ends=(low, high),
    )


def steps(timings: dict[str, float]) -> list[Step]:
    """Give the steps that a verdict took, in their order; others after those that are known."""
    known = [name for name in STEPS if name in timings]
    told = {"late_ms", "total_ms"}
    names = known + [name for name in timings if name.endswith("_ms") and name not in {*known, *told}]
    longest = max((timings[name] for name in names), default=0.0) or 1.0
    return [Step(name, timings[name], max(0.0, timings[name]) / longest) for name in names]
