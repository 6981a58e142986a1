"""The whole measurement: `pyramidion bench pipeline`.

On one machine, in one run, in turns, so that a busy moment meets everyone: (a) the bare model on arrays that
are ready, (b) the ideal single process, (c) this pipeline, durable, from a station to the verdict's commit in
PostgreSQL, (d) plain Celery, one task an image, (e) servers of models, which keep nothing. Then latencies at
shares of what each could carry, and this pipeline's own ceiling with a model that only sleeps. The median of
the turns is told.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any

import torch

from benchmarks.pipeline import bare, ours, peers
from benchmarks.pipeline.ours import Measured
from benchmarks.pipeline.pictures import as_files, pictures, quick_model
from benchmarks.pipeline.plant import Plant, plant
from benchmarks.pipeline.served import BUNDLE
from model.bundle import BundlePaths

LOADS = (0.25, 0.5, 0.8)
EVEN = "durable_even"  # parts that come in an even beat, as those of one line do, not at random
STANDIN_PER_S = 5000.0
_TURNS = 3


@dataclass
class Asked:
    """`seconds` is how long each of the things is measured in each turn."""

    images: Path | None = None
    model: BundlePaths | None = None
    size: int = 256
    seconds: float = 20.0
    turns: int = _TURNS
    workers: int = field(default_factory=ours.cores)
    threads: int = 1
    say: Callable[[str], None] = lambda _: None


def run(asked: Asked) -> dict[str, Any]:
    """Give the figures: `bare`, `ideal`, `durable`, `celery_per_image`, `peers`, `standin`, `ratios`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyramidion-bench-")))
        folder.chmod(0o755)  # as root, PostgreSQL runs as another user
        some = pictures(asked.images, asked.size)
        files = as_files(folder / "pictures", some)
        asked.say("training a model for it" if asked.model is None else "loading the model")
        made = asked.model or quick_model(folder / "model", asked.size)
        found = stack.enter_context(plant(folder, made))
        return _Run(asked, folder, files, some, made, found).measure()


