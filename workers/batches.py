"""celery-batches made durable, and made to gather.

Durable: stock celery-batches acknowledges every late message once the batch function has returned, also
when it raised, so a failed batch is lost. Here the batch function returns the ids of the messages that are
settled (committed, or nothing is left to do for them); the others go back to the queue.

Gathering: stock celery-batches hands on whatever has arrived when its timer ticks, also while the pool is
busy, so a slow model gets many batches of one, and one image costs it up to twice as much as one of several.
Here what arrives while nothing is on its way goes on at once; else messages gather until they fill a batch of
`batch_weight`, or the device has nearly done with the batch before; and while something is made ready for the
device that has not come to it, more gathers for the time after it.

Sharing: a prefetch counts messages, of one image or of 16. Here a process takes messages while what it holds
weighs less than `room`; the rest is left to other workers.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from celery.utils.log import get_task_logger
from celery.worker.request import Request
from celery_batches import Batches, SimpleRequest
from celery_batches.trace import apply_batches_task

logger = get_task_logger(__name__)


class DurableBatches(Batches):
    """A batch task whose function takes SimpleRequests and returns the set of settled message ids."""

    abstract = True
    batch_weight = 64
    batches_at_once = 1
    room = 128
    _tref: Any  # the timer's entry, of celery-batches

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._consumer: Any = None
        self._qos: Any = None
        self._weights: dict[str, int] = {}  # of what is held
        self._on_their_way: dict[int, list[SimpleRequest]] = {}
        self._made_ready: set[int] = set()  # of these, those that have not come to the device yet
        self._working_on = threading.local()  # the thread's `batch`, and when it was handed on
        self._device_free_at = 0.0
        self._ready_s = 0.0  # what it took lately to read and decode a batch
        self._progressed: dict[int, float] = {}  # by thread that works on a batch
        self._rested_at = time.monotonic()  # since when none works, or nothing is held

    def progress(self) -> None:
        """Note that the calling thread, which works on a batch, is not hanging."""
        self._progressed[threading.get_ident()] = time.monotonic()

    def rest(self) -> None:
        """Note that the calling thread works on nothing now."""
        self._progressed.pop(threading.get_ident(), None)
        self._rested_at = time.monotonic()

    def ready(self) -> None:
        """Note that the calling thread's batch could go on the device, where that is free."""
        begun = getattr(self._working_on, "since", None)
        if begun is not None:
            self._ready_s = 0.7 * self._ready_s + 0.3 * (time.monotonic() - begun)
            self._working_on.since = None  # what it has besides was not read in this time

    @contextmanager
    def on_device(self, expected_s: float) -> Iterator[None]:
        """Let the calling thread's batch use the device, which one at a time may, for about so long."""
        # In this order: the consumer's thread may look in between, and would find the device free.
        self._device_free_at = time.monotonic() + expected_s
        self._made_ready.discard(getattr(self._working_on, "batch", 0))
        try:
            yield
        finally:
            self._device_free_at = 0.0

    @property
    def progressed_at(self) -> float:
        """When the thread that has been silent longest last made progress; now where there is nothing to do.

        A thread that hangs must show, however busy the others are, and so must messages that no thread gets.
        """
        is_stuck = self.is_holding() and self._is_connected()
        return min(list(self._progressed.values()), default=self._rested_at if is_stuck else time.monotonic())

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

    def is_holding(self) -> bool:
        """Say whether `held` would give anything; costs next to nothing."""
        return bool(self._on_their_way) or not self._buffer.empty()

    def Strategy(self, task: Batches, app: Any, consumer: Any) -> Callable[..., None]:  # noqa: N802  # Celery's
        """Receive as celery-batches does, mind the weight, and hand on at once what need not wait."""
        receive = super().Strategy(task, app, consumer)
        self._consumer, self._rested_at = consumer, time.monotonic()
        self._start_timer_anew(consumer.timer)

        def received(message: Any, *others: Any, **more: Any) -> None:
            self._mind_weight(message.channel.qos)
            if not self.is_holding():
                self._rested_at = time.monotonic()
            receive(message, *others, **more)
            with self._buffer.mutex:
                request = self._buffer.queue[-1] if self._buffer.queue else None
            if request is not None:  # else this message made the batch full, which counted it
                self._count_in(request)
            if not self._on_their_way:
                self._do_flush()

        return received

    def _is_connected(self) -> bool:
        # Without a broker nothing is handed on: what gathered waits until it is back.
        connection = getattr(self._consumer, "connection", None)
        return connection is not None and bool(connection.connected)

    def _start_timer_anew(self, timer: Any) -> None:
        # With a lost connection Celery forgets its timers. What had gathered would wait for the next message
        # then, and none comes where there is no room for it.
        if self._tref is not None:
            self._tref.cancel()
        self._tref = (
            None if self._buffer.empty() else timer.call_repeatedly(self.flush_interval, self._do_flush)
        )

    def _mind_weight(self, qos: Any) -> None:
        """Let the channel take messages only while there is room; a new connection has a new channel."""
        if qos is self._qos:
            return
        self._qos, may = qos, qos.can_consume
        qos.can_consume = lambda: may() and self._has_room()

    def _has_room(self) -> bool:
        return sum(list(self._weights.values())) < self.room  # a copy: other threads settle meanwhile

    def _count_in(self, request: Request) -> None:
        if request.id not in self._weights:
            self._weights[request.id] = self.weight(SimpleRequest.from_request(request))

    def _do_flush(self) -> None:
        # Called by the timer and by each arriving message, always in the consumer's thread. While this does
        # nothing the timer goes on ticking.
        if len(self._on_their_way) >= self.batches_at_once or self._made_ready:
            return
        if self._is_soon_free() or self._is_full():
            super()._do_flush()

    def _is_soon_free(self) -> bool:
        # Before the next tick, the device would be free and nothing ready for it.
        ahead_s = self._ready_s + float(self.flush_interval)
        return time.monotonic() >= self._device_free_at - ahead_s

    def _is_full(self) -> bool:
        with self._buffer.mutex:
            waiting = list(self._buffer.queue)
        return sum(self._weights.get(one.id, 1) for one in waiting) >= self.batch_weight

    def flush(self, requests: Collection[Request]) -> None:
        for batch in list(self._batches(requests)):
            self._run(batch)

    def _batches(self, requests: Iterable[Request]) -> Iterator[list[tuple[Request, SimpleRequest]]]:
        batch: list[tuple[Request, SimpleRequest]] = []
        room = self.batch_weight
        for request in requests:
            simple = SimpleRequest.from_request(request)
            self._count_in(request)
            weight = self._weights[request.id]
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
            self._made_ready.discard(id(batch))
            with self._lock:
                self._on_their_way.pop(id(batch), None)
            for _, one in batch:
                self._weights.pop(one.id, None)

        def requeue(*_: object) -> None:
            # The pool could not run the batch at all.
            logger.error("a batch of %d messages was not run; it goes back to the queue", len(batch))
            settle(None)

        def work() -> Any:
            self._working_on.batch, self._working_on.since = id(batch), handed_on_at
            try:
                return apply_batches_task(self, (simple,), 0, None)
            finally:
                self._made_ready.discard(id(batch))

        handed_on_at = time.monotonic()
        self._made_ready.add(id(batch))
        with self._lock:
            self._on_their_way[id(batch)] = simple
        self._pool.apply_async(
            work,
            callback=settle,
            error_callback=requeue,
        )
