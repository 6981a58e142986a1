"""The pages that show lines as they are now, and the streams that keep them so."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from web.access import Permission, needs, still_may
from web.live import addresses
from web.live.counts import WINDOWS
from web.live.hub import Hub, Live, Topic, Viewer, blocks, event
from web.site import Here, Site

router = APIRouter(include_in_schema=False)
READ: Final = needs(Permission.READ)
CHECKED_EVERY_S: Final = 30.0  # whether who watches still may
_AGAIN_AFTER_MS: Final = 2000  # a browser whose stream broke off

Window = Annotated[int, Query(description="Minutes that the yield is of.")]


class InvalidWindowError(Exception):
    """A yield was asked for of a time that is not offered."""

    def __init__(self, window: int) -> None:
        offered = ", ".join(map(str, WINDOWS))
        super().__init__(f"A yield is shown of the last {offered} minutes, not of {window}.")


@router.api_route("/live", methods=["GET", "HEAD"], dependencies=[READ])
def live(
    request: Request, site: Here, hub: Live, line: str | None = None, window: Window = addresses.USUAL
) -> HTMLResponse:
    """Show all lines, or the wall of one whose name makes no path."""
    return _page(request, site, hub, Topic(line, offered(window)))


@router.get("/live/events", dependencies=[READ])
async def live_events(
    request: Request, site: Here, hub: Live, line: str | None = None, window: Window = addresses.USUAL
) -> StreamingResponse:
    """Keep a page up to date."""
    return await _stream(request, site, hub, Topic(line, offered(window)))


@router.get("/live/{line:path}/events", dependencies=[READ])
async def line_events(
    line: str, request: Request, site: Here, hub: Live, window: Window = addresses.USUAL
) -> StreamingResponse:
    """Keep a line's wall up to date."""
    return await _stream(request, site, hub, Topic(line, offered(window)))


@router.api_route("/live/{line:path}", methods=["GET", "HEAD"], dependencies=[READ])
def wall(
    line: str, request: Request, site: Here, hub: Live, window: Window = addresses.USUAL
) -> HTMLResponse:
    """Show a line's wall."""
    return _page(request, site, hub, Topic(line, offered(window)))


def _page(request: Request, site: Site, hub: Hub, topic: Topic) -> HTMLResponse:
    state = hub.now(topic.line, topic.window)
    return site.page(
        request,
        "live/plant.html" if topic.line is None else "live/wall.html",
        state=state,
        line=None if topic.line is None else state.line(topic.line),
        blocks=blocks(site, state, topic),
        windows=addresses.windows(topic.line),
        window=topic.window,
        events=addresses.events(topic.line, topic.window),
    )


async def _stream(request: Request, site: Site, hub: Hub, topic: Topic) -> StreamingResponse:
    state = await run_in_threadpool(hub.now, topic.line, topic.window)
    if topic.line is not None:
        state.line(topic.line)
    return _Stream(request, site, hub, topic)


class _Stream(StreamingResponse):
    """Server-sent events: first all that the page shows, then what changes."""

    def __init__(self, request: Request, site: Site, hub: Hub, topic: Topic) -> None:
        self._request, self._site, self._hub, self._topic = request, site, hub, topic
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx would gather them
        super().__init__(iter(()), headers=headers, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._hub.watching(self._topic) as viewer:
            self.body_iterator = self._events(viewer)
            await super().__call__(scope, receive, send)

    async def _events(self, viewer: Viewer) -> AsyncIterator[bytes]:
        yield f"retry: {_AGAIN_AFTER_MS}\n\n".encode()
        checked_at = time.monotonic()
        while True:
            left_s = checked_at + CHECKED_EVERY_S - time.monotonic()
            if left_s <= 0:
                if not await self._still_may():
                    yield event({}, "ended")
                    return
                checked_at = time.monotonic()
                continue
            try:
                news = await asyncio.wait_for(viewer.next(), left_s)
            except TimeoutError:
                continue
            if news is None:
                return
            yield news

    async def _still_may(self) -> bool:
        try:
            return await run_in_threadpool(still_may, self._site, self._request, Permission.READ)
        except DBAPIError:
            return True  # nothing is read meanwhile, and it is asked again


def offered(window: int) -> int:
    if window not in WINDOWS:
        raise InvalidWindowError(window)
    return window
