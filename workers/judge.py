"""From inspection ids to committed verdicts: read, decode, score, encode, one transaction.

What may go wrong and what becomes of it:
- the database or the image store is away: their exception leaves this module, nothing is settled, and the
  caller hands the messages back;
- the product has no champion yet, or its bundle is refused: the inspections stay pending;
- one image cannot be read or decoded, or the model fails on it: it alone is tried again, up to
  `max_attempts` counted in the database, and then judged `error`;
- a worker dies: its inspections come back, are counted before they are tried, and whatever was tried once
  is judged alone from then on, so that one image that kills its worker takes no neighbour along.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from celery.utils.log import get_task_logger

from db import inspections, models, results
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.inspections import Waiting
from db.results import NewResult
from db.tables import ModelVersion
from model.bundle import BundleError
from model.images import Decoded, UnreadableImageError
from model.scoring import Scorer
from workers import outcome
from workers.runtime import Runtime

logger = get_task_logger(__name__)

# What a model can raise on an image that it does not digest (torch's errors, out of memory among them,
# are RuntimeErrors).
MODEL_ERRORS = (RuntimeError, ValueError, MemoryError)


@dataclass(frozen=True)
class Judging:
    """One delivery of inspections on its way through a worker."""

    runtime: Runtime
    queued_at: datetime
    begun: datetime
    champions: dict[str, ModelVersion]

    def queue_ms(self) -> float:
        return max(0.0, (self.begun - self.queued_at).total_seconds() * 1000)


def judge(runtime: Runtime, ids: Sequence[UUID], *, queued_at: datetime, redelivered: bool) -> int:
    """Judge what is unjudged of `ids` and commit it; gives the number of verdicts that this call added.

    `redelivered` says that an earlier delivery did not end well. Raises what the database or the image
    store raise when they are away; what was committed before stays, and all may be judged again.
    """
    with runtime.reading() as session:
        waiting = inspections.waiting(session, ids)
        champions = models.champions(session, {one.inspection.product for one in waiting})
    judging = Judging(runtime, queued_at, datetime.now(UTC), champions)
    ready = [one for one in waiting if one.inspection.product in champions]
    together = [one for one in ready if one.attempts == 0]
    alone = sorted((one for one in ready if one.attempts > 0), key=lambda one: one.attempts)
    suspects = [one for one in together if redelivered or one.queued_again]
    _begin_attempts(runtime, suspects, "delivered again")
    added = 0
    groups: dict[str, list[Waiting]] = defaultdict(list)
    for one in together:
        groups[one.inspection.product].append(one)
    for group in groups.values():
        added += _judge_group(judging, group)
    # The least tried first: should one of them take the worker down, the others have their verdicts.
    for one in alone:
        added += _judge_alone(judging, one)
    return added


def _judge_alone(judging: Judging, one: Waiting) -> int:
    """Try once more, having counted it before: if this kills the worker, the count stands."""
    limit = judging.runtime.settings.max_attempts
    if one.attempts >= limit:
        reason = f"given up after {one.attempts} attempts that ended without a verdict; {one.last_error}"
        return _record(judging.runtime, [outcome.failed(one.inspection, one.attempts, reason)])
    counted = _begin_attempts(judging.runtime, [one], one.last_error or "judged alone")
    return _judge_group(judging, [one], counted)


def _judge_group(judging: Judging, group: list[Waiting], counted: int = 0) -> int:
    """Judge inspections of one product in one transaction; `counted` attempts stand in the database."""
    runtime = judging.runtime
    version = judging.champions[group[0].inspection.product]
    try:
        scorer = runtime.scorer(version)
    except ImageStoreUnavailableError:
        raise
    except (BundleError, ImageStoreError) as error:
        logger.error("images of %s wait: %s", version.product, error)  # noqa: TRY400  # it says it all
        return 0
    clock = Clock()
    readable, failures = _read(runtime, group)
    clock.lap("read_ms", len(group))
    decoded, unreadable = _decode(runtime, scorer, readable)
    clock.lap("decode_ms", len(readable))
    added = _record(
        runtime, [outcome.failed(one.inspection, max(1, counted), why) for one, why in unreadable]
    )
    added += _try_later(runtime, failures, counted)
    if not decoded:
        return added
    try:
        scored = scorer.score([image.array for _, image in decoded])
    except MODEL_ERRORS as error:
        reason = f"{type(error).__name__}: {error}"
        if len(decoded) == 1:
            return added + _try_later(runtime, [(decoded[0][0], reason)], counted)
        logger.warning("a batch of %d failed (%s): its images are judged one by one", len(decoded), reason)
        return added + sum(_judge_alone(judging, one) for one, _ in decoded)
    clock.lap("score_ms", len(decoded))
    settings = runtime.settings
    fresh = list(
        runtime.threads.map(
            lambda pair, said: outcome.judged(
                settings, scorer, pair[0].inspection, pair[1], said, max(1, counted)
            ),
            decoded,
            scored,
        )
    )
    clock.lap("encode_ms", len(decoded))
    for result in fresh:
        result.timings.update(
            clock.laps, queue_ms=judging.queue_ms(), total_ms=clock.total_ms(), batch_images=len(decoded)
        )
    return added + _record(runtime, fresh)


def _read(
    runtime: Runtime, group: list[Waiting]
) -> tuple[list[tuple[Waiting, bytes]], list[tuple[Waiting, str]]]:
    """Fetch the images; one that is missing or altered fails alone, a store that is away raises."""
    readable, failures = [], []
    for one, blob in zip(
        group, runtime.store.get_many([w.inspection.image_sha256 for w in group]), strict=True
    ):
        if isinstance(blob, ImageStoreUnavailableError):
            raise blob
        if isinstance(blob, ImageStoreError):
            failures.append((one, str(blob)))
        else:
            readable.append((one, blob))
    return readable, failures


def _decode(
    runtime: Runtime, scorer: Scorer, readable: list[tuple[Waiting, bytes]]
) -> tuple[list[tuple[Waiting, Decoded]], list[tuple[Waiting, str]]]:
    """Decode in threads; what cannot be decoded now never can."""

    def attempt(data: bytes) -> Decoded | UnreadableImageError:
        try:
            return scorer.decode(data, max_pixels=runtime.settings.max_image_pixels)
        except UnreadableImageError as error:
            return error

    decoded, unreadable = [], []
    for (one, _), image in zip(
        readable, runtime.threads.map(attempt, [data for _, data in readable]), strict=True
    ):
        if isinstance(image, UnreadableImageError):
            unreadable.append((one, str(image)))
        else:
            decoded.append((one, image))
    return decoded, unreadable


def _try_later(runtime: Runtime, failures: list[tuple[Waiting, str]], counted: int) -> int:
    """Leave what failed to the sweeper, or judge it `error` when it has had its attempts."""
    given_up = []
    for one, reason in failures:
        count = counted or _begin_attempts(runtime, [one], reason)
        logger.warning("inspection %s failed attempt %d: %s", one.inspection.id, count, reason)
        if count >= runtime.settings.max_attempts:
            given_up.append(outcome.failed(one.inspection, count, reason))
    return _record(runtime, given_up)


def _begin_attempts(runtime: Runtime, tried: Sequence[Waiting], reason: str) -> int:
    """Count an attempt of each, committed before anything is done with them; gives the last one's count."""
    count = 0
    if tried:
        with runtime.sessions.begin() as session:
            for one in tried:
                count = inspections.begin_attempt(session, one.inspection.id, reason)
    return count


def _record(runtime: Runtime, fresh: list[NewResult]) -> int:
    if not fresh:
        return 0
    with runtime.sessions.begin() as session:
        return len(results.record(session, fresh))


class Clock:
    """Milliseconds an image of each step, and of the whole batch."""

    def __init__(self) -> None:
        self._started = self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str, images: int) -> None:
        now = time.perf_counter()
        self.laps[name] = round((now - self._last) * 1000 / max(1, images), 3)
        self._last = now

    def total_ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 3)
