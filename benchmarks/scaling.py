"""How many workers a plant needs: a simulation of the queue, fitted to measured service times.

    python -m benchmarks.scaling --cameras 500 --rate 10 --p99 200 --batch-ms 4 --image-ms 1.4
    python -m benchmarks.scaling --measure [--size 128] [--load 0.5]   # fit, predict, and check here

A worker takes what waits, up to `batch_images`, and needs `batch_ms` + `image_ms` for each of the images.
What it overlaps within itself (reading, scoring, recording) is in these figures, which are those of a worker
that is busy. A station needs `intake_ms` from capture to the queue. Cameras fire by themselves: arrivals are
drawn as a Poisson stream, which is harder than any schedule of theirs.

With --measure, a worker with a model that sleeps is run with few images and flat out, which gives the three
figures; then latencies at a share of what it carries are predicted, measured and printed side by side.
"""

import argparse
import heapq
import json
import random
import tempfile
from collections import deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

_SIMULATED = 40_000  # images
_MOST_WORKERS = 10_000


@dataclass(frozen=True)
class Service:
    """Milliseconds: of a batch, of each image in it, and from capture to the queue."""

    batch_ms: float
    image_ms: float
    intake_ms: float = 15.0
    batch_images: int = 64

    def of(self, images: int) -> float:
        return self.batch_ms + self.image_ms * images

    def most_per_s(self) -> float:
        """What a worker carries at best, in full batches."""
        return 1000 * self.batch_images / self.of(self.batch_images)


def latencies_ms(service: Service, workers: int, per_s: float, seed: int = 0) -> np.ndarray[Any, Any]:
    """Simulate some 40,000 images that arrive at `per_s`; gives each one's milliseconds to its verdict.

    The first tenth, in which the queue fills, is left out.
    """
    draw = random.Random(seed)
    arrivals = np.cumsum([draw.expovariate(per_s / 1000) for _ in range(_SIMULATED)])
    free = [0.0] * workers
    waiting: deque[float] = deque()
    found: list[float] = []
    place = 0
    while place < len(arrivals) or waiting:
        now = heapq.heappop(free)
        if not waiting:
            now = max(now, arrivals[place])
        while place < len(arrivals) and arrivals[place] <= now:
            waiting.append(arrivals[place])
            place += 1
        batch = [waiting.popleft() for _ in range(min(len(waiting), service.batch_images))]
        done = now + service.of(len(batch))
        found += [done - captured + service.intake_ms for captured in batch]
        heapq.heappush(free, done)
    return np.array(found[len(found) // 10 :])


def workers_for(service: Service, per_s: float, p99_ms: float) -> int | None:
    """Give the least number of workers whose 99th percentile is below `p99_ms`; None where none is."""
    if service.intake_ms + service.of(1) >= p99_ms:
        return None
    least = max(1, int(np.ceil(per_s / service.most_per_s())))
    for workers in range(least, _MOST_WORKERS):
        if np.percentile(latencies_ms(service, workers, per_s), 99) < p99_ms:
            return workers
    return None


def measure(size: int, load: float, seconds: float) -> dict[str, Any]:
    """Fit here, and compare what is predicted with what is measured."""
    from benchmarks.pipeline import ours  # noqa: PLC0415  # they need torch, a prediction does not
    from benchmarks.pipeline.pictures import as_files, pictures, quick_model  # noqa: PLC0415
    from benchmarks.pipeline.plant import plant  # noqa: PLC0415
    from benchmarks.pipeline.run import STANDIN_PER_S  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="pyramidion-scaling-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        files = as_files(folder / "pictures", pictures(None, 256))
        with plant(folder, quick_model(folder / "model", size)) as found:
            ours.start_workers(found, 1, 1, STANDIN_PER_S)
            ours.run(found, files, 256)
            flat_out = ours.run(found, files, int(200 * seconds))
            rate = flat_out.images_per_s * load
            slow = ours.run(found, files, max(64, int(rate / 10 * seconds)), rate / 10)
            half = ours.run(found, files, int(rate * seconds), rate)
    full_ms = 1000 * flat_out.batch_images / flat_out.images_per_s
    lone_ms = slow.stages_ms["total_ms"]
    image_ms = (full_ms - lone_ms) / max(1.0, flat_out.batch_images - slow.batch_images)
    batch_ms = max(0.0, lone_ms - image_ms * slow.batch_images)
    intake_ms = max(0.0, float(np.median(slow.latencies_ms)) - lone_ms)
    service = Service(batch_ms, image_ms, intake_ms)
    predicted = ours.quantiles(list(latencies_ms(service, 1, rate)))
    return {
        "service": {name: round(value, 2) for name, value in asdict(service).items()},
        "flat_out_images_per_s": round(flat_out.images_per_s, 1),
        "load": load,
        "predicted_ms": predicted,
        "measured_ms": half.latency_ms(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", type=int, default=500)
    parser.add_argument("--rate", type=float, default=10, help="images a second of each")
    parser.add_argument("--p99", type=float, default=200, help="milliseconds from capture to verdict")
    parser.add_argument("--batch-ms", type=float, default=4.0)
    parser.add_argument("--image-ms", type=float, default=1.4)
    parser.add_argument("--intake-ms", type=float, default=15.0)
    parser.add_argument("--batch-images", type=int, default=64)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--load", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report: dict[str, Any] = {}
    service = Service(options.batch_ms, options.image_ms, options.intake_ms, options.batch_images)
    if options.measure:
        report = measure(options.size, options.load, options.seconds)
        service = replace(Service(**report["service"]), batch_images=options.batch_images)
    per_s = options.cameras * options.rate
    workers = workers_for(service, per_s, options.p99)
    report |= {"images_per_s": per_s, "workers": workers, "worker_most_per_s": round(service.most_per_s(), 1)}
    if workers is not None:
        found = latencies_ms(service, workers, per_s)
        report["p99_ms"] = round(float(np.percentile(found, 99)), 1)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        print(f"{name:<22} {value}")
    if workers is None:
        print(f"no number of workers: one image alone takes {service.intake_ms + service.of(1):.0f} ms")


if __name__ == "__main__":
    main()
