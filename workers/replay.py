"""Replaying: the stored image, scored again with the stored model, has to give the stored verdict.

Nothing of a running worker is used: the model is made from what database and image store hold now, so that
whatever was swapped there is noticed.
"""

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np
from celery.utils.log import get_task_logger
from numpy.typing import NDArray
from sqlalchemy import select

from db import events, history, sample
from db.history import Detail
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.tables import AnomalyMap, Event, ModelVersion, Result
from model import bundle
from model.bundle import BundleError
from model.images import Decoded
from model.inference import REPLAY_TOLERANCE, Scored
from model.maps import decode_map
from model.scoring import Scorer
from workers import bundles, stored
from workers.celery import app
from workers.runtime import Runtime, runtime

logger = get_task_logger(__name__)

REPLAYED: Final = "replay.sampled"  # the kind of the event
_ONCE_IN: Final = timedelta(hours=23, minutes=30)
_AT_ONCE: Final = 16
_NAMED: Final = 20


@dataclass(frozen=True)
class Replay:
    """A verdict that was replayed; it is equal where nothing differs. `score` is None where none was had."""

    inspection_id: UUID
    model: str | None
    stored: float | None
    score: float | None
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not self.differences


@dataclass(frozen=True)
class Model:
    """A model made anew, and by how much, relatively, scores and maps may differ."""

    scorer: Scorer
    tolerance: float


def replay(state: Runtime, ids: Sequence[UUID]) -> Iterator[Replay]:
    """Replay the verdicts of inspections, model by model.

    Raises db.history.UnknownInspectionError, and ImageStoreUnavailableError or what the database raises while
    they are away: then nothing can be said.
    """
    by_model: dict[str | None, list[Detail]] = defaultdict(list)
    with state.reading() as session:
        for id_ in ids:
            detail = history.inspection(session, id_)
            by_model[None if detail.result is None else detail.result.model_version].append(detail)
        versions = {name: session.get(ModelVersion, name) for name in by_model if name is not None}
    for name, details in by_model.items():
        if name is None:
            yield from (_refused(one, _unjudged(one)) for one in details)
            continue
        gone = {one.inspection.id: why for one in details if (why := _let_go(one)) is not None}
        yield from (_refused(one, gone[one.inspection.id]) for one in details if one.inspection.id in gone)
        kept = [one for one in details if one.inspection.id not in gone]
        if not kept:
            continue
        model = _made(state, name, versions[name])
        if isinstance(model, str):
            yield from (_refused(one, model) for one in kept)
            continue
        for start in range(0, len(kept), _AT_ONCE):
            yield from _scored_again(state, model, kept[start : start + _AT_ONCE])


def _unjudged(detail: Detail) -> str:
    if detail.result is None:
        return "it has no verdict yet, so there is nothing to replay"
    return f"no model judged it ({detail.result.error}), so there is nothing to replay"


def _let_go(detail: Detail) -> str | None:
    for what, when in (("image", detail.image_let_go), ("anomaly map", detail.map_let_go)):
        if when is not None:
            return f"retention let the {what} go at {when:%Y-%m-%d %H:%M:%S} UTC, so it can't be replayed"
    return None


def _refused(detail: Detail, why: str) -> Replay:
    result = detail.result
    return Replay(
        detail.inspection.id,
        None if result is None else result.model_version,
        None if result is None else result.score,
        None,
        (why,),
    )


def _made(state: Runtime, name: str, version: ModelVersion | None) -> Model | str:
    """Make the model of a version, or give the reason why that can't be done."""
    if version is None:
        return f"model {name} is not in the database"
    with tempfile.TemporaryDirectory(prefix="pyramidion-replay-") as folder:
        try:
            loaded = bundle.load(bundles.fetch(version, state.store, Path(folder)))
        except ImageStoreUnavailableError:
            raise
        except (BundleError, ImageStoreError) as error:
            return f"model {name} can't be had as it was: {error}"
    tolerance = float(loaded.manifest.get("replay", {}).get("tolerance", REPLAY_TOLERANCE))
    return Model(state.scorer_of(loaded), tolerance)


