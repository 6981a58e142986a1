"""celery-batches made durable: a message is acknowledged only when its inspections are settled.

Stock celery-batches acknowledges every late message once the batch function has returned, also when it
raised, so a failed batch is lost. Here the batch function returns the ids of the messages that are
settled (committed, or nothing is left to do for them); the others go back to the queue.
"""

from collections.abc import Collection
from typing import Any

from celery.utils.log import get_task_logger
from celery.worker.request import Request
from celery_batches import Batches, SimpleRequest
from celery_batches.trace import apply_batches_task

logger = get_task_logger(__name__)


class DurableBatches(Batches):
    """A batch task whose function returns the set of settled message ids."""

    abstract = True

    def flush(self, requests: Collection[Request]) -> Any:
        def settle(settled: set[str] | None) -> None:
            # None: the batch function raised (apply_batches_task logged it) and nothing is settled.
            for request in requests:
                if settled is not None and request.id in settled:
                    request.acknowledge()
                else:
                    request.reject(requeue=True)

        def requeue(*_: object) -> None:
            # The pool could not run the batch at all.
            logger.error("a batch of %d messages was not run; it goes back to the queue", len(requests))
            settle(None)

        return self._pool.apply_async(
            apply_batches_task,
            (self, ([SimpleRequest.from_request(one) for one in requests],), 0, None),
            callback=settle,
            error_callback=requeue,
        )
