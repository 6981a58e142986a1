"""What a worker scores with: a bundle on a device."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from model.bundle import Bundle
from model.images import MAX_PIXELS, Decoded, Pixels, decode
from model.inference import BF16_TOLERANCE, SCORE_TOLERANCE, Scored, has_fast_bf16, judge, judge_alone
from model.loading import for_scoring

__all__ = ["Decoded", "Scored", "Scorer", "Verdict", "verdict"]

Verdict = Literal["ok", "ng", "inconclusive"]


class Scorer:
    """Scores in float32, or with `bf16` in bfloat16 on hardware made for it, within BF16_TOLERANCE of it.

    No verdict comes from rounding, of a batch or of bfloat16: what lies so near to the threshold, or to the
    edges of the `inconclusive` `band` around it, that it could is scored again alone, in float32.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", *, bf16: bool = False, band: float = 0.0) -> None:
        self._device = torch.device(device)
        self._bf16 = bf16 and has_fast_bf16(self._device)
        self._band = band
        self._detector = for_scoring(bundle.detector, self._device)
        self.weights_bytes = sum(one.nbytes for one in bundle.detector.state_dict().values())
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
        scored = list(judge(self._detector, arrays, self._device, bf16=self._bf16))
        near = [i for i, one in enumerate(scored) if self._could_turn(one.score)]
        exact = judge_alone(self._detector, [arrays[i] for i in near], self._device)
        for i, one in zip(near, exact, strict=True):
            scored[i] = one
        return scored

    def _could_turn(self, score: float) -> bool:
        edges = {self.threshold * factor for factor in (1 - self._band, 1.0, 1 + self._band)}
        tolerance = BF16_TOLERANCE if self._bf16 else SCORE_TOLERANCE
        return any(abs(score - edge) <= 2 * tolerance * edge for edge in edges)

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
