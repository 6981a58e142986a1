"""Choosing what a run trains on and is examined with, from what the line has produced until now.

The rules, each in one place: what may be looked at (db.snapshot), how many of which station and what is a
near-duplicate (workers.snapshot_choice, model.alike), what is held out (workers.snapshot_split), which scores
are too high to be trained on (model.tail, used here). docs/retraining.md tells them, ADR 0029 says why.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from db import datasets, snapshot
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.snapshot import Candidate
from model import tail
from model.alike import Sketch, sketch
from model.images import LEAST_IMAGES, UnreadableImageError
from model.training import TooFewImagesError
from workers.runtime import Runtime
from workers.snapshot_choice import LOOKS, Choice, choose
from workers.snapshot_settings import SnapshotSettings
from workers.snapshot_split import LEAST_HELD_OUT, Split, split

TRAIN: Final = "train"
HOLD_OUT: Final = "hold_out"
_FEW_STATIONS: Final = 12  # of more, each one's past is looked into less far


class TooAlikeError(TooFewImagesError):
    """Enough images, but so many of them near-duplicates that none can be held out to examine a model."""


@dataclass(frozen=True)
class Frozen:
    """What db.datasets keeps: entries with id, sha256, group and part, by id; and the counts behind them.

    An entry that people called good says that it is `trusted`.
    """

    entries: list[dict[str, Any]]
    summary: dict[str, Any]


def freeze(state: Runtime, product: str, settings: SnapshotSettings, wanted: Callable[[], None]) -> Frozen:
    """Choose and split; `wanted` is called between any two reads, and ends it by raising.

    Raises model.training.TooFewImagesError (TooAlikeError) and db.imagestore.ImageStoreUnavailableError.
    """

    def look(some: Sequence[Candidate]) -> list[Sketch | None]:
        wanted()
        return _sketches(state, some)

    images, oldest = settings.dataset_images, settings.dataset_oldest
    with state.reading() as session:
        stations = snapshot.stations(session, product)
        ahead = images * (LOOKS if len(stations) <= _FEW_STATIONS else 1)
        stretches = snapshot.stretches(session, product, stations, ahead, round(oldest * ahead))
    choice = choose(stretches, look, images=images, oldest=oldest, alike=settings.dataset_alike)
    chosen = sorted(choice.chosen, key=lambda one: one.id)
    cut = split(chosen)
    judged = (one for stretch in stretches.values() for one in (*stretch.newest, *stretch.oldest))
    high = _tail(judged, chosen, cut, settings.dataset_tail)
    frozen = _frozen(choice, chosen, cut, high)
    _require_enough(frozen, choice)
    return frozen


def _sketches(state: Runtime, some: Sequence[Candidate]) -> list[Sketch | None]:
    def sketched(blob: bytes | ImageStoreError) -> Sketch | None:
        if isinstance(blob, ImageStoreUnavailableError):
            raise blob
        if isinstance(blob, ImageStoreError):
            return None
        try:
            return sketch(blob, max_pixels=state.settings.max_image_pixels)
        except UnreadableImageError:
            return None

    return list(state.threads.map(sketched, state.store.get_many([one.sha256 for one in some])))


def _tail(judged: Iterable[Candidate], chosen: Sequence[Candidate], cut: Split, most: float) -> set[UUID]:
    """Say which images to train on have a score far above those of their station, model and time.

    What people called good is never among them, and what is held out stays there: the gate shall see it where
    good parts were left out. `most` is the greatest share of what is trained on; the highest go first.
    """
    scores: defaultdict[tuple[str, str], dict[UUID, float]] = defaultdict(dict)
    for one in judged:
        if one.against is None:
            scores[one.station, one.model_version][one.id] = one.score
    heights: dict[UUID, float] = {}
    for score_of in scores.values():
        ids = sorted(score_of)
        heights |= dict(zip(ids, map(float, tail.height([score_of[id_] for id_ in ids])), strict=True))
    trained = [one for one, held_out in zip(chosen, cut.held_out, strict=True) if not held_out]
    high = [one.id for one in trained if not one.trusted and heights[one.id] > tail.BEYOND]
    return set(sorted(high, key=lambda id_: (-heights[id_], id_))[: int(most * len(trained))])


def _frozen(choice: Choice, chosen: Sequence[Candidate], cut: Split, high: set[UUID]) -> Frozen:
    entries: list[dict[str, Any]] = []
    stations: defaultdict[str, Counter[str]] = defaultdict(lambda: Counter({TRAIN: 0, HOLD_OUT: 0}))
    for one, group, held_out in zip(chosen, cut.groups, cut.held_out, strict=True):
        if one.id in high:
            continue
        part = HOLD_OUT if held_out else TRAIN
        stations[one.station][part] += 1
        # Kept for ever, so without serials and lots, which retention lets go: a training asks what is equal.
        named = hashlib.sha256(group.encode()).hexdigest()[:16]
        entry: dict[str, Any] = {"id": str(one.id), "sha256": one.sha256, "group": named, "part": part}
        entries.append(entry | {"trusted": True} if one.trusted else entry)
    summary: dict[str, Any] = {
        "stations": {station: dict(stations[station]) for station in sorted(stations)},
        "left_out": {reason: number for reason, number in sorted(choice.left_out.items()) if number},
        "split_by": cut.by,
        "split_why": cut.why,
    }
    if high:
        summary["left_out"]["tail"] = len(high)
    return Frozen(entries, summary)


def _require_enough(frozen: Frozen, choice: Choice) -> None:
    trained = sum(entry["part"] == TRAIN for entry in frozen.entries)
    distinct, alike = len(choice.chosen), choice.left_out["duplicates"]
    reasons = datasets.left_out(frozen.summary)
    left_out = f" (left out: {reasons})" if reasons else ""
    if trained < LEAST_IMAGES:
        raise TooFewImagesError(
            f"{trained} distinct good images are too few to train on{left_out}: {LEAST_IMAGES} are needed, "
            f"and {2 * LEAST_HELD_OUT} to hold some out and examine the model with them; let the line judge "
            "more parts, or review those that it rejected wrongly"
        )
    if distinct < 2 * LEAST_HELD_OUT <= distinct + alike:
        raise TooAlikeError(
            f"{distinct} distinct good images are too few to hold {LEAST_HELD_OUT} out and examine the model "
            f"with them{left_out}: let the line judge more parts; where those that count as near-duplicates "
            "are different parts, lower PYRAMIDION_DATASET_ALIKE"
        )
