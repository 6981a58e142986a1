"""The scoring task: gathers messages, judges their inspections, acknowledges what is settled."""

import random
import time
from collections.abc import Sequence

from celery.signals import celeryd_after_setup, worker_shutting_down
from celery.utils.log import get_task_logger
from celery_batches import SimpleRequest
from sqlalchemy.exc import DBAPIError

from db.imagestore import ImageStoreUnavailableError
from workers.batches import DurableBatches
from workers.celery import SCORE, app
from workers.judge import judge
from workers.messages import ScoreMessage, UnknownMessageError
from workers.runtime import Runtime, runtime

logger = get_task_logger(__name__)

_stopping = False


@app.task(name="workers.score", base=DurableBatches)  # batch size and wait: see check_prefetch
def score(requests: Sequence[SimpleRequest]) -> set[str]:
    """Judge the inspections of many messages; gives the ids of the messages that are settled."""
    state = runtime()
    settled: set[str] = set()
    fresh: list[tuple[str, ScoreMessage]] = []
    for request in requests:
        try:
            message = ScoreMessage.from_json(request.args[0] if request.args else None)
        except UnknownMessageError as error:
            # Only the hint is dropped: the inspections stand in the database, and a sweeper that
            # knows this release's message queues them again.
            logger.warning("dropped a message: %s", error)
            settled.add(request.id)
            continue
        if (request.delivery_info or {}).get("redelivered"):
            settled |= _judge(state, [(request.id, message)], redelivered=True)
        else:
            fresh.append((request.id, message))
    for group in _groups(fresh, state.settings.batch_images):
        settled |= _judge(state, group, redelivered=False)
    return settled


def _groups(fresh: list[tuple[str, ScoreMessage]], images: int) -> list[list[tuple[str, ScoreMessage]]]:
    """Put whole messages together until a group holds `images` images: a group is one transaction."""
    groups: list[list[tuple[str, ScoreMessage]]] = []
    room = 0
    for one in fresh:
        if len(one[1].ids) > room:
            groups.append([])
            room = max(images, len(one[1].ids))
        groups[-1].append(one)
        room -= len(one[1].ids)
    return groups


def _judge(state: Runtime, group: list[tuple[str, ScoreMessage]], *, redelivered: bool) -> set[str]:
    """Judge a group; gives the ids of its messages, or none when database or image store stay away."""
    ids = [one for _, message in group for one in message.ids]
    queued_at = min(message.enqueued_at for _, message in group)
    for pause in (0.5, 1.0, 2.0, 4.0, 8.0, None):
        try:
            judged = judge(state, ids, queued_at=queued_at, redelivered=redelivered)
        except (DBAPIError, ImageStoreUnavailableError) as error:
            if pause is None or _stopping:
                # One line, not a traceback: an outage is no bug.
                logger.error(  # noqa: TRY400
                    "%d inspections go back to the queue: %s", len(ids), _first_line(error)
                )
                return set()
            if pause == 0.5:
                logger.warning("waiting for database and image store: %s", _first_line(error))
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
        else:
            logger.info("judged %d of %d inspections", judged, len(ids))
            return {request_id for request_id, _ in group}
    return set()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


@celeryd_after_setup.connect
def check_prefetch(instance: object, **_: object) -> None:
    """Take the batch size from the settings, and refuse a prefetch that would starve the batches."""
    if SCORE not in getattr(instance, "app", app).amqp.queues.consume_from:
        return
    settings = runtime().settings
    score.flush_every = settings.batch_messages
    score.flush_interval = settings.batch_wait_s
    prefetch = app.conf.worker_prefetch_multiplier * (getattr(instance, "concurrency", None) or 1)
    if prefetch < settings.batch_messages:
        raise SystemExit(
            f"a prefetch of {prefetch} messages is below PYRAMIDION_BATCH_MESSAGES={settings.batch_messages}"
            ", so that every batch would hold one message: raise worker_prefetch_multiplier"
        )


@worker_shutting_down.connect
def stop_waiting(**_: object) -> None:
    global _stopping  # noqa: PLW0603  # one flag per worker process, set once
    _stopping = True
