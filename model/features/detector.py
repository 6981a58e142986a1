"""From features and their drawing to an anomaly map and a score."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from model.detector import Detector, Judged
from model.features.encoder import FrozenEncoder
from model.features.network import FeatureNetwork, NetworkConfig
from model.features.normal import PlaceScale, Whitening
from model.features.whole import Whole
from model.fusion import alone, deviations, highest, unite, usual
from model.pyramid.residuals import smooth

EVIDENCE = ("comparison", "residual", "features")
_WEIGHTS = (0.5, 0.25, 0.25)  # chosen by synthesised defects: see docs/adr/0013
_TOP_SHARE = 0.005  # of the grid: steadier than the highest place alone
_FLOOR = 4.0  # added to the standardised map, so that it is positive and its logarithm exists
_LEAST_RESIDUAL = 1e-2  # of the mean variance, in directions in which residuals hardly vary


class FeaturesDetector(Detector):
    """The score unites the map's highest places with the distance of the whole image, each in deviations.

    `local_normal` (2,) are the mean and deviation of the logarithm of the former on held-out good images.
    """

    preset = "features"
    config: NetworkConfig
    local_normal: Tensor
    shares: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.encoder = FrozenEncoder(config.depth, config.grid)
        self.network = FeatureNetwork(self.encoder.features, config)
        self.usual = Whitening(self.encoder.features)
        self.usual_residual = Whitening(self.encoder.features)
        self.scale = PlaceScale(len(EVIDENCE), config.grid)
        self.whole = Whole(self.encoder.features, config.components)
        self.register_buffer("local_normal", torch.tensor([0.0, 1.0]))
        self.register_buffer("shares", torch.ones(2), persistent=False)

    def residual(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F, h, w) to what the drawing left of them, and the logits (B, 1, h, w)."""
        standard = self.usual.standardise(features).contiguous(memory_format=torch.channels_last)
        compared = self.network(standard)
        return standard - compared.drawn.float(), compared.logits.float()

    def evidence(self, features: Tensor) -> Tensor:
        """(B, F, h, w) to (B, len(EVIDENCE), h, w), float32."""
        left, logits = self.residual(features)
        # In bfloat16 distances would be worth little: they are of nearly equal numbers.
        with torch.autocast(features.device.type, enabled=False):
            return torch.cat([logits, self.usual_residual.distance(left), self.usual.distance(features)], 1)

    def fit_normal(self, fitted: Iterable[Tensor], held_out: Iterable[Tensor]) -> None:
        """Learn what is usual from parts of features (B, F, h, w) of good images.

        Which way residuals vary comes from the many images that were fitted to; how much evidence is usual
        comes from those that were not.
        """
        self.usual_residual.learn((self.residual(part)[0] for part in fitted), _LEAST_RESIDUAL)
        evidence = torch.cat([self.evidence(part) for part in held_out])
        self.scale.learn(evidence)
        self.local_normal.copy_(usual(self._highest(self.local_map(evidence))))

    def local_map(self, evidence: Tensor) -> Tensor:
        """Fuse evidence (B, E, h, w) to (B, 1, h, w), positive."""
        weights = torch.tensor(_WEIGHTS, device=evidence.device).view(1, -1, 1, 1)
        fused: Tensor = (self.scale(evidence).clamp(-_FLOOR, 50) * weights).sum(1, keepdim=True)
        return fused.clamp_min(0.1 - _FLOOR) + _FLOOR

    def judge(self, evidence: Tensor, vectors: Tensor) -> Judged:
        """Unite evidence (B, E, h, w) and the whole images' vectors (B, V).

        The map is of places only, on the score's scale: where it is above a threshold, the image is too.
        """
        local = self.local_map(evidence)
        strongest = deviations(self._highest(local), self.local_normal)
        score = unite(torch.stack([strongest, self.whole(vectors)], 1), self.shares)
        places = alone(deviations(smooth(local, 3), self.local_normal), self.shares)
        full = functional.interpolate(places, size=self.config.size, mode="bilinear", align_corners=False)
        return Judged(score, full[:, 0])

    def _highest(self, maps: Tensor) -> Tensor:
        return highest(maps, _TOP_SHARE, 3)

    def forward(self, images: Tensor) -> Judged:
        """`images` are (B, 1 or 3, H, W) in [0, 1], float32, of the config's size; so is the map."""
        features = self.encoder(images)
        evidence = self.evidence(features)
        vectors = self.whole.pool(self.usual.standardise(features))
        with torch.autocast(images.device.type, enabled=False):
            return self.judge(evidence, vectors)
