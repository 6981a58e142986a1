"""The producers' side of the queue, and what the sweeper must know of it. Imports no model code."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from workers import holding
from workers.celery import SCORE, app
from workers.messages import ScoreMessage, UnknownMessageError, messages
from workers.settings import NoBrokerError, WorkerSettings

# A station must not hang on a dead broker: the rows are committed and the sweeper will queue them.
_RETRY = {"max_retries": 1, "interval_start": 0.1, "interval_max": 0.5}


class BrokerUnavailableError(Exception):
    """The broker cannot be reached; nothing is lost, since accepted inspections stand in the database."""


def enqueue(ids: Sequence[UUID], *, at: datetime | None = None) -> None:
    """Queue accepted inspections for scoring, up to 16 to a message.

    Raises BrokerUnavailableError; some of the ids may be queued then, which is harmless:
    a verdict is unique however often its inspection is queued.
    """
    try:
        with app.producer_pool.acquire(block=True, timeout=10) as producer:
            for message in messages(ids, at or datetime.now(UTC)):
                app.send_task(
                    "workers.score",
                    args=[message.to_json()],
                    queue=SCORE,
                    producer=producer,
                    retry=True,
                    retry_policy=_RETRY,
                )
    except (OperationalError, NoBrokerError, OSError) as error:
        raise BrokerUnavailableError(
            f"cannot queue {len(ids)} inspections ({error}); they are accepted and will be queued "
            "when the broker is back. Check it with `pyramidion doctor`"
        ) from error


def request_training(product: str) -> None:
    """Ask a training worker for a new model of `product`; raises BrokerUnavailableError."""
    try:
        app.send_task("workers.train", args=[product], retry=True, retry_policy=_RETRY)
    except (OperationalError, NoBrokerError, OSError) as error:
        raise BrokerUnavailableError(
            f"cannot queue the training of {product!r} ({error}); check the broker with `pyramidion doctor`"
        ) from error


def connect(settings: WorkerSettings) -> Redis:
    """Open a plain client to the broker, for looking at the queue; short timeouts."""
    return Redis.from_url(settings.broker(), socket_connect_timeout=3, socket_timeout=3)


def depth(client: Redis) -> int:
    """How many messages wait in the scoring queue; raises BrokerUnavailableError."""
    try:
        return int(client.llen(SCORE))
    except RedisError as error:
        raise BrokerUnavailableError(f"cannot read the scoring queue: {error}") from error


def oldest_waiting(client: Redis) -> datetime | None:
    """When the message at the head of the scoring queue was queued; None for an empty queue.

    The queue is first in, first out: an inspection queued earlier than its head has left it.
    """
    try:
        head = client.lindex(SCORE, -1)  # kombu pushes left and pops right
    except RedisError as error:
        raise BrokerUnavailableError(f"cannot read the scoring queue: {error}") from error
    if head is None:
        return None
    try:
        envelope = json.loads(head)
        body = base64.b64decode(envelope["body"])
        return ScoreMessage.from_json(json.loads(body)[0][0]).enqueued_at
    except (ValueError, KeyError, IndexError, TypeError, UnknownMessageError):
        return None  # a foreign message at the head tells nothing; the sweeper goes by age alone


def oldest_held(client: Redis) -> datetime | None:
    """When the oldest message that a live worker holds was queued; raises BrokerUnavailableError."""
    try:
        return holding.oldest_held(client)
    except RedisError as error:
        raise BrokerUnavailableError(f"cannot read what workers hold: {error}") from error
