"""What a worker scores with: a bundle on a device."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from model.bundle import Bundle
from model.images import MAX_PIXELS, Decoded, Pixels, decode
from model.inference import Scored, judge, to_device

__all__ = ["Decoded", "Scored", "Scorer", "Verdict", "verdict"]

Verdict = Literal["ok", "ng", "inconclusive"]


class Scorer:
    """`bf16` saves time on hardware made for it; scores then differ by about a percent from float32's."""

    def __init__(self, bundle: Bundle, device: str = "cpu", *, bf16: bool = False) -> None:
        self._device = torch.device(device)
        self._bf16 = bf16
        self._detector = to_device(bundle.detector, self._device)
        self.version = bundle.version
        self.threshold = bundle.calibration.threshold
        self.size = bundle.detector.config.size
        self.channels = bundle.detector.config.channels

    def decode(self, data: bytes, *, max_pixels: int = MAX_PIXELS) -> Decoded:
        """Decode a file as in training; safe in threads. Raises UnreadableImageError."""
        return decode(data, channels=self.channels, size=self.size, max_pixels=max_pixels)

    def score(self, arrays: Sequence[Pixels]) -> list[Scored]:
        """Score decoded arrays, (H, W, C) each; an image's score doesn't depend on the others."""
        for array in arrays:
            if array.shape != (*self.size, self.channels):
                raise ValueError(
                    f"an array has shape {array.shape}, not {(*self.size, self.channels)}: use decode()"
                )
        return list(judge(self._detector, arrays, self._device, bf16=self._bf16))

    def warm_up(self) -> None:
        """Score one blank image, so that the first real one does not wait for libraries to load."""
        self.score([np.zeros((*self.size, self.channels), np.uint8)])


def verdict(score: float, threshold: float, band: float = 0.0) -> Verdict:
    """`band` is the relative half-width of what is `inconclusive`: 0.05 is 5 % either way."""
    if not 0 <= band < 1:
        raise ValueError(f"the inconclusive band is {band}, but must be at least 0 and below 1")
    if score > threshold * (1 + band):
        return "ng"
    return "inconclusive" if band and score >= threshold * (1 - band) else "ok"
