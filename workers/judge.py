"""From inspection ids to committed verdicts: read, decode, score, encode, one transaction.

What may go wrong and what becomes of it:
- the database or the image store is away: their exception leaves this module, nothing is settled and nothing
  counted as an attempt, and the caller tries again or hands the messages back;
- the product has no champion yet, or its bundle is refused: the inspections stay pending;
- one image cannot be read or decoded, or the model fails on it: it alone is tried again, up to
  `max_attempts` counted in the database, and then judged `error`;
- a worker dies: its inspections come back, are counted before they are tried, and whatever was tried once
  is judged alone from then on, so that one image that kills its worker takes no neighbour along;
- the device itself fails: DeviceLostError, and the process has to end.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import torch
from celery.utils.log import get_task_logger

from db import alarms, attempts, drift, golden, models, results, shadow
from db.attempts import Waiting
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.results import NewResult
from db.tables import Inspection, ModelVersion
from model.appearance import Look, look
from model.bundle import BundleError
from model.images import Decoded, UnreadableImageError
from model.scoring import Scored, Scorer
from workers import outcome
from workers.runtime import DeviceLostError, Runtime

logger = get_task_logger(__name__)

_T = TypeVar("_T")
_R = TypeVar("_R")

# Images that a thread decodes or encodes in one go: handing it each alone costs as much as a small one takes.
_TURN = 8

# What a model can raise on an image that it does not digest (torch's errors, out of memory among them,
# are RuntimeErrors), and what a result that is not finite raises.
MODEL_ERRORS = (RuntimeError, ValueError, MemoryError)


@dataclass
class Delivery:
    """Inspections that arrived together; kept while their judging is tried again during an outage.

    `redelivered` says that an earlier delivery did not end well. `counted` holds the attempts that this one
    has counted already: an outage does not make them more. `progressed` is called between the steps, and
    `on_device`, with how long it is expected to take, surrounds the model's, for which images were `ready`.
    `held` are the (product, station) whose verdicts are inconclusive for now.
    """

    ids: Sequence[UUID]
    queued_at: datetime
    redelivered: bool = False
    counted: dict[UUID, int] = field(default_factory=dict)
    progressed: Callable[[], None] = lambda: None
    ready: Callable[[], None] = lambda: None
    on_device: Callable[[float], AbstractContextManager[None]] = lambda _: nullcontext()
    held: Collection[tuple[str, str]] = ()

    def attempts_before(self, one: Waiting) -> int:
        return one.attempts - (1 if one.inspection.id in self.counted else 0)


def judge(runtime: Runtime, delivery: Delivery) -> int:
    """Judge what is unjudged of a delivery and commit it; gives the number of verdicts that this call added.

    Raises what the database or the image store raise when they are away, and DeviceLostError; what was
    committed before stays, and all may be judged again.
    """
    with runtime.reading() as session:
        waiting = attempts.waiting(session, delivery.ids)
        products = {one.inspection.product for one in waiting}
        champions = models.champions(session, products)
        delivery.held = alarms.held(session, products)
    groups: dict[str, list[Waiting]] = defaultdict(list)
    for one in waiting:
        if one.inspection.product in champions:
            groups[one.inspection.product].append(one)
    return sum(_judge_product(runtime, delivery, champions[name], group) for name, group in groups.items())


def _judge_product(runtime: Runtime, delivery: Delivery, version: ModelVersion, group: list[Waiting]) -> int:
    try:
        scorer = runtime.scorer(version)
    except ImageStoreUnavailableError:
        raise
    except (BundleError, ImageStoreError) as error:
        logger.error("images of %s wait: %s", version.product, error)  # noqa: TRY400  # it says it all
        return 0
    fresh = [one for one in group if delivery.attempts_before(one) == 0]
    # The least tried first: should one of them take the worker down, the others have their verdicts.
    tried = sorted((one for one in group if delivery.attempts_before(one) > 0), key=lambda one: one.attempts)
    added = 0
    while fresh:
        # What is judged is committed at once: the first image of many needn't wait for the last.
        most = runtime.images_at_once()
        some, fresh = fresh[:most], fresh[most:]
        batch = _Batch(runtime, delivery, scorer)
        readable = batch.read(some)
        # The store answered and the model is there: from here on a failure is the image's own.
        again = [one for one, _ in readable if delivery.redelivered or one.queued_again]
        batch.count(again, "delivered again")
        batch.judge(readable)
        added += batch.added
    for one in tried:
        batch = _Batch(runtime, delivery, scorer)
        for _, data in batch.read([one]):
            batch.judge_alone(one, data)
        added += batch.added
    return added


@dataclass
class _Batch:
    """Images of one product on their way through the model."""

    runtime: Runtime
    delivery: Delivery
    scorer: Scorer
    started: float = field(default_factory=time.perf_counter)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    due_at: dict[UUID, datetime] = field(default_factory=dict)
    rows: dict[UUID, Inspection] = field(default_factory=dict)
    looks: dict[UUID, Look] = field(default_factory=dict)
    added: int = 0

    def read(self, group: list[Waiting]) -> list[tuple[Waiting, bytes]]:
        """Fetch the images; one that is missing or altered fails alone, a store that is away raises."""
        self.rows |= {one.inspection.id: one.inspection for one in group}
        self.due_at |= {one.inspection.id: one.due_at for one in group if one.due_at is not None}
        blobs = self.runtime.store.get_many([one.inspection.image_sha256 for one in group])
        away = next((blob for blob in blobs if isinstance(blob, ImageStoreUnavailableError)), None)
        if away is not None:
            raise away
        readable = []
        for one, blob in zip(group, blobs, strict=True):
            if isinstance(blob, ImageStoreError):
                self.fail(one, str(blob))
            else:
                readable.append((one, blob))
        return readable

    def judge_alone(self, one: Waiting, data: bytes) -> None:
        """Try once more, having counted it before: if this kills the worker, the count stands."""
        before = self.delivery.attempts_before(one)
        if before >= self.runtime.settings.max_attempts:
            why = one.last_error or "no reason was left"
            reason = f"given up after {before} attempts that ended without a verdict; the last: {why}"
            self.record([outcome.failed(one.inspection, before, reason)])
            return
        self.count([one], one.last_error or "judged alone")
        self.judge([(one, data)])

    def judge(self, readable: list[tuple[Waiting, bytes]]) -> None:
        """Decode and score images together, and record their verdicts in one transaction."""
        self.delivery.progressed()
        clock = Clock(self.started)
        decoded = self.decode(readable)
        clock.lap("decode_ms", len(readable))
        if not decoded:
            return
        try:
            fresh = self.score(decoded, clock)
        except torch.AcceleratorError as error:
            raise DeviceLostError(str(error)) from error
        except MODEL_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            if len(decoded) == 1:
                self.fail(decoded[0][0], reason)
                return
            logger.warning(
                "a batch of %d failed (%s): its images are judged one by one", len(decoded), reason
            )
            data = {one.inspection.id: blob for one, blob in readable}
            for one, _ in decoded:
                self.count([one], reason)
                self.judge([(one, data[one.inspection.id])])
            return
        self.record(fresh)

    def decode(self, readable: list[tuple[Waiting, bytes]]) -> list[tuple[Waiting, Decoded]]:
        """Decode in threads; what cannot be decoded now never can, save for want of memory."""

        def attempt(data: bytes) -> Decoded | UnreadableImageError | MemoryError:
            try:
                return self.scorer.decode(data, max_pixels=self.runtime.settings.max_image_pixels)
            except (UnreadableImageError, MemoryError) as error:
                return error

        decoded = []
        images = self.in_turns(lambda pair: attempt(pair[1]), readable)
        for (one, _), image in zip(readable, images, strict=True):
            self.delivery.progressed()
            if isinstance(image, UnreadableImageError):
                attempts = max(1, self.attempts(one))
                self.record([outcome.failed(one.inspection, attempts, str(image))])
            elif isinstance(image, MemoryError):
                self.fail(one, "the memory did not suffice to decode it")
            else:
                decoded.append((one, image))
        return decoded

    def score(self, decoded: list[tuple[Waiting, Decoded]], clock: "Clock") -> list[NewResult]:
        self.delivery.ready()
        expected_s = len(decoded) * (self.runtime.image_s or 0.0)
        with self.runtime.on_device(self.delivery.progressed), self.delivery.on_device(expected_s):
            clock.lap("device_ms", len(decoded))
            begun = time.perf_counter()
            scored = self.scorer.score([image.array for _, image in decoded])
            self.runtime.note_speed(len(decoded), time.perf_counter() - begun)
        clock.lap("score_ms", len(decoded))
        settings = self.runtime.settings
        waited = max(0.0, (self.begun - self.delivery.queued_at).total_seconds() * 1000)

        def finish(pair: tuple[tuple[Waiting, Decoded], Scored]) -> NewResult:
            (one, image), said = pair
            row = one.inspection
            held = (row.product, row.station) in self.delivery.held
            attempts = max(1, self.attempts(one))
            if self.runtime.drift_window_s:
                self.looks[row.id] = look(image.array)
            return outcome.judged(settings, self.scorer, row, image, said, attempts, held=held)

        fresh = self.in_turns(finish, list(zip(decoded, scored, strict=True)))
        clock.lap("encode_ms", len(decoded))
        for result in fresh:
            result.timings.update(clock.laps, queue_ms=waited, total_ms=clock.total_ms())
            result.timings["batch_images"] = len(decoded)
        return fresh

    def in_turns(self, work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """Do the same with each of many in several threads; few don't pay for being handed over."""
        if len(items) <= _TURN:
            return [work(one) for one in items]
        turns = [items[start : start + _TURN] for start in range(0, len(items), _TURN)]
        return [
            done
            for some in self.runtime.threads.map(lambda turn: [work(one) for one in turn], turns)
            for done in some
        ]

    def attempts(self, one: Waiting) -> int:
        return self.delivery.counted.get(one.inspection.id, one.attempts)

    def count(self, tried: Sequence[Waiting], reason: str) -> None:
        """Count an attempt of each, once a delivery, committed before anything is done with them."""
        new = [one for one in tried if one.inspection.id not in self.delivery.counted]
        if not new:
            return
        with self.runtime.sessions.begin() as session:
            counts = {one.inspection.id: attempts.begin(session, one.inspection.id, reason) for one in new}
        self.delivery.counted.update(counts)

    def fail(self, one: Waiting, reason: str) -> None:
        """Leave an image that failed to the sweeper, or judge it `error` when it has had its attempts."""
        self.count([one], reason)
        attempts = self.attempts(one)
        logger.warning("inspection %s failed attempt %d: %s", one.inspection.id, attempts, reason)
        if attempts >= self.runtime.settings.max_attempts:
            self.record([outcome.failed(one.inspection, attempts, reason)])

    def record(self, fresh: list[NewResult]) -> None:
        for result in fresh:
            due_at = self.due_at.get(result.inspection_id)
            if due_at is not None and result.judged_at > due_at:
                late = result.judged_at - due_at
                result.timings["late_ms"] = round(late.total_seconds() * 1000, 3)
        with self.runtime.sessions.begin() as session:
            added = results.record(session, fresh, self.runtime.borderline)
            shadow.offer(session, [one for one in fresh if one.inspection_id in added])
            if self.runtime.drift_window_s:
                seen = [self.seen(one) for one in fresh if self.is_of_line(one.inspection_id, added)]
                drift.add(session, self.scorer.version, seen, self.runtime.drift_window_s)
            self.added += len(added)

    def is_of_line(self, id_: UUID, added: set[UUID]) -> bool:
        """Whether a verdict was added now, and on no golden sample, which is sent however the line goes."""
        return id_ in added and not golden.looks_like_trial(self.rows[id_])

    def seen(self, result: NewResult) -> drift.Seen:
        """What the watch over drift counts: the model's own verdict, also where the station's are held."""
        row, numbers = self.rows[result.inspection_id], {}
        if result.score is not None:
            numbers = {drift.SCORE: result.score, **vars(self.looks[result.inspection_id])}
        return drift.Seen(row.product, row.station, result.judged_at, results.by_model(result), numbers)


class Clock:
    """Milliseconds an image of each step, and of all since the batch was begun."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._last = time.perf_counter()
        self.laps = {"read_ms": round((self._last - started) * 1000, 3)}

    def lap(self, name: str, images: int) -> None:
        now = time.perf_counter()
        self.laps[name] = round((now - self._last) * 1000 / max(1, images), 3)
        self._last = now

    def total_ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 3)
