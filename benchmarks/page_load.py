"""Who looks at the page while it is measured: viewers of walls, and auditors who page through lists.

    python -m benchmarks.page_load ADDRESS COOKIE [--viewers 50] [--auditors 20] [--think 5]

Says `watching` when all walls have shown something, and on SIGTERM what was seen, as JSON. It takes as little
of the processors as it can, since those who look use other machines: bytes are counted, not understood.
"""

import argparse
import asyncio
import json
import random
import re
import signal
import time
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

from benchmarks.pipeline.ours import quantiles

WALLS: Final = ("/live/events", "/live/(no line)/events", "/live/line-0/events", "/live/line-1/events")
_PAGES: Final = 30  # of a list, then another one is opened
_OLDER: Final = re.compile(rb'<a href="([^"]+)" rel="next">Older')
_PART: Final = re.compile(rb'href="(/inspections/[0-9a-f-]{36})[^"]*"')


@dataclass
class Seen:
    lists_ms: list[float] = field(default_factory=list)
    parts_ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    events: int = 0
    event_bytes: int = 0
    gaps_s: list[float] = field(default_factory=list)  # between two events of a wall


class Client:
    """One browser: a connection that is kept."""

    def __init__(self, address: str, cookie: str) -> None:
        self._where = urlsplit(address)
        self._head = (
            f"Host: {self._where.netloc}\r\nCookie: pyramidion_login={cookie}\r\nAccept: text/html\r\n"
        )
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, path: str) -> asyncio.StreamReader:
        if self._writer is None or self._writer.is_closing():
            host, port = self._where.hostname, self._where.port
            self._reader, self._writer = await asyncio.open_connection(host, port, limit=1 << 20)
        assert self._reader is not None
        self._writer.write(f"GET {quote(path, safe='/?=&%+')} HTTP/1.1\r\n{self._head}\r\n".encode())
        await self._writer.drain()
        return self._reader

    async def get(self, path: str) -> tuple[int, bytes]:
        """Give status and body of a page."""
        try:
            return await self._get(path)
        except (
            asyncio.IncompleteReadError,
            ConnectionError,
        ):  # what is idle, the server closes
            self._writer = None
            return await self._get(path)

    async def _get(self, path: str) -> tuple[int, bytes]:
        reader = await self.ask(path)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        return int(head.split(maxsplit=2)[1]), body


async def watch(client: Client, wall: str, seen: Seen, shown: asyncio.Event) -> None:
    reader = await client.ask(wall)
    last = time.monotonic()
    while data := await reader.read(1 << 16):
        seen.event_bytes += len(data)
        ends = data.count(b"\n\n")
        if not ends or not (shown.is_set() or b'"blocks"' in data):
            continue
        now = time.monotonic()
        if shown.is_set():
            seen.gaps_s.append(now - last)
            seen.events += ends
        shown.set()
        last = now
    seen.failed.append(f"{wall} ended")


async def audit(client: Client, seen: Seen, think_s: float) -> None:
    while True:
        path = random.choice(
            [f"/?product=product-{random.randrange(8)}", f"/?station=station-{random.randrange(20):02}"]
        )
        for _ in range(_PAGES):
            await asyncio.sleep(random.expovariate(1 / think_s) if think_s else 0)
            body = await _timed(client, path, seen, seen.lists_ms)
            parts, older = _PART.findall(body), _OLDER.search(body)
            if parts and random.random() < 0.2:
                await asyncio.sleep(random.expovariate(1 / think_s) if think_s else 0)
                await _timed(client, random.choice(parts).decode(), seen, seen.parts_ms)
            if older is None:
                break
            path = older[1].decode().replace("&amp;", "&")


async def _timed(client: Client, path: str, seen: Seen, times_ms: list[float]) -> bytes:
    begun = time.monotonic()
    status, body = await client.get(path)
    times_ms.append((time.monotonic() - begun) * 1000)
    if status != 200:
        seen.failed.append(f"{status} {path}")
    return body


async def run(address: str, cookie: str, viewers: int, auditors: int, think_s: float) -> dict[str, Any]:
    seen, over = Seen(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    shown = [asyncio.Event() for _ in range(viewers)]
    tasks = [
        asyncio.create_task(watch(Client(address, cookie), WALLS[number % len(WALLS)], seen, one))
        for number, one in enumerate(shown)
    ]
    await asyncio.gather(*(one.wait() for one in shown))
    tasks += [asyncio.create_task(audit(Client(address, cookie), seen, think_s)) for _ in range(auditors)]
    print("watching", flush=True)
    begun, cpu_s = time.monotonic(), time.process_time()
    stopped = asyncio.create_task(over.wait())
    done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    seen.failed += [
        repr(one.exception()) for one in done if one is not stopped and one.exception() is not None
    ]
    seconds = time.monotonic() - begun
    for one in tasks:
        one.cancel()
    return {
        "lists": len(seen.lists_ms),
        "lists_ms": quantiles(seen.lists_ms) if seen.lists_ms else {},
        "parts": len(seen.parts_ms),
        "parts_ms": quantiles(seen.parts_ms) if seen.parts_ms else {},
        "pages_per_s": round((len(seen.lists_ms) + len(seen.parts_ms)) / seconds, 2),
        "events_per_viewer_per_s": round(seen.events / seconds / max(1, viewers), 2),
        "event_gap_s": {name: round(gap, 2) for name, gap in quantiles(seen.gaps_s).items()}
        if seen.gaps_s
        else {},
        "event_kb_per_s": round(seen.event_bytes / seconds / 1000, 1),
        "client_cpu": round((time.process_time() - cpu_s) / seconds, 3),
        "failed": seen.failed[:10],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address")
    parser.add_argument("cookie")
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--auditors", type=int, default=20)
    parser.add_argument("--think", type=float, default=5, help="seconds that an auditor reads a page, mean")
    options = parser.parse_args()
    found = asyncio.run(
        run(options.address, options.cookie, options.viewers, options.auditors, options.think)
    )
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