@dataclass
class _Run:
    asked: Asked
    folder: Path
    files: Path
    some: list[bytes]
    made: BundlePaths
    plant: Plant
    ports: dict[str, int] = field(default_factory=dict)
    cpu_ms_at: dict[str, dict[str, float]] = field(default_factory=dict)  # of an image, at shares of the load

    def measure(self) -> dict[str, Any]:
        asked, say = self.asked, self.asked.say
        torch.set_num_threads(max(asked.threads, ours.cores()))
        scorer = bare.load(self.made.folder)
        model, ideal = bare.bare(scorer, self.some), bare.ideal(scorer, self.some, ours.cores())
        say("starting workers and servers")
        ours.start_workers(self.plant, asked.workers, asked.threads)
        self.plant.start("per_image", ["benchmarks.pipeline.per_image", str(asked.workers)], None)
        self._start_peers()
        rates: dict[str, list[float]] = {}
        kept: dict[str, Measured] = {}
        guess = max(1.0, ideal(2.0))
        ours.run(self.plant, self.files, 64)  # loads the model
        ours.run(self.plant, self.files, 16, per_image=True)
        self.plant.pause(*self._others())
        for turn in range(asked.turns):
            say(f"turn {turn + 1} of {asked.turns}")
            count = max(64, int(guess * asked.seconds))
            rates.setdefault("bare", []).append(model(asked.seconds))
            rates.setdefault("ideal", []).append(ideal(asked.seconds))
            with self._alone("workers"):
                kept["durable"] = ours.run(self.plant, self.files, count)
            rates.setdefault("durable", []).append(kept["durable"].images_per_s)
            with self._alone("per_image"):
                few = max(64, count // 2)
                kept["celery_per_image"] = ours.run(self.plant, self.files, few, per_image=True)
            rates.setdefault("celery_per_image", []).append(kept["celery_per_image"].images_per_s)
            for name, port in self.ports.items():
                with self._alone(name):
                    seconds, _ = peers.feed(name, port, self.some, count, None)
                rates.setdefault(name, []).append(count / seconds)
        middle = {name: statistics.median(ones) for name, ones in rates.items()}
        latencies = self._latencies(middle)
        self.plant.end("per_image")
        for name in self.ports:
            self.plant.end(name)
        report = self._report(rates, middle, kept, latencies)
        report["durable"]["latency_even_ms"] = latencies[EVEN]
        report["durable"]["cpu_ms_at"] = self.cpu_ms_at
        report["standin"] = self._standin()
        return report

    def _others(self) -> list[str]:
        return ["workers", "per_image", *self.ports]

    @contextmanager
    def _alone(self, part: str) -> Iterator[None]:
        self.plant.go_on(part)
        yield
        self.plant.pause(part)

    def _start_peers(self) -> None:
        for name in peers.installed():
            with socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.ports[name] = int(probe.getsockname()[1])
            command = peers.command(name, self.ports[name], self.asked.workers)
            self.plant.start(name, command, None, **{BUNDLE: str(self.made.folder)})
        for name, port in self.ports.items():
            deadline = time.monotonic() + 90
            while not peers.answers(name, port, self.some[0]):
                if time.monotonic() > deadline:
                    raise self.plant.failed(f"{name} does not answer", name)
                time.sleep(0.5)

    def _latencies(self, middle: dict[str, float]) -> dict[str, dict[str, dict[str, float]]]:
        found: dict[str, dict[str, dict[str, float]]] = {}
        for load in LOADS:
            self.asked.say(f"latencies at {load:.0%}")
            for name in ("durable", EVEN, "celery_per_image", *self.ports):
                rate = middle["durable" if name == EVEN else name] * load
                count = max(64, int(rate * self.asked.seconds))
                part = "workers" if name in ("durable", EVEN) else name.removeprefix("celery_")
                with self._alone(part):
                    found.setdefault(name, {})[f"{load:.2f}"] = self._fed(name, count, rate, f"{load:.2f}")
        return found

    def _fed(self, name: str, count: int, rate: float, load: str) -> dict[str, float]:
        if name in self.ports:
            return ours.quantiles(peers.feed(name, self.ports[name], self.some, count, rate)[1])
        per_image = name == "celery_per_image"
        measured = ours.run(self.plant, self.files, count, rate, even=name == EVEN, per_image=per_image)
        if name == "durable":
            self.cpu_ms_at[load] = measured.cpu_ms
        return measured.latency_ms()

    def _standin(self) -> dict[str, Any]:
        found: dict[str, Any] = {"model_images_per_s": STANDIN_PER_S}
        for workers in (1, 2):
            self.asked.say(f"the pipeline's own ceiling, {workers} worker{'s' if workers > 1 else ''}")
            self.plant.end("workers")
            ours.start_workers(self.plant, workers, 1, STANDIN_PER_S)
            ours.run(self.plant, self.files, 128)
            flat_out = ours.run(self.plant, self.files, int(200 * self.asked.seconds))
            rate = flat_out.images_per_s / 2
            half = ours.run(self.plant, self.files, max(64, int(rate * self.asked.seconds)), rate)
            found[f"{workers}_workers"] = {
                **_of(flat_out),
                "latency_ms": {"0.50": half.latency_ms()},
            }
            if workers == 1:
                found["alone"] = self._alone_on_a_core()
        return found

    def _alone_on_a_core(self) -> dict[str, Any]:
        """Give what the worker does while no station takes a processor, and its cost beside the image's own:
        decoding and map, which are measured here and now.
        """
        drained = ours.run(self.plant, self.files, int(200 * self.asked.seconds), queued_first=True)
        steps = bare.steps_ms(bare.load(self.made.folder), self.some)
        own = drained.cpu_ms["workers"] - sum(steps.values())
        return {**_of(drained), "steps_ms": steps, "own_ms": round(own, 3)}

    def _report(
        self,
        rates: dict[str, list[float]],
        middle: dict[str, float],
        kept: dict[str, Measured],
        latencies: dict[str, dict[str, dict[str, float]]],
    ) -> dict[str, Any]:
        def told(name: str) -> dict[str, Any]:
            row: dict[str, Any] = {"images_per_s": round(middle[name], 1)}
            row["turns"] = [round(one, 1) for one in rates[name]]
            if name in latencies:
                row["latency_ms"] = latencies[name]
            return {**(_of(kept[name]) if name in kept else {}), **row}

        served = {name: told(name) for name in self.ports}
        best = max((middle[name] for name in served), default=None)
        ratios = {
            "durable_to_ideal": middle["durable"] / middle["ideal"],
            "durable_to_celery_per_image": middle["durable"] / middle["celery_per_image"],
        }
        if best is not None:
            ratios["durable_to_best_peer"] = middle["durable"] / best
        return {
            "size": self.asked.size,
            "workers": self.asked.workers,
            "threads": self.asked.threads,
            "cores": ours.cores(),
            **{name: told(name) for name in ("bare", "ideal", "durable", "celery_per_image")},
            "peers": served,
            "ratios": {name: round(one, 2) for name, one in ratios.items()},
        }


def _of(measured: Measured) -> dict[str, Any]:
    return {
        "images_per_s": round(measured.images_per_s, 1),
        "cpu_ms": measured.cpu_ms,
        "memory_mb": measured.memory_mb,
        "stages_ms": measured.stages_ms,
        "batch_images": round(measured.batch_images, 1),
    }


def table(report: dict[str, Any]) -> str:
    """Say it in lines."""
    shape = "{size} px, {cores} cores, {workers} workers, {threads} threads each".format(**report)
    lines = [
        shape,
        f"{'':<18}{'images/s':>10}   latency p50/p95/p99 in ms at 25, 50, 80 %",
    ]
    rows = {name: report[name] for name in ("bare", "ideal", "durable", "celery_per_image")}
    for name, row in {**rows, **report["peers"]}.items():
        lines.append(f"{name:<18}{row['images_per_s']:>10.1f}   {_at_loads(row.get('latency_ms', {}))}")
        if "latency_even_ms" in row:
            lines.append(f"{'  in an even beat':<28}   {_at_loads(row['latency_even_ms'])}")
    lines += [f"{name.replace('_', ' ')}: {ratio:.2f}" for name, ratio in report["ratios"].items()]
    durable = report["durable"]
    lines.append(f"CPU ms an image: {durable['cpu_ms']}; memory MB: {durable['memory_mb']}")
    lines += [f"  at {float(load):.0%}: {cpu_ms}" for load, cpu_ms in durable["cpu_ms_at"].items()]
    lines.append(f"stages, ms an image (queue, read and total: a batch): {durable['stages_ms']}")
    standin = report["standin"]
    for workers in (1, 2):
        row = standin[f"{workers}_workers"]
        lines.append(
            f"a model of {standin['model_images_per_s']:.0f} images/s that sleeps, {workers} workers: "
            f"{row['images_per_s']:.0f} images/s, CPU ms an image {row['cpu_ms']}, "
            f"at 50 %: {row['latency_ms']['0.50']}"
        )
    alone = standin["alone"]
    lines.append(
        f"one such worker with a core to itself: {alone['images_per_s']:.0f} images/s; CPU ms an image "
        f"{alone['cpu_ms']['workers']}, of which {alone['own_ms']} are neither {_and(alone['steps_ms'])}"
    )
    return "\n".join(lines)


def _at_loads(latency_ms: dict[str, dict[str, float]]) -> str:
    return "   ".join("/".join(f"{one[q]:.0f}" for q in ours.QUANTILES) for one in latency_ms.values())


def _and(steps: dict[str, float]) -> str:
    return " nor ".join(f"{name} ({ms})" for name, ms in steps.items())
