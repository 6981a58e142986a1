"""When a worker hands on what has gathered: at once to an idle device, and else when it is nearly free."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from workers.batches import DurableBatches


class Pool:
    """As Celery's pool of threads, in which each batch is one call."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(3)

    def apply_async(self, target: Any, args: Sequence[Any] = (), callback: Any = None, **_: Any) -> None:
        self.executor.submit(lambda: callback(target(*args)))


@pytest.fixture
def task() -> Iterator[DurableBatches]:
    """A task with three threads, each batch of which uses the device until its test says that it is done."""
    app, device = Celery(set_as_current=False), threading.Lock()
    entered: list[int] = []
    done = threading.Semaphore(0)

    def work(requests: Sequence[Any]) -> set[str]:
        with device, made.on_device(made.expected_s):
            entered.append(len(requests))
            assert done.acquire(timeout=10)
        return {one.id for one in requests}

    made: Any = app.task(base=DurableBatches, name="work", shared=False, lazy=False)(work)
    made.batches_at_once, made.flush_interval, made._pool, made.expected_s = 3, 0.02, Pool(), 0.0
    made.entered, made.done = entered, done
    yield made
    for _ in range(20):
        done.release()
    made._pool.executor.shutdown()


def arrive(task: Any, number: int = 1) -> None:
    """Let messages arrive, and the timer tick."""
    for _ in range(number):
        request = SimpleNamespace(
            id=f"{time.monotonic_ns()}",
            task=task,
            name="work",
            _payload=([], {}, {}),
            delivery_info={},
            hostname="here",
            reply_to=None,
            correlation_id=None,
            request_dict={},
            eta=None,
            acknowledge=lambda: None,
            reject=lambda requeue: None,
        )
        task._buffer.put(request)
    task._do_flush()


def test_what_comes_while_the_device_is_busy_gathers_until_it_is_nearly_free(
    task: Any, wait: Callable[..., Any]
) -> None:
    """Else a slow model gets images one by one, each waiting alone for it, at up to twice the cost."""
    task.expected_s = 60.0
    arrive(task)
    wait(lambda: task.entered == [1], "the first, at once", 5)
    for _ in range(4):
        arrive(task)
    assert len(task._on_their_way) == 1
    task._device_free_at = time.monotonic() + 0.01  # as if most of the minute were over
    arrive(task)
    assert len(task._on_their_way) == 2
    arrive(task, 3)
    assert len(task._on_their_way) == 2, "one is made ready, and what comes now gathers for the one after it"
    task.done.release()
    wait(lambda: task.entered == [1, 5], "all five together", 5)
    arrive(task, 0)
    assert not task._buffer.empty()
    task.done.release()
    wait(lambda: not task._on_their_way, "both", 5)
    arrive(task, 0)
    wait(lambda: task.entered == [1, 5, 3], "the rest, once nothing is on its way", 5)


def test_a_batch_that_never_comes_to_the_device_keeps_no_other_back(
    task: Any, wait: Callable[..., Any]
) -> None:
    """All of it was judged before, or the database was away: what it would have waited for is free."""
    working, task.run = task.run, lambda requests: set()
    arrive(task)
    wait(lambda: not task._on_their_way, "a batch with nothing to do", 5)
    task.run = working
    arrive(task)
    wait(lambda: task.entered == [1], "the next", 5)


def test_a_full_batch_is_made_ready_however_long_the_device_is_busy(
    task: Any, wait: Callable[..., Any]
) -> None:
    """To wait would gain nothing, and a large image takes longer to decode than any guess of ours."""
    task.expected_s, task.batch_weight = 60.0, 4
    arrive(task)
    wait(lambda: task.entered == [1], "the first, at once", 5)
    arrive(task, 3)
    assert len(task._on_their_way) == 1
    arrive(task)
    assert len(task._on_their_way) == 2
    assert task._buffer.empty()


def test_what_takes_long_to_read_is_handed_on_so_much_earlier(task: Any) -> None:
    task._device_free_at = time.monotonic() + 60
    assert not task._is_soon_free()
    task._working_on.since = time.monotonic() - 300  # one batch of many: its share of what is remembered
    task.ready()
    assert task._is_soon_free()


def test_batches_of_a_fast_model_don_t_wait_for_the_device_to_be_free(
    task: Any, wait: Callable[..., Any]
) -> None:
    task.expected_s = 0.02
    arrive(task)
    wait(lambda: task.entered == [1], "the first", 5)
    arrive(task)
    assert len(task._on_their_way) == 2, "it is read and decoded meanwhile"
