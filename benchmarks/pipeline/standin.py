"""A scoring worker whose model sleeps instead of computing, as the processor does while a GPU works.

    python -m benchmarks.pipeline.standin IMAGES_PER_S

Shows what the pipeline itself can carry. Decoding, maps, database and queue are the real ones.
"""

import sys
import time
from collections.abc import Sequence

import numpy as np

from model.bundle import Bundle
from model.images import Pixels
from model.inference import Scored
from model.scoring import Scorer
from pyramidion.commands.processes import worker
from workers.runtime import Runtime

_MAP = 128


class Sleeping(Scorer):
    """Takes as long as the rate says, and gives maps of noise."""

    images_per_s: float

    def score(self, arrays: Sequence[Pixels]) -> list[Scored]:
        time.sleep(len(arrays) / self.images_per_s)
        noise = np.random.default_rng(0).random((_MAP, _MAP), np.float32) * np.float32(self.threshold / 2)
        return [Scored(self.threshold / 2, noise) for _ in arrays]


def main() -> None:
    Sleeping.images_per_s = float(sys.argv[1])

    def scorer_of(self: Runtime, loaded: Bundle) -> Scorer:
        return Sleeping(loaded, self.device, band=self.settings.inconclusive_band)

    Runtime.scorer_of = scorer_of  # type: ignore[method-assign]

    worker(queue="score", device=None, log_level="warning")


if __name__ == "__main__":
    main()
