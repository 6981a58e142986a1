"""Who watches, and the one reader that looks at the database for all of them.

While somebody watches, it looks once a second and renders what each kind of page shows. A viewer is handed
what is newest when it is ready for it: one that is slow misses what came between, and holds up nobody.
"""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from db.imagestore import ImageStoreUnavailableError
from web.live import addresses
from web.live.board import Board, LineNow, State, pictured
from web.live.spent import Spent
from web.live.thumbs import Thumbs
from web.site import Site

log = logging.getLogger(__name__)
EVERY_S: Final = 1.0
MOST_VIEWERS: Final = 500
_SHARE: Final = 0.1  # of one processor's time for looking: a slow database is asked less often,
_LONGEST_S: Final = 5.0  # but soon enough for pages not to think that nobody looks any more
_DRAWING_S: Final = 0.08  # of a second, for pictures
_AWAY: Final = "The database can't be read just now: what you see is from before."


class TooManyViewersError(Exception):
    """More pages watch than one process takes."""

    def __init__(self) -> None:
        super().__init__(f"{MOST_VIEWERS} pages watch already; close some, then open this one again")


@dataclass(frozen=True)
class Topic:
    """What a viewer watches: a line, or all of them where None; its yield is of so many minutes."""

    line: str | None
    window: int


@dataclass(frozen=True, eq=False)
class Shown:
    """What a topic's page shows: HTML by block, and pictures as data URLs by inspection."""

    at: datetime
    blocks: Mapping[str, str]
    pictures: Mapping[str, str] = field(default_factory=dict)
    trouble: str | None = None
    number: int = field(default_factory=count(1).__next__)
    _messages: dict[int, bytes] = field(default_factory=dict)

    def since(self, seen: "Shown | None") -> bytes:
        """Give the event that makes this of what a viewer has seen; those who saw the same share it."""
        number = 0 if seen is None else seen.number
        if number not in self._messages:
            self._messages[number] = event(self._difference(seen))
        return self._messages[number]

    def _difference(self, seen: "Shown | None") -> dict[str, Any]:
        blocks = {} if seen is None else seen.blocks
        pictures = {} if seen is None else seen.pictures
        return {
            "at": self.at.timestamp(),
            "trouble": self.trouble,
            "blocks": {name: text for name, text in self.blocks.items() if blocks.get(name) != text},
            "pictures": {name: url for name, url in self.pictures.items() if name not in pictures},
        }


