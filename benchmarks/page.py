"""What looking costs: pages over a long history, and what scoring loses to those who look.

    python -m benchmarks.page [--rows 1000000] [--viewers 50] [--auditors 20] [--think 5] [--seconds 60]
                              [--turns 3] [--load 1.0] [--json]

A plant of real processes on this machine (station, Valkey, PostgreSQL, a scoring worker to each core, the
page) judges parts beside a history of so many rows: in turns while nobody looks, and while viewers watch
walls and auditors page through lists, reading each page for so many seconds in the mean. `--load` is the
share of what is judged flat out at which parts come; 1 is flat out, where all that the page takes is taken
from scoring. Those who look run here too, and take processor time (`client_cpu`) that elsewhere would be
other machines'.
"""

import argparse
import json
import signal
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks import history
from benchmarks.pipeline import ours
from benchmarks.pipeline.pictures import as_files, pictures, quick_model
from benchmarks.pipeline.plant import Plant, plant
from db import users
from db.engine import session_factory

_USER, _PASSWORD = "watcher", "looks at everything"
_READY_S: Final = 60.0


def run(
    rows: int,
    viewers: int,
    auditors: int,
    think_s: float,
    seconds: float,
    turns: int,
    load: float,
    size: int = 128,
) -> dict[str, Any]:
    """Give images a second alone and while they look, what is lost, and how long pages took, in ms."""
    with tempfile.TemporaryDirectory(prefix="pyramidion-page-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as another user
        files = as_files(folder / "pictures", pictures(None, size))
        with plant(folder, quick_model(folder / "model", size)) as found:
            history.load(found.engine, history.set_up(found.engine, rows), 0, rows)
            history.tidy(found.engine)
            address = _page(found)
            cookie = _log_in(found, address)
            ours.start_workers(found, ours.cores(), 1)
            ours.run(found, files, 128)
            flat_out = ours.run(found, files, 512).images_per_s
            rate = None if load >= 1 else flat_out * load
            count = max(64, int(flat_out * min(load, 1.0) * seconds))
            alone: list[ours.Measured] = []
            beside: list[ours.Measured] = []
            seen: list[dict[str, Any]] = []
            for _ in range(turns):
                alone.append(ours.run(found, files, count, rate))
                _look(found, address, cookie, viewers, auditors, think_s)
                beside.append(ours.run(found, files, count, rate))
                seen.append(_seen(found))
    return {
        "rows": rows,
        "viewers": viewers,
        "auditors": auditors,
        "think_s": think_s,
        "load": load,
        "cores": ours.cores(),
        "alone": _scoring(alone),
        "beside": _scoring(beside),
        "lost": round(1 - _scoring(beside)["images_per_s"] / _scoring(alone)["images_per_s"], 3),
        "turns": seen,
        "lists_p95_ms": _worst(seen, "lists_ms"),
        "parts_p95_ms": _worst(seen, "parts_ms"),
    }


def _scoring(measured: list[ours.Measured]) -> dict[str, Any]:
    """Give rates, latencies, and of how many cores each part took the time."""
    return {
        "images_per_s": round(statistics.median(one.images_per_s for one in measured), 1),
        "latency_p95_ms": round(statistics.median(one.latency_ms()["p95"] for one in measured), 1),
        "cores": {
            part: round(statistics.median(one.cpu_ms[part] * one.images_per_s / 1000 for one in measured), 3)
            for part in measured[0].cpu_ms
        },
    }


def _worst(seen: list[dict[str, Any]], name: str) -> float | None:
    return max((one[name]["p95"] for one in seen if one[name]), default=None)


def _page(found: Plant) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found.start("page", ["pyramidion", "serve", "--host", "127.0.0.1", "--port", str(port)], None)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            httpx.get(f"{address}/healthz", timeout=5).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise found.failed("the page did not get ready", "page") from None
            time.sleep(0.2)
        else:
            return address


def _log_in(found: Plant, address: str) -> str:
    """Give the cookie of a viewer: with accounts, each request looks its login up."""
    sessions = session_factory(found.engine)
    with sessions.begin() as session:
        users.add(session, _USER, "Watcher", "given by the benchmark", "benchmark", ["viewer"])
    with sessions.begin() as session:
        users.change_password(session, _USER, "given by the benchmark", _PASSWORD)
    answer = httpx.post(f"{address}/login", data={"name": _USER, "password": _PASSWORD}, timeout=20)
    return answer.cookies["pyramidion_login"]


def _look(found: Plant, address: str, cookie: str, viewers: int, auditors: int, think_s: float) -> None:
    numbers = ["--viewers", str(viewers), "--auditors", str(auditors), "--think", str(think_s)]
    found.start("looking", ["benchmarks.page_load", address, cookie, *numbers], "watching")


def _seen(found: Plant) -> dict[str, Any]:
    found.end("looking")
    said = (found.home / "looking-0.log").read_text(encoding="utf-8")
    seen: dict[str, Any] = json.loads(said.splitlines()[-1])
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--auditors", type=int, default=20)
    parser.add_argument("--think", type=float, default=5, help="seconds that an auditor reads a page, mean")
    parser.add_argument("--seconds", type=float, default=60, help="how long each is measured in a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--load", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what it started ends with it
    report = run(
        options.rows,
        options.viewers,
        options.auditors,
        options.think,
        options.seconds,
        options.turns,
        options.load,
    )
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        print(f"{name:<16} {value}")


if __name__ == "__main__":
    main()
