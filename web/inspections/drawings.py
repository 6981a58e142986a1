"""Drawings that are likely to be asked for again, kept in memory up to a bound."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

ROOM: Final = 32_000_000  # bytes: some 600 thumbnails, more than fifty viewers of a wall look at together
AT_ONCE: Final = 2  # each may hold a large image in memory, and the workers want the processors too

T = TypeVar("T")


class Drawings:
    """The drawings that were asked for last. Safe to share among threads."""

    def __init__(self, room: int = ROOM) -> None:
        self.turn = threading.BoundedSemaphore(AT_ONCE)  # to be held by whoever draws
        self._room = room
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, tag: str, fetch: Callable[[], T], draw: Callable[[T], bytes]) -> bytes:
        """Give the drawing of that name; where it isn't kept, `draw` makes it of what `fetch` gives.

        Raises what they raise; then nothing is kept.
        """
        found = self._find(tag)
        if found is not None:
            return found
        facts = fetch()
        with self.turn:
            found = self._find(tag)  # who waited for the same drawing finds it
            if found is None:
                found = draw(facts)
                self._keep(tag, found)
        return found

    def _find(self, tag: str) -> bytes | None:
        with self._lock:
            if tag in self._kept:
                self._kept.move_to_end(tag)
            return self._kept.get(tag)

    def _keep(self, tag: str, drawing: bytes) -> None:
        with self._lock:
            if tag in self._kept or len(drawing) > self._room:
                return
            self._kept[tag] = drawing
            self._bytes += len(drawing)
            while self._bytes > self._room:
                self._bytes -= len(self._kept.popitem(last=False)[1])
