"""celery-batches made durable, and made to gather.

Durable: stock celery-batches acknowledges every late message once the batch function has returned, also
when it raised, so a failed batch is lost. Here the batch function returns the ids of the messages that are
settled (committed, or nothing is left to do for them); the others go back to the queue.

Gathering: stock celery-batches hands on whatever has arrived when its timer ticks, also while the pool is
busy, so a slow model gets many batches of one. Here at most two batches are on their way, one being worked
on and one ready; meanwhile messages gather, up to `batch_weight` a batch.
"""

import threading
import time
from collections.abc import Collection, Iterable, Iterator

from celery.utils.log import get_task_logger
from celery.worker.request import Request
from celery_batches import Batches, SimpleRequest
from celery_batches.trace import apply_batches_task

logger = get_task_logger(__name__)

_BATCHES_ON_THEIR_WAY = 2


class DurableBatches(Batches):
    """A batch task whose function takes SimpleRequests and returns the set of settled message ids."""

    abstract = True
    batch_weight = 64

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._on_their_way: dict[int, list[SimpleRequest]] = {}
        self.progressed_at = time.monotonic()

    def progress(self) -> None:
        """Note that this process is not hanging."""
        self.progressed_at = time.monotonic()

    def weight(self, request: SimpleRequest) -> int:  # noqa: ARG002  # for subclasses
        """How much of a batch's weight a message takes."""
        return 1

    def held(self) -> list[SimpleRequest]:
        """Give the messages that this process has received and not settled."""
        with self._lock:
            on_their_way = [one for batch in self._on_their_way.values() for one in batch]
        with self._buffer.mutex:
            waiting = list(self._buffer.queue)
        return on_their_way + [SimpleRequest.from_request(one) for one in waiting]

    def _do_flush(self) -> None:
        # Called by the timer and by each arriving message, always in the consumer's thread. While this does
        # nothing the timer goes on ticking.
        if len(self._on_their_way) < _BATCHES_ON_THEIR_WAY:
            super()._do_flush()

    def flush(self, requests: Collection[Request]) -> None:
        for batch in self._batches(requests):
            self._run(batch)

    def _batches(self, requests: Iterable[Request]) -> Iterator[list[tuple[Request, SimpleRequest]]]:
        batch: list[tuple[Request, SimpleRequest]] = []
        room = self.batch_weight
        for request in requests:
            simple = SimpleRequest.from_request(request)
            weight = self.weight(simple)
            if batch and weight > room:
                yield batch
                batch, room = [], self.batch_weight
            batch.append((request, simple))
            room -= weight
        if batch:
            yield batch

    def _run(self, batch: list[tuple[Request, SimpleRequest]]) -> None:
        simple = [one for _, one in batch]

        def settle(settled: set[str] | None) -> None:
            # None: the batch function raised (apply_batches_task logged it) and nothing is settled.
            # What goes back goes to the head of the queue, the last one first, so that the order stays.
            for request, one in reversed(batch):
                if settled is not None and one.id in settled:
                    request.acknowledge()
                else:
                    request.reject(requeue=True)
            with self._lock:
                self._on_their_way.pop(id(batch), None)
            self.progress()

        def requeue(*_: object) -> None:
            # The pool could not run the batch at all.
            logger.error("a batch of %d messages was not run; it goes back to the queue", len(batch))
            settle(None)

        with self._lock:
            if not self._on_their_way:
                self.progress()  # what was idle has not been hanging
            self._on_their_way[id(batch)] = simple
        self._pool.apply_async(
            apply_batches_task,
            (self, (simple,), 0, None),
            callback=settle,
            error_callback=requeue,
        )
