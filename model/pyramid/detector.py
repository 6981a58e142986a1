"""From a restored image to an anomaly map and a score: evidence at several scales, each in units of normal.

Every evidence map is standardised, per location, by its mean and deviation on held-out good images; the fused
map is their weighted mean. All of it is part of the module, so that it travels with the weights.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.detector import Detector, Judged
from model.fusion import alone, deviations, highest, unite, usual
from model.pyramid.gist import Gist
from model.pyramid.network import NetworkConfig, PyramidAutoencoder, Restored
from model.pyramid.residuals import CLUES, smooth

EVIDENCE = ("comparison", *CLUES)
_WEIGHTS = {"comparison": 0.75, "structure": 0.25}  # the other clues reach the map through the comparison
_TOP_SHARE = 0.001  # of the map: steadier than the highest pixel alone
_FLOOR = 4.0  # added to the standardised map, so that it is positive and its logarithm exists
# What map, unexplained and unlike count for. A thumbnail has no detail apart from the whole.
_SHARES, _THUMBNAIL_SHARES = (1.0, 1.0, 1.0), (0.25, 0.25, 1.0)
_THUMBNAIL = 64  # pixels a side: below


class PyramidDetector(Detector):
    """`normal_*` are the mean and deviation of the evidence maps on held-out good images.

    The score unites the map's highest pixels with the gist's two distances, each in deviations from what is
    usual; `local_normal` (2,) are the mean and deviation of the logarithm of the first.
    """

    preset = "pyramid"
    config: NetworkConfig
    normal_mean: Tensor
    normal_deviation: Tensor
    local_normal: Tensor
    shares: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.network = PyramidAutoencoder(config)
        self.gist = Gist(config.channels, config.gist, config.kept)
        self.register_buffer("local_normal", torch.tensor([0.0, 1.0]))
        shares = _THUMBNAIL_SHARES if min(config.size) < _THUMBNAIL else _SHARES
        self.register_buffer("shares", torch.tensor(shares), persistent=False)
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
        deviation = (0.5 * spread + 0.5 * overall).sqrt()  # few images: shrink
        self.normal_deviation.copy_(deviation.clamp_min(1e-6))
        self.local_normal.copy_(usual(self._highest(self.local_map(evidence))))

    def local_map(self, evidence: Tensor) -> Tensor:
        """Fuse evidence maps to one at full size, (B, H, W), positive."""
        standard = (evidence - self.normal_mean) / self.normal_deviation
        shares = [_WEIGHTS.get(name, 0.0) for name in EVIDENCE]
        weights = torch.tensor(shares, device=evidence.device).view(1, -1, 1, 1)
        fused = (standard.clamp(-_FLOOR, 50) * weights).sum(1, keepdim=True).clamp_min(0.1 - _FLOOR) + _FLOOR
        full = functional.interpolate(smooth(fused, 3), scale_factor=2, mode="bilinear", align_corners=False)
        return full[:, 0]

    def judge(self, evidence: Tensor, gist: Tensor) -> Judged:
        """Unite evidence maps (B, E, h, w) and gist (B, 2).

        The map is of places only, on the score's scale: where it is above a threshold, the image is too.
        """
        local = self.local_map(evidence)
        strongest = deviations(self._highest(local), self.local_normal)
        score = unite(torch.cat([strongest[:, None], gist], 1), self.shares)
        return Judged(score, alone(deviations(local, self.local_normal), self.shares))

    def _highest(self, maps: Tensor) -> Tensor:
        return highest(maps, _TOP_SHARE, 4)

    def forward(self, images: Tensor) -> Judged:
        """`images` are (B, C, H, W) in [0, 1], float32."""
        x = self.standardise(images)
        return self.judge(self.evidence(self.network(x)), self.gist(images))