class Viewer:
    """One page that watches. It holds nothing but what it was handed last."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._seen: Shown | None = None
        self._newest: Shown | None = None
        self._news = asyncio.Event()
        self.is_over = False

    async def next(self) -> bytes | None:
        """Wait for news, and give them; None once it is over."""
        await self._news.wait()
        self._news.clear()
        if self.is_over or self._newest is None:
            return None
        news = self._newest.since(self._seen)
        self._seen = self._newest
        return news

    def show(self, shown: Shown) -> None:
        self._newest = shown
        self._news.set()

    def end(self) -> None:
        self.is_over = True
        self._news.set()


class Hub:
    """Knows the viewers of this process; to be used from its event loop, but for `now`."""

    def __init__(self, site: Site) -> None:
        self.thumbs = Thumbs()
        self._site = site
        self._board = Board(site)
        self._viewers: set[Viewer] = set()
        self._shown: dict[Topic, Shown] = {}
        self._reader: asyncio.Task[None] | None = None
        self._is_closed = False

    def now(self, line: str | None, window: int) -> State:
        """Give the present state, that of the reader where it looked just now."""
        return self._board.look([] if line is None else [line], [window], 2 * EVERY_S)

    @contextmanager
    def watching(self, topic: Topic) -> Iterator[Viewer]:
        """Count somebody in. Raises TooManyViewersError."""
        if len(self._viewers) >= MOST_VIEWERS:
            raise TooManyViewersError
        viewer = Viewer(topic)
        self._viewers.add(viewer)
        if self._is_closed:
            viewer.end()
        elif topic in self._shown:
            viewer.show(self._shown[topic])
        self._start_unless_closed()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    def close(self) -> None:
        """End all that watch: the server stops."""
        self._is_closed = True
        if self._reader is not None:
            self._reader.cancel()
        self._end_all()

    def _start_unless_closed(self) -> None:
        if self._reader is None and self._viewers and not self._is_closed:
            self._reader = asyncio.create_task(self._read())
            self._reader.add_done_callback(self._has_ended)

    def _has_ended(self, reader: "asyncio.Task[None]") -> None:
        self._reader = None
        self._shown = {}
        fault = None if reader.cancelled() else reader.exception()
        if fault is not None:
            log.error("looking at the lines failed", exc_info=fault)
            self._end_all()  # their pages say so, and connect anew
        self._start_unless_closed()  # somebody may have come just now

    def _end_all(self) -> None:
        for viewer in self._viewers:
            viewer.end()

    async def _read(self) -> None:
        # Threads of its own: pages may keep the others busy, and pictures may wait for the image store.
        looks, draws = ThreadPoolExecutor(1, "live"), ThreadPoolExecutor(1, "live-pictures")
        try:
            await self._read_with(looks, draws)
        finally:
            looks.shutdown(wait=False)
            draws.shutdown(wait=False)

    async def _read_with(self, looks: Executor, draws: Executor) -> None:
        loop = asyncio.get_running_loop()
        drawing: asyncio.Future[None] | None = None
        while self._viewers and not self._is_closed:
            begun = time.monotonic()
            topics = {viewer.topic for viewer in self._viewers}
            try:
                state, cost_s = await loop.run_in_executor(looks, self._look, topics)
            except (DBAPIError, PoolTimeoutError) as error:
                log.warning("the lines can't be looked at: %s", error)
                self._tell_trouble(topics)
                await asyncio.sleep(5 * EVERY_S)
                continue
            if drawing is None or drawing.done():
                drawing = loop.run_in_executor(draws, self._draw, pictured(_lines(state, topics)))
            await asyncio.wait([drawing], timeout=_DRAWING_S)
            self._show(await loop.run_in_executor(looks, self._render, state, topics))
            rest_s = max(begun + EVERY_S - time.monotonic(), cost_s / _SHARE - cost_s)
            await asyncio.sleep(min(rest_s, _LONGEST_S))

    def _look(self, topics: set[Topic]) -> tuple[State, float]:
        spent = Spent()
        lines = {topic.line for topic in topics if topic.line is not None}
        return self._board.look(lines, {topic.window for topic in topics}), spent.seconds()

    def _draw(self, ids: list[UUID]) -> None:
        try:
            self.thumbs.draw(self._site, ids, _DRAWING_S)
        except (DBAPIError, PoolTimeoutError, ImageStoreUnavailableError) as error:
            log.warning("parts can't be drawn: %s", error)  # the next look tries again

    def _render(self, state: State, topics: set[Topic]) -> dict[Topic, Shown]:
        found = {}
        for topic in topics:
            if topic.line is not None and topic.line not in state.lines:
                found[topic] = Shown(state.at, {}, trouble="This line has no station any more.")
                continue
            pictures = {
                str(id_): f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
                for id_ in pictured(_lines(state, {topic}))
                if (data := self.thumbs.get(id_)) is not None
            }
            found[topic] = Shown(state.at, blocks(self._site, state, topic, pictures.keys()), pictures)
        return found

    def _show(self, found: dict[Topic, Shown]) -> None:
        self._shown = found
        for viewer in self._viewers:
            if viewer.topic in found:
                viewer.show(found[viewer.topic])

    def _tell_trouble(self, topics: set[Topic]) -> None:
        nothing = Shown(datetime.now(UTC), {})
        last = {topic: self._shown.get(topic, nothing) for topic in topics}
        self._show({topic: Shown(one.at, one.blocks, one.pictures, _AWAY) for topic, one in last.items()})


def blocks(site: Site, state: State, topic: Topic, drawn: Any = None) -> dict[str, str]:
    """Render the parts of a page that change; `drawn` are the inspections whose picture is there.

    Without `drawn` it is for a page that nothing is pushed to: pictures are fetched, ages stand there.
    """
    template = site.templates.get_template("live/blocks.html")
    facts = {"drawn": drawn, "state": state, "window": topic.window, "wall_of": addresses.wall}
    module: Any = template.make_module(facts)
    if topic.line is None:
        return {name: str(getattr(module, name)()) for name in ("plant", "lines", "plant_alarms")}
    line = state.line(topic.line)
    return {name: str(getattr(module, name)(line)) for name in ("figures", "alarms", "rejected", "stations")}


def event(data: Mapping[str, Any], kind: str = "message") -> bytes:
    """Write a server-sent event; JSON has no line breaks outside of its strings, and escapes those inside."""
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _lines(state: State, topics: set[Topic]) -> list[LineNow]:
    return [state.lines[topic.line] for topic in topics if topic.line in state.lines]


async def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.live
    return hub


Live = Annotated[Hub, Depends(_hub)]
