"""Images per second of each preset, and what share of the machine's own limit that is.

    python -m benchmarks.speed [--presets pyramid,paper] [--sizes 128,256,512] [--device cpu] [--json]
    python -m benchmarks.speed --training     # seconds to train on 200 images as well
    python -m benchmarks.speed --few          # what an image costs where few come at once
    python -m benchmarks.speed --compile      # what torch.compile makes of it: minutes, with a C++ compiler

Scoring is from decoded arrays to map and score, 64 images at a time, as a worker does it; what lies near a
threshold, which a worker scores again in float32, is left out. Weights are random: they change no speed.
Repeats are interleaved, so that a busy moment meets every row, and medians are told.

Limits: `flops` is the share of the measured rate of large matrix products in the same precision that the
network's multiplications reach; `bandwidth` that of the measured rate of copying, where each parameter and
buffer is read once for a sub-batch of 16, and each module's output is written once and read once: less can't
be moved without fusing layers, functional operations are not counted, so the true share is higher.
"""

import argparse
import json
import os
import platform
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.limits import Limits, measure, seconds
from capture.simulator import GOOD, SimulatedLine
from model.detector import Detector, Judged
from model.images import Pixels
from model.inference import has_fast_bf16, judge, to_batch
from model.loading import for_scoring
from model.presets import PRESETS, configure, preset
from model.training import train

_IMAGES = 64
_SUB_BATCH = 16  # what model.inference scores at once
_REPEATS = 5
_FEW = (1, 2, 4, 8, 16)
_FEW_REPEATS = 15


@dataclass(frozen=True)
class Case:
    preset: str
    size: int
    bf16: bool
    threads: int
    compiled: bool
    detector: Callable[[Tensor], Judged]
    arrays: list[Pixels]
    flops: float  # of one image
    moved: float  # bytes of one image, in float32


def make(name: str, size: int, device: torch.device) -> tuple[Detector, list[Pixels]]:
    torch.manual_seed(0)
    config = configure(name, size=(size, size))
    rng = np.random.default_rng(0)
    built = preset(name).build(config, 1, 200)
    detector = for_scoring(built, device)
    shape = (*detector.config.size, detector.config.channels)
    return detector, [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(_IMAGES)]


def work(detector: Detector, arrays: Sequence[Pixels], device: torch.device) -> tuple[float, float]:
    """Floating-point operations, and bytes moved at least, for one image of a sub-batch."""
    batch = to_batch(arrays[:_SUB_BATCH], device)
    written = 0

    def note(_module: nn.Module, _given: Any, output: Any) -> None:
        nonlocal written
        written += output.nbytes if isinstance(output, Tensor) else 0

    leaves = [module for module in detector.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves if not isinstance(module, nn.Identity)]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        detector(batch)
    for hook in hooks:
        hook.remove()
    held = sum(one.nbytes for one in (*detector.parameters(), *detector.buffers()))
    return counter.get_total_flops() / len(batch), (held + batch.nbytes + 2 * written) / len(batch)


def run(case: Case, device: torch.device) -> float:
    torch.set_num_threads(case.threads)
    return seconds(lambda: list(judge(case.detector, case.arrays, device, bf16=case.bf16)), device)


def scoring(
    names: Sequence[str], sizes: Sequence[int], device: torch.device, *, compiled: bool
) -> list[dict[str, Any]]:
    threads = sorted({1, len(os.sched_getaffinity(0))}) if device.type == "cpu" else [1]
    precisions = [False, True] if has_fast_bf16(device) else [False]
    cases: list[Case] = []
    for name in names:
        for size in sizes:
            detector, arrays = make(name, size, device)
            flops, moved = work(detector, arrays, device)
            made: dict[bool, Callable[[Tensor], Judged]] = {False: detector}
            if compiled:
                made[True] = torch.compile(detector)
            cases += [
                Case(name, size, bf16, count, how, made[how], arrays, flops, moved)
                for bf16 in precisions
                for count in threads
                for how in made
            ]
    limits: dict[tuple[bool, int], Limits] = {}
    for bf16 in precisions:
        for count in threads:
            torch.set_num_threads(count)
            limits[bf16, count] = measure(device, torch.bfloat16 if bf16 else torch.float32)
    times: list[list[float]] = [[] for _ in cases]
    for repeat in range(_REPEATS + 1):
        for case, found in zip(cases, times, strict=True):
            taken = run(case, device)
            if repeat:  # the first one loads libraries
                found.append(taken)
    return [
        row(case, found, limits[case.bf16, case.threads]) for case, found in zip(cases, times, strict=True)
    ]


