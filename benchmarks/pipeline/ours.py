"""This pipeline measured: from capture at a station to the committed verdict, all durable."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from redis import Redis
from sqlalchemy import text

from benchmarks.pipeline.plant import Plant
from db.ids import first_id

_STALLED_S = 60.0
QUANTILES = {"p50": 50, "p95": 95, "p99": 99}


@dataclass(frozen=True)
class Measured:
    """`latencies_ms` from capture to commit, by part; `cpu_ms` and `stages_ms` are an image's."""

    images: int
    seconds: float
    latencies_ms: Sequence[float]
    cpu_ms: dict[str, float]
    memory_mb: dict[str, float]
    stages_ms: dict[str, float]
    batch_images: float

    @property
    def images_per_s(self) -> float:
        return self.images / self.seconds

    def latency_ms(self) -> dict[str, float]:
        return quantiles(self.latencies_ms)


def quantiles(latencies_ms: Sequence[float]) -> dict[str, float]:
    return {name: round(float(np.percentile(latencies_ms, q)), 1) for name, q in QUANTILES.items()}


def start_workers(plant: Plant, number: int, threads: int, standin: float | None = None) -> None:
    command = ["pyramidion", "worker", "--log-level", "warning"]
    if standin is not None:
        command = ["benchmarks.pipeline.standin", str(standin)]
    for _ in range(number):
        plant.start("workers", command, None, PYRAMIDION_TORCH_THREADS=str(threads))
    _await_consumers(plant, number)


def _await_consumers(plant: Plant, number: int) -> None:
    """Wait until the workers are connected: with few log lines, the broker is who knows."""
    deadline = time.monotonic() + 90
    with Redis.from_url(plant.broker_url) as client:
        while sum(b"cmd=brpop" in one for one in _clients(client)) < number:
            if time.monotonic() > deadline:
                raise plant.failed(f"of {number} workers not all got ready", "workers")
            time.sleep(0.1)


def _clients(client: Any) -> list[bytes]:
    return [f"cmd={one['cmd']}".encode() for one in client.client_list()]


def run(
    plant: Plant,
    folder: Path,
    count: int,
    rate: float | None = None,
    *,
    even: bool = False,
    per_image: bool = False,
    queued_first: bool = False,
) -> Measured:
    """Let a station bring `count` parts, at a rate or as fast as it can, and wait for their verdicts.

    `even`: in an even beat, not at random moments.
    `per_image`: the same of benchmarks.pipeline.per_image instead, which has no batches.
    `queued_first`: workers begin when the station has ended, so that it takes no processor from them.
    """
    begun = datetime.now(UTC)
    if queued_first:
        plant.pause("workers")
    before = plant.cpu_s()
    memory: dict[str, float] = {}
    module = "benchmarks.pipeline.per_image" if per_image else "benchmarks.pipeline.station"
    command = [module, str(folder), "--count", str(count)]
    command += [] if rate is None else ["--rate", str(rate)]
    command += ["--even"] if even else []
    station = plant.start("station", command, None)
    started = None
    if queued_first:
        station.wait(_STALLED_S)
        plant.go_on("workers")
        started = time.time()
    judged, stalled = 0, time.monotonic() + _STALLED_S
    while judged < count:
        time.sleep(0.5)
        now = _judged(plant, begun)
        if now > judged:
            judged, stalled = now, time.monotonic() + _STALLED_S
            memory = plant.memory_mb() if not memory and judged > count / 2 else memory
        if time.monotonic() > stalled:
            what = f"{judged} of {count} parts were judged, then none for {_STALLED_S:.0f} s"
            raise plant.failed(what, "per_image" if per_image else "workers")
    after = plant.cpu_s()
    station.wait(20)
    rows = _rows(plant, begun)
    said = (plant.home / f"station-{len(plant.processes['station']) - 1}.log").read_text()
    captured = np.array([row[0].timestamp() for row in rows])
    committed = np.array([row[1].timestamp() for row in rows])
    used = {part: (after[part] - before.get(part, 0.0)) * 1000 / count for part in after}
    used["station"] = _station_ms(said) / count
    return Measured(
        images=count,
        seconds=float(committed.max() - (started or captured.min())),
        latencies_ms=list((committed - captured) * 1000),
        cpu_ms={part: round(ms, 3) for part, ms in used.items()},
        memory_mb={part: round(mb) for part, mb in memory.items()},
        stages_ms=_stages([row[2] for row in rows]),
        batch_images=float(np.mean([row[2]["batch_images"] for row in rows])),
    )


def _station_ms(said: str) -> float:
    return float(json.loads(said.splitlines()[-1])["cpu_s"]) * 1000


def _judged(plant: Plant, since: datetime) -> int:
    query = text(
        "SELECT count(*) FROM inspections i JOIN results r ON r.inspection_id = i.id WHERE i.id >= :first"
    )
    with plant.engine.connect() as connection:
        return int(connection.scalar(query, {"first": first_id(since)}) or 0)


def _rows(plant: Plant, since: datetime) -> Sequence[Any]:
    query = text(
        "SELECT i.captured_at, pg_xact_commit_timestamp(r.xmin), r.timings FROM inspections i "
        "JOIN results r ON r.inspection_id = i.id WHERE i.id >= :first ORDER BY i.id"
    )
    with plant.engine.connect() as connection:
        return connection.execute(query, {"first": first_id(since)}).all()


def _stages(timings: Sequence[dict[str, float]]) -> dict[str, float]:
    names = sorted({name for one in timings for name in one if name.endswith("_ms")})
    return {name: round(float(np.mean([one.get(name, 0.0) for one in timings])), 3) for name in names}


def cores() -> int:
    return len(os.sched_getaffinity(0))
