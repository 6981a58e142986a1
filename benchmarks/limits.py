"""What this machine can do at most: products of matrices, and bytes to and from memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

_SIDE = 1024  # of the matrices: large enough for full speed, small enough for a busy laptop
_BYTES = 1 << 28  # far beyond every cache
_REPEATS = 7


@dataclass(frozen=True)
class Limits:
    flops: float  # per second, a multiplication and an addition counted as two
    bandwidth: float  # bytes per second, read and written


def measure(device: torch.device, dtype: torch.dtype) -> Limits:
    """Take the best of a few: a limit is what the machine does undisturbed."""
    a = torch.randn(_SIDE, _SIDE, device=device).to(dtype)
    b = torch.randn(_SIDE, _SIDE, device=device).to(dtype)
    out = torch.empty_like(a)
    product = best(lambda: torch.mm(a, b, out=out), device)
    source = torch.zeros(_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = best(lambda: target.copy_(source), device)
    return Limits(2 * _SIDE**3 / product, 2 * _BYTES / copied)


def best(action: Callable[[], object], device: torch.device) -> float:
    return min(seconds(action, device) for _ in range(_REPEATS + 1))


def seconds(action: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
