"""Runs a detector over any number of images; an image's score depends on its neighbours by rounding only."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.detector import Detector, Judged
from model.images import Pixels

# Sub-batches, largest first. Few shapes, so that CUDA's libraries choose their algorithms few times, and not
# too few: an image costs a CPU the more the fewer are with it (`benchmarks.speed --few`). 32 is no faster
# there, and an image that comes alone must not wait for 15 that are not there.
_SIZES = (16, 8, 4, 2, 1)
# Libraries pick their algorithm by the shape of a batch, and algorithms round differently: by how much the
# score of an image may differ between one batch and another, in float32, in units of the greater of score and
# threshold. (A score far below the threshold is a small difference of large numbers.)
SCORE_TOLERANCE = 2e-4
# The same for a detector as it was trained, beside one that was made ready by `model.loading`.
LOADING_TOLERANCE = 5e-4
# The same for a verdict that is replayed: years later, on another device, with other libraries.
REPLAY_TOLERANCE = 1e-2
# By how much bfloat16, with its 8 bits of precision, may move a score from float32's, relatively.
BF16_TOLERANCE = 0.05


@dataclass(frozen=True)
class Scored:
    """`score` rejects when above the threshold; where `map` (h, w) is above it, so is the score."""

    score: float
    map: NDArray[np.float32]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 saves time: CUDA from Ampere on, CPUs with the instructions (else it is emulated)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def to_batch(arrays: Sequence[Pixels], device: torch.device) -> Tensor:
    """Arrays (H, W, C) of one size, uint8 or float32 in [0, 1], to (B, C, H, W) float32, channels-last."""
    if all(a.dtype == np.uint8 for a in arrays):
        # Bytes travel, a quarter of the floats, and from pinned memory while the device still computes.
        stacked = _sent(torch.from_numpy(np.stack(arrays)), device).float() / 255
    else:
        floats = [
            a.astype(np.float32) / 255 if a.dtype == np.uint8 else np.asarray(a, np.float32) for a in arrays
        ]
        stacked = _sent(torch.from_numpy(np.stack(floats)), device)
    return stacked.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_device(detector: Detector, device: torch.device) -> Detector:
    """Move it, channels-last: several times faster on a CPU, and never slower."""
    moved: Detector = detector.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def judge(
    detector: Callable[[Tensor], Judged],
    arrays: Sequence[Pixels],
    device: torch.device,
    *,
    bf16: bool = False,
) -> Iterator[Scored]:
    """Score images in sub-batches, in their order. Evidence and score are float32 always.

    An image scores the same alone or among 64, within SCORE_TOLERANCE. No place of a map is above the score,
    which is a mean of the highest places or more.
    """
    start = 0
    while start < len(arrays):
        size = next(size for size in _SIZES if size <= len(arrays) - start)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            judged = detector(to_batch(arrays[start : start + size], device))
        scores, maps = judged.score.cpu().numpy(), judged.map.cpu().numpy()
        for score, map_ in zip(scores, maps, strict=True):
            yield Scored(float(score), np.minimum(map_, score))
        start += size


def judge_alone(
    detector: Callable[[Tensor], Judged], arrays: Sequence[Pixels], device: torch.device
) -> Iterator[Scored]:
    """Score images one by one in float32: the same image gets the very same score on the same machine."""
    for array in arrays:
        yield from judge(detector, [array], device)
