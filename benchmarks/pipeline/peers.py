"""Others that serve the same model with dynamic batches over HTTP, and keep nothing."""

import base64
import json
import random
import threading
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from importlib.util import find_spec
from queue import Queue

from pyramidion.errors import UserError

NAMES = ("litserve", "mosec")
_IDLE_S = 2.0  # servers close connections that lie idle: uvicorn after 5 s
_CLIENTS = 128  # requests under way at most: enough to fill two batches


def installed() -> list[str]:
    return [name for name in NAMES if find_spec(name) is not None]


def command(name: str, port: int, processes: int) -> list[str]:
    """Give the module that serves, with its arguments."""
    own = ["--address", "127.0.0.1", "--timeout", "120000"] if name == "mosec" else []
    return [f"benchmarks.pipeline.peer_{name}", "--port", str(port), *own, "--num", str(processes)]


def path(name: str) -> str:
    return "/predict" if name == "litserve" else "/inference"


def posted(name: str, picture: bytes) -> tuple[bytes, dict[str, str]]:
    """Give body and headers of a request."""
    if name == "litserve":
        body = json.dumps({"image": base64.b64encode(picture).decode()}).encode()
        return body, {"Content-Type": "application/json"}
    return picture, {"Content-Type": "image/jpeg"}


def feed(
    name: str, port: int, pictures: Sequence[bytes], count: int, rate: float | None
) -> tuple[float, list[float]]:
    """Post `count` images, at a rate or as fast as they are taken; gives seconds, and latencies in ms."""
    waiting: Queue[tuple[float, bytes] | None] = Queue()
    latencies: list[float] = []
    failed: list[str] = []

    def client() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        used = time.monotonic()
        while (item := waiting.get()) is not None:
            due, data = item
            if time.monotonic() - used > _IDLE_S:
                connection.close()  # the next request opens it anew
            used = time.monotonic()
            connection.request("POST", path(name), *posted(name, data))
            response = connection.getresponse()
            body = response.read()
            if response.status != 200 or "map" not in json.loads(body):
                failed.append(f"{name} answered {response.status}: {body[:200]!r}")
                return
            latencies.append((time.perf_counter() - due) * 1000)

    clients = [threading.Thread(target=client, daemon=True) for _ in range(_CLIENTS)]
    for one in clients:
        one.start()
    draw = random.Random(name)
    begun = due = time.perf_counter()
    for number in range(count):
        if rate is not None:
            due += draw.expovariate(rate)
            time.sleep(max(0.0, due - time.perf_counter()))
        waiting.put((time.perf_counter(), pictures[number % len(pictures)]))
    for _ in clients:
        waiting.put(None)
    for one in clients:
        one.join(300)
    if failed or len(latencies) != count:
        raise UserError(failed[0] if failed else f"{name} answered {len(latencies)} of {count}")
    return time.perf_counter() - begun, latencies


def answers(name: str, port: int, picture: bytes) -> bool:
    """Whether the server is there and judges."""
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("POST", path(name), *posted(name, picture))
        return connection.getresponse().status == 200
    except OSError:
        return False
