"""The scoring task: gathers messages, judges their inspections, acknowledges what is settled."""

import random
import time
from collections.abc import Sequence
from datetime import datetime

from celery.signals import celeryd_after_setup, worker_ready, worker_shutting_down
from celery.utils.log import get_task_logger
from celery_batches import SimpleRequest

from db.outage import UNAVAILABLE, sentence
from workers import background, queue
from workers.batches import DurableBatches
from workers.celery import app
from workers.holding import Holding
from workers.judge import Delivery, judge
from workers.messages import KNOWN, ScoreMessage, UnknownMessageError, known_queues, queue_of, version_of
from workers.runtime import DeviceLostError, end_for_want_of_device, line_runtime
from workers.settings import WorkerSettings
from workers.watchdog import Watchdog

logger = get_task_logger(__name__)

_stopping = False
_moved: set[int] = set()  # versions of which it was said


class ScoreBatches(DurableBatches):
    """Batches that are as large as the images in their messages are many."""

    abstract = True

    def weight(self, request: SimpleRequest) -> int:
        try:
            return max(1, len(request.args[0]["ids"]))  # for each message that arrives: not read whole
        except (IndexError, KeyError, TypeError):
            return 1

    def oldest_held(self) -> datetime | None:
        held = [message for message in map(read, self.held()) if message is not None]
        return min((message.enqueued_at for message in held), default=None)


def read(request: SimpleRequest) -> ScoreMessage | None:
    """Give the message of a request, or None where this release cannot read it."""
    try:
        return ScoreMessage.from_json(request.args[0] if request.args else None)
    except UnknownMessageError:
        return None


@app.task(name="workers.score", base=ScoreBatches)  # size and wait: see set_up
def score(requests: Sequence[SimpleRequest]) -> set[str]:
    """Judge the inspections of a batch of messages; gives the ids of the messages that are settled."""
    score.progress()
    try:
        return _settle(requests)
    finally:
        score.batch_weight = line_runtime().images_at_once()
        score.room = line_runtime().images_ahead(score.batches_at_once + 1)
        score.rest()


def _settle(requests: Sequence[SimpleRequest]) -> set[str]:
    readable = [(request, message) for request in requests if (message := read(request)) is not None]
    settled = _pass_on([request for request in requests if read(request) is None])
    again = [one for one in readable if (one[0].delivery_info or {}).get("redelivered")]
    fresh = [one for one in readable if one not in again]
    for group, redelivered in ((fresh, False), (again, True)):
        if group and _judge([message for _, message in group], redelivered=redelivered):
            settled |= {request.id for request, _ in group}
    return settled


def _pass_on(requests: list[SimpleRequest]) -> set[str]:
    """Leave to other releases what is theirs, and drop garbage; gives the ids of what is settled."""
    settled = set()
    garbage = 0
    for request in requests:
        version = version_of(request.args[0] if request.args else None)
        if version is None or version in KNOWN:
            garbage += 1  # only a hint: inspections that it may have meant stand in the database
        else:
            try:
                queue.move(version, request.args, request.id)
            except queue.BrokerUnavailableError as error:
                logger.warning("a message of version %d goes back to the queue: %s", version, error)
                continue
            if version not in _moved:
                _moved.add(version)
                logger.warning(
                    "messages of version %d arrive, which this release can't read: they wait in the queue %s "
                    "for a worker of a newer one. Update the workers before the stations",
                    version,
                    queue_of(version),
                )
        settled.add(request.id)
    if garbage:
        logger.warning("dropped %d messages that are none of any version", garbage)
    return settled


def _judge(group: list[ScoreMessage], *, redelivered: bool) -> bool:
    """Judge what the messages name; says no where database or image store stay away."""
    delivery = Delivery(
        ids=[one for message in group for one in message.ids],
        queued_at=min(message.enqueued_at for message in group),
        redelivered=redelivered,
        progressed=score.progress,
        ready=score.ready,
        on_device=score.on_device,
    )
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0, None):
        delivery.progressed()
        try:
            judged = judge(line_runtime(), delivery)
        except UNAVAILABLE as error:
            # One line, not a traceback: an outage is no bug.
            if pause is None or _stopping:
                logger.error("%d inspections go back to the queue: %s", len(delivery.ids), sentence(error))  # noqa: TRY400
                return False
            if pause == 0.5:
                logger.warning("waiting for database and image store: %s", sentence(error))
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
        except DeviceLostError as error:
            end_for_want_of_device(error)  # only a new process can use it again; the batch goes back
            return False
        else:
            logger.info("judged %d of %d inspections", judged, len(delivery.ids))
            return True
    return False


@celeryd_after_setup.connect
def set_up(instance: object, **_: object) -> None:
    """Take the batch size from the settings, and refuse a prefetch that would starve the batches."""
    if not set(known_queues()) & set(getattr(instance, "app", app).amqp.queues.consume_from):
        return
    settings = WorkerSettings()
    score.batch_weight = settings.batch_images
    score.batches_at_once = getattr(instance, "concurrency", None) or 1
    score.room = score.batch_weight * (score.batches_at_once + 1)
    score.flush_every = settings.batch_images
    score.flush_interval = settings.batch_wait_s
    prefetch = app.conf.worker_prefetch_multiplier * (getattr(instance, "concurrency", None) or 1)
    if prefetch < settings.batch_images:
        raise SystemExit(
            f"a prefetch of {prefetch} messages is below PYRAMIDION_BATCH_IMAGES={settings.batch_images}, "
            "so that stations that send one image a message would never fill a batch: raise "
            "worker_prefetch_multiplier"
        )
    worker_ready.connect(_start_companions, weak=False)


def _start_companions(**_: object) -> None:
    settings = WorkerSettings()
    Holding(lambda: queue.connect(settings), score.oldest_held, lambda: score.progressed_at).start()
    Watchdog(lambda: bool(score.held()), lambda: score.progressed_at, settings.hung_after_s).start()
    background.start(score.is_holding, settings.hung_after_s)


@worker_shutting_down.connect
def stop_waiting(**_: object) -> None:
    global _stopping  # noqa: PLW0603  # one flag per worker process, set once
    _stopping = True
