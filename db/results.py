"""Recording verdicts: one per inspection, whoever comes first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from db import attempts, review_queue
from db.insert import insert_missing
from db.tables import VERDICTS, AnomalyMap, Result
from db.text import readable

RESULTS_PER_STATEMENT = 500
# Among the timings, since those are sealed: the model said ok or ng, and an alarm that holds was open.
HELD: Final = "held"


@dataclass(frozen=True)
class NewMap:
    """A quantised anomaly map as PNG: value = low + pixel / (2**bits - 1) * (high - low)."""

    bits: int
    low: float
    high: float
    width: int
    height: int
    data: bytes
    sha256: str


@dataclass(frozen=True)
class NewResult:
    """A verdict to record. Raises ValueError for what isn't one, before it can spoil a batch.

    `timings` are milliseconds by step; `late_ms` is by how much its deadline was missed, `held` is 1 where
    by_model() tells what the model said. `regions` are boxes (x, y, width, height, area) in pixels of the
    upright image, with the peak value of the map. An `error` verdict has a reason and needs no score; any
    other has score, threshold and model version, and no reason.
    """

    inspection_id: UUID
    verdict: str
    score: float | None
    threshold: float | None
    model_version: str | None
    worker: str
    attempts: int
    judged_at: datetime
    timings: dict[str, float]
    regions: list[dict[str, float]]
    error: str | None
    map: NewMap | None

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(
                f"verdict {self.verdict!r} of {self.inspection_id} is none of {', '.join(VERDICTS)}"
            )
        if (self.verdict == "error") is not (self.error is not None):
            raise ValueError(
                f"verdict {self.verdict!r} of {self.inspection_id} with error {self.error!r}: "
                "an error needs its reason, any other verdict has none"
            )
        if self.verdict != "error" and None in {self.score, self.threshold, self.model_version}:
            raise ValueError(
                f"verdict {self.verdict!r} of {self.inspection_id} needs score, threshold and model version, "
                f"got {self.score}, {self.threshold}, {self.model_version}"
            )
        numbers = [self.score or 0.0, self.threshold or 0.0, *self.timings.values()]
        numbers += [value for region in self.regions for value in region.values()]
        numbers += [] if self.map is None else [self.map.low, self.map.high]
        if self.judged_at.tzinfo is None:
            raise ValueError(f"verdict on {self.inspection_id} at {self.judged_at}, which has no time zone")
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"verdict on {self.inspection_id} has a number that is not finite: {numbers}")


def by_model(result: Result | NewResult) -> str:
    """Give the verdict of the model, which stands only while no alarm held the station's verdicts."""
    if HELD not in result.timings or result.score is None or result.threshold is None:
        return result.verdict
    return "ng" if result.score > result.threshold else "ok"


def record(
    session: Session, new: Sequence[NewResult], borderline: float = review_queue.BORDERLINE
) -> set[UUID]:
    """Insert the verdicts, with their maps, of inspections that have none, and give the ids of those.

    A verdict that stands is never touched, and its map neither: the first writer wins. What has its verdict
    no longer waits for the sweeper, but maybe for a review; `borderline` as in db.review_queue.offer. Raises
    sqlalchemy.exc.IntegrityError for an unknown inspection or model.
    """
    inserted: set[UUID] = set()
    for start in range(0, len(new), RESULTS_PER_STATEMENT):
        inserted |= _record(session, new[start : start + RESULTS_PER_STATEMENT], borderline)
    return inserted


def _record(session: Session, new: Sequence[NewResult], borderline: float) -> set[UUID]:
    # Before the results: every writer takes its locks in the same order.
    attempts.end(session, [item.inspection_id for item in new])
    rows = [_row(item) for item in new]
    inserted = set(insert_missing(session, Result, Result.inspection_id, rows))
    winners = {item.inspection_id: item for item in reversed(new) if item.inspection_id in inserted}
    review_queue.offer(session, winners.values(), borderline)
    maps = [
        {"inspection_id": id_, "encoding": "png", **vars(item.map)}
        for id_, item in winners.items()
        if item.map is not None
    ]
    insert_missing(session, AnomalyMap, AnomalyMap.inspection_id, maps)
    return inserted


def _row(item: NewResult) -> dict[str, Any]:
    row = vars(item).copy()
    del row["map"]
    row["error"] = None if item.error is None else readable(item.error)
    return row