def _scored_again(state: Runtime, model: Model, details: Sequence[Detail]) -> Iterator[Replay]:
    readable: list[tuple[Detail, Decoded]] = []
    images = stored.decoded(state, model.scorer, [one.inspection for one in details])
    for detail, image in zip(details, images, strict=True):
        if isinstance(image, str):
            yield _refused(detail, image)
        else:
            readable.append((detail, image))
    for (detail, _), scored in zip(
        readable, model.scorer.score([image.array for _, image in readable]), strict=True
    ):
        result = detail.result
        assert result is not None
        differences = tuple(compare(result, detail.map, model.scorer.threshold, scored, model.tolerance))
        yield Replay(detail.inspection.id, result.model_version, result.score, scored.score, differences)


def compare(
    result: Result, map_: AnomalyMap | None, threshold: float, scored: Scored, tolerance: float
) -> Iterator[str]:
    """Say in what a stored verdict differs from what the model says of the image now."""
    stored = 0.0 if result.score is None else result.score
    if result.threshold != threshold:
        yield f"the stored threshold is {result.threshold}, the model's {threshold}"
    if abs(scored.score - stored) > tolerance * max(abs(stored), abs(scored.score)):
        yield f"the stored score is {stored}, the replayed {scored.score}"
    rejected = scored.score > threshold
    if abs(scored.score - threshold) > tolerance * threshold and (
        (result.verdict == "ok" and rejected) or (result.verdict == "ng" and not rejected)
    ):
        yield f"the stored verdict is {result.verdict}, which the replayed score {scored.score} is not"
    if map_ is None:
        yield "the verdict has no anomaly map"
    else:
        yield from _compare_map(map_, scored.map, tolerance)


def _compare_map(map_: AnomalyMap, values: NDArray[np.float32], tolerance: float) -> Iterator[str]:
    if hashlib.sha256(map_.data).hexdigest() != map_.sha256:
        yield "the bytes of the stored anomaly map don't have its hash"
        return
    stored = decode_map(map_.data, bits=map_.bits, low=map_.low, high=map_.high)
    if stored.shape != values.shape:
        yield f"the stored anomaly map is {stored.shape} pixels, the replayed {values.shape}"
        return
    half_a_step = (map_.high - map_.low) / (2**map_.bits - 1) / 2
    allowed = half_a_step + tolerance * max(abs(map_.low), abs(map_.high))
    furthest = float(np.abs(stored - values).max())
    if furthest > allowed:
        yield f"the anomaly maps differ by up to {furthest:.4g}, where {allowed:.4g} is allowed"


def replay_sample(state: Runtime, number: int, actor: str) -> list[Replay]:
    """Replay a random sample of verdicts, and leave an event that says how it went."""
    with state.reading() as session:
        ids = sample.judged(session, number)
    found = list(replay(state, ids))
    different = [one for one in found if not one.equal]
    detail: dict[str, Any] = {
        "replayed": len(found),
        "equal": len(found) - len(different),
        "different": len(different),
        "first": [
            {"inspection": str(one.inspection_id), "differences": list(one.differences)}
            for one in different[:_NAMED]
        ],
    }
    with state.sessions.begin() as session:
        events.record(session, REPLAYED, actor, None, detail)
    return found


# Acknowledged before it starts: a sample that takes long must not be handed to a second worker.
@app.task(name="workers.replay", acks_late=False)
def replay_daily() -> None:
    """Replay a sample unless one was replayed within a day: it is asked for every hour."""
    state = runtime()
    if state.settings.replay_sample == 0:
        return
    with state.reading() as session:
        newest = select(Event.at).where(Event.kind == REPLAYED).order_by(Event.id.desc()).limit(1)
        last = session.scalar(newest)
    if last is not None and datetime.now(UTC) - last < _ONCE_IN:
        return
    found = replay_sample(state, state.settings.replay_sample, "replay")
    for one in found:
        if not one.equal:
            logger.error("inspection %s is not replayed: %s", one.inspection_id, "; ".join(one.differences))
    logger.info("replayed %d verdicts, %d equal", len(found), sum(one.equal for one in found))
