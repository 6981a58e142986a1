"""The producers' side of the queue, and what the sweeper must know of it. Imports no model code."""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from workers import holding
from workers.celery import app
from workers.messages import (
    KNOWN,
    VERSION,
    ScoreMessage,
    UnknownMessageError,
    known_queues,
    messages,
    queue_of,
)
from workers.settings import NoBrokerError, WorkerSettings

# A station must not hang on a dead broker: the rows are committed and the sweeper will queue them.
_RETRY = {"max_retries": 1, "interval_start": 0.1, "interval_max": 0.5}
_OF_A_VERSION: Final = re.compile(rb"score(?:\.v(\d+))?")  # as workers.messages.queue_of names it


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
                    queue=queue_of(VERSION),
                    producer=producer,
                    retry=True,
                    retry_policy=_RETRY,
                )
    except (OperationalError, NoBrokerError, OSError) as error:
        raise BrokerUnavailableError(
            f"cannot queue {len(ids)} inspections ({error}); they are accepted and will be queued "
            "when the broker is back. Check it with `pyramidion doctor`"
        ) from error


def move(version: int, args: Sequence[Any], id_: str) -> None:
    """Put a message of another version, untouched, where workers that know it look for it.

    Raises BrokerUnavailableError.
    """
    try:
        app.send_task(
            "workers.score",
            args=args,
            task_id=id_,
            queue=queue_of(version),
            retry=True,
            retry_policy=_RETRY,
        )
    except (OperationalError, OSError) as error:
        raise BrokerUnavailableError(f"cannot move a message to {queue_of(version)}: {error}") from error


def wake_trainer() -> None:
    """Let a training worker look for runs now; raises BrokerUnavailableError, which only delays that."""
    _wake("trainer", "the run is kept, and taken within seconds by one that runs")


def wake_replayer() -> None:
    """Let a training worker look for replays that somebody asked for; raises BrokerUnavailableError, so."""
    _wake("replays", "the replay is kept, and done within minutes by one that runs")


def wake_verifier() -> None:
    """Let a training worker look for verifications that somebody asked for; raises the same."""
    _wake("verify", "the verification is kept, and done within minutes by one that runs")


def _wake(task: str, kept: str) -> None:
    try:
        # One that was asleep or busy for long has looked by itself.
        app.send_task(f"workers.{task}", expires=300, retry=True, retry_policy=_RETRY)
    except (OperationalError, NoBrokerError, OSError) as error:
        raise BrokerUnavailableError(
            f"no training worker can be woken ({error}); {kept}. Check the broker with `pyramidion doctor`"
        ) from error


@dataclass(frozen=True)
class Depth:
    """Messages in the scoring queue and the age of the oldest; both None, with the `error`, where not known.

    `other_versions` counts, by version, those that wait for a worker of another release.
    """

    messages: int | None
    oldest_s: float | None
    other_versions: dict[int, int]
    error: str | None


def look(now: datetime, timeout_s: float = 3.0) -> Depth:
    """Look at the queue once; a broker that is away costs up to `timeout_s` a question, and is no error."""
    try:
        with connect(WorkerSettings(), timeout_s, retry=Retry(NoBackoff(), 0)) as client:
            messages_, oldest, others = depth(client), oldest_waiting(client), of_other_versions(client)
    except (BrokerUnavailableError, NoBrokerError, RedisError) as error:
        return Depth(None, None, {}, " ".join(str(error).split()))
    return Depth(
        messages_, None if oldest is None else max(0.0, (now - oldest).total_seconds()), others, None
    )


def connect(settings: WorkerSettings, timeout_s: float = 3.0, **more: Any) -> Redis:
    """Open a plain client to the broker, for looking at the queue; short timeouts."""
    return Redis.from_url(
        settings.broker(), socket_connect_timeout=timeout_s, socket_timeout=timeout_s, **more
    )


def depth(client: Redis) -> int:
    """How many messages wait that workers of this release can read; raises BrokerUnavailableError."""
    try:
        return sum(int(client.llen(name)) for name in known_queues())
    except RedisError as error:
        raise BrokerUnavailableError(f"cannot read the scoring queue: {error}") from error


def of_other_versions(client: Redis) -> dict[int, int]:
    """How many messages wait for a worker of another release, by version; raises BrokerUnavailableError."""
    found = {}
    try:
        for key in client.scan_iter(match="score*", count=1000):
            named = _OF_A_VERSION.fullmatch(key)
            version = int(named[1] or 1) if named else None
            if version is not None and version not in KNOWN:
                found[version] = int(client.llen(key))
    except RedisError as error:
        raise BrokerUnavailableError(f"cannot read the scoring queues: {error}") from error
    return dict(sorted(found.items()))


def oldest_waiting(client: Redis) -> datetime | None:
    """When the oldest message at the head of a scoring queue was queued; None where nothing waits.

    A queue is first in, first out: an inspection queued earlier than the heads has left all queues, save
    those of versions that this release can't read (docs/adr/0026-versions-of-messages.md).
    """
    try:
        heads = [client.lindex(name, -1) for name in known_queues()]  # kombu pushes left and pops right
    except RedisError as error:
        raise BrokerUnavailableError(f"cannot read the scoring queue: {error}") from error
    return min((one for one in map(_queued_at, heads) if one is not None), default=None)


def _queued_at(head: Any) -> datetime | None:
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
