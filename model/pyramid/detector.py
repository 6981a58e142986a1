"""From a restored image to an anomaly map and a score: evidence at several scales, each in units of normal.

Every evidence map is standardised, per location, by its mean and deviation on held-out good images; the fused
map is their weighted mean. All of it is part of the module, so that it travels with the weights.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.detector import Detector, Judged
from model.pyramid.network import NetworkConfig, PyramidAutoencoder, Restored
from model.pyramid.residuals import CLUES, smooth

EVIDENCE = ("comparison", *CLUES)
_WEIGHTS = {"comparison": 0.75, "structure": 0.25}  # the other clues reach the map through the comparison
_TOP_SHARE = 0.001  # of the map: the score is the mean of the highest pixels, steadier than the highest alone
_FLOOR = 4.0  # added to the standardised map, so that scores are positive and their logarithm exists


class PyramidDetector(Detector):
    """`normal_*` are the mean and deviation of the evidence maps on held-out good images."""

    preset = "pyramid"
    config: NetworkConfig
    normal_mean: Tensor
    normal_deviation: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.network = PyramidAutoencoder(config)
        height, width = config.size[0] // 2, config.size[1] // 2
        self.register_buffer("normal_mean", torch.zeros(1, len(EVIDENCE), height, width))
        self.register_buffer("normal_deviation", torch.ones(1, len(EVIDENCE), height, width))

    def evidence(self, restored: Restored) -> Tensor:
        """Evidence maps, (B, len(EVIDENCE), H/2, W/2), float32."""
        return torch.cat([restored.logits.float(), restored.clues.float()], 1)

    def fit_normal(self, evidence: Tensor) -> None:
        """Learn what is normal from evidence (N, E, h, w) of held-out good images."""
        mean = smooth(evidence.mean(0, keepdim=True), 5)
        spread = smooth((evidence - mean).square().mean(0, keepdim=True), 9)
        overall = spread.mean((2, 3), keepdim=True)
        self.normal_mean.copy_(mean)
        self.normal_deviation.copy_(
            (0.5 * spread + 0.5 * overall).sqrt().clamp_min(1e-6)
        )  # few images: shrink

    def judge(self, evidence: Tensor) -> Judged:
        """Fuse evidence maps to one map at full size and one score an image."""
        standard = (evidence - self.normal_mean) / self.normal_deviation
        shares = [_WEIGHTS.get(name, 0.0) for name in EVIDENCE]
        weights = torch.tensor(shares, device=evidence.device).view(1, -1, 1, 1)
        fused = (standard.clamp(-_FLOOR, 50) * weights).sum(1, keepdim=True) + _FLOOR
        height, width = evidence.shape[-2:]
        full = functional.interpolate(smooth(fused, 3), scale_factor=2, mode="bilinear", align_corners=False)[
            :, 0
        ]
        top = max(4, round(_TOP_SHARE * 4 * height * width))
        return Judged(full.flatten(1).topk(top, 1).values.mean(1), full)

    def forward(self, images: Tensor) -> Judged:
        """`images` are (B, C, H, W) in [0, 1], float32."""
        x = self.standardise(images)
        return self.judge(self.evidence(self.network(x)))
