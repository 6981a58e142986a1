"""Turns what a model said of an image, or why it could not, into the result that is recorded."""

import dataclasses
import functools
import socket
from datetime import UTC, datetime

from db.results import HELD, NewMap, NewResult
from db.tables import Inspection
from model import regions, scoring
from model.images import Decoded
from model.maps import encode_map
from model.scoring import Scored, Scorer
from workers.settings import WorkerSettings


def judged(
    settings: WorkerSettings,
    scorer: Scorer,
    row: Inspection,
    image: Decoded,
    scored: Scored,
    attempts: int,
    *,
    held: bool = False,
) -> NewResult:
    """The verdict of a model, with its map encoded; timings are filled in by the caller.

    Where the station is `held`, ok and ng become inconclusive, and the timings say so.
    """
    verdict = scoring.verdict(scored.score, scorer.threshold, settings.inconclusive_band)
    found = [] if verdict == "ok" else regions.find(scored.map, scorer.threshold, image.width, image.height)
    # What is inconclusive anyway bears no mark: with it, the score alone tells ok from ng.
    held = held and verdict != "inconclusive"
    return NewResult(
        inspection_id=row.id,
        verdict="inconclusive" if held else verdict,
        score=scored.score,
        threshold=scorer.threshold,
        model_version=scorer.version,
        worker=worker_name(),
        attempts=attempts,
        judged_at=datetime.now(UTC),
        timings={HELD: 1.0} if held else {},
        regions=[dataclasses.asdict(region) for region in found],
        error=None,
        map=NewMap(**vars(encode_map(scored.map, bits=settings.map_bits))),
    )


def failed(row: Inspection, attempts: int, reason: str) -> NewResult:
    """An image that cannot be judged gets its verdict too: `error`, with the reason."""
    return NewResult(
        inspection_id=row.id,
        verdict="error",
        score=None,
        threshold=None,
        model_version=None,
        worker=worker_name(),
        attempts=attempts,
        judged_at=datetime.now(UTC),
        timings={},
        regions=[],
        error=reason,
        map=None,
    )


@functools.cache
def worker_name() -> str:
    return socket.gethostname()