def row(case: Case, times: Sequence[float], limit: Limits) -> dict[str, Any]:
    rate = _IMAGES / statistics.median(times)
    moved = case.moved / 2 if case.bf16 else case.moved
    return {
        "preset": case.preset,
        "size": case.size,
        "precision": "bfloat16" if case.bf16 else "float32",
        "threads": case.threads,
        "compiled": case.compiled,
        "images_per_s": rate,
        "slowest": _IMAGES / max(times),
        "fastest": _IMAGES / min(times),
        "mflop_per_image": case.flops / 1e6,
        "mb_per_image": moved / 1e6,
        "share_of_flops": rate * case.flops / limit.flops,
        "share_of_bandwidth": rate * moved / limit.bandwidth,
        "machine_gflops": limit.flops / 1e9,
        "machine_gb_per_s": limit.bandwidth / 1e9,
    }


def _score(detector: Detector, arrays: Sequence[Pixels], device: torch.device) -> None:
    deque(judge(detector, arrays, device), maxlen=0)


def few(names: Sequence[str], sizes: Sequence[int], device: torch.device) -> list[dict[str, Any]]:
    """Time images that come a few at once, as on a line that is not full: a call costs as well."""
    torch.set_num_threads(1)
    found = []
    for name in names:
        for size in sizes:
            detector, arrays = make(name, size, device)
            times: dict[int, list[float]] = {count: [] for count in _FEW}
            for _ in range(_FEW_REPEATS):
                for count, taken in times.items():
                    score = partial(_score, detector, arrays[:count], device)
                    taken.append(seconds(score, device) / count)
            medians = {f"ms_of_{count}": statistics.median(taken) * 1000 for count, taken in times.items()}
            found.append({"preset": name, "size": size, **medians})
    return found


def training(names: Sequence[str], device: torch.device) -> list[dict[str, Any]]:
    """Train on 200 simulated parts with each preset's defaults."""
    found = []
    for size in (128, 256):
        line = SimulatedLine(seed=0, size=size)
        parts = [line.encode(line.part(index, GOOD)) for index in range(200)]
        for name in names:
            config = configure(name, size=(size, size))
            taken = seconds(lambda c=config, p=parts: train(p, c, device=str(device)), device)  # type: ignore[misc]
            found.append({"preset": name, "size": size, "threads": torch.get_num_threads(), "seconds": taken})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", default=",".join(PRESETS))
    parser.add_argument("--sizes", default="128,256,512")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--training", action="store_true", help="time trainings too (paper's takes hours)")
    parser.add_argument("--few", action="store_true", help="time images that come a few at once instead")
    parser.add_argument("--compile", action="store_true", help="also what torch.compile makes of it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names, device = options.presets.split(","), torch.device(options.device)
    unknown = [name for name in names if name not in PRESETS]
    if unknown:
        parser.error(f"there is no preset {', '.join(unknown)}; there are: {', '.join(PRESETS)}")
    sizes = [int(word) for word in options.sizes.split(",")]
    if options.few:
        print(json.dumps(few(names, sizes, device), indent=2))
        return
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "scoring": scoring(names, sizes, device, compiled=options.compile),
    }
    if options.training:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))  # as a worker does
        report["training"] = training(names, device)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    for one in report["scoring"]:
        print(
            f"{one['preset']:<9} {one['size']:>4} px {one['precision']:<9} {one['threads']} threads"
            f"{', compiled' if one['compiled'] else ''} "
            f"{one['images_per_s']:>7.1f} images/s ({one['slowest']:.1f} to {one['fastest']:.1f})  "
            f"{one['mflop_per_image']:>7.0f} MFLOP, {one['share_of_flops']:>4.0%} of "
            f"{one['machine_gflops']:.0f} GFLOP/s;  {one['mb_per_image']:>6.1f} MB, "
            f"{one['share_of_bandwidth']:>4.0%} of {one['machine_gb_per_s']:.1f} GB/s"
        )
    for one in report.get("training", []):
        print(f"training {one['preset']:<9} {one['size']:>4} px, 200 images: {one['seconds']:.0f} s")


if __name__ == "__main__":
    main()
