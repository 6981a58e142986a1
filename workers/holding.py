"""What live workers hold: it has left the queue, but it is not lost.

A worker says every few seconds, in the broker, how old the oldest message is that it holds; the note lapses
by itself soon after the worker died, or when the worker stops making progress. Without it the sweeper
could not tell a slow worker's backlog from a dead worker's.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

PREFIX: Final = "pyramidion:held:"
SAID_EVERY_S: Final = 2.0
LAPSES_S: Final = 8
# A worker that settled nothing for so long is taken for hung: others may have what it holds.
HUNG_S: Final = 30.0


class Holding(threading.Thread):
    """Says in the background what this process holds, as long as it makes progress."""

    def __init__(
        self,
        connect: Callable[[], Redis],
        oldest: Callable[[], datetime | None],
        progressed_at: Callable[[], float],
    ) -> None:
        super().__init__(name="holding", daemon=True)
        self._connect = connect
        self._oldest = oldest
        self._progressed_at = progressed_at
        self._key = f"{PREFIX}{socket.gethostname()}:{os.getpid()}"
        self._ended = threading.Event()

    def run(self) -> None:
        with self._connect() as client:
            while not self._ended.wait(SAID_EVERY_S):
                try:
                    self._say(client)
                except RedisError:
                    continue  # the consumer reports a lost broker; the note lapses, which is right

    def _say(self, client: Redis) -> None:
        oldest = self._oldest()
        if oldest is None:
            client.delete(self._key)
        elif time.monotonic() - self._progressed_at() < HUNG_S:
            client.set(self._key, oldest.isoformat(), ex=LAPSES_S)

    def stop(self) -> None:
        self._ended.set()


def oldest_held(client: Redis) -> datetime | None:
    """Give the time of the oldest message that a live worker holds; raises redis.exceptions.RedisError."""
    keys = list(client.scan_iter(match=PREFIX + "*", count=1000))
    said = client.mget(keys) if keys else []
    times = [one.decode() if isinstance(one, bytes) else one for one in said if one is not None]
    return min(map(datetime.fromisoformat, times), default=None)
