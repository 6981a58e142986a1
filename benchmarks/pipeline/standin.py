"""A scoring worker whose model sleeps instead of computing, as the processor does while a GPU works.

    python -m benchmarks.pipeline.standin IMAGES_PER_S

Shows what the pipeline itself can carry. Decoding, maps, database and queue are the real ones.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence

from model.bundle import Bundle
from model.images import Pixels
from model.inference import Scored
from model.scoring import Scorer
from pyramidion.commands.processes import worker
from workers.runtime import Runtime


class Sleeping(Scorer):
    """Takes as long as the rate says, and gives for each image what the model said of the first."""

    images_per_s: float
    first: Scored | None = None

    def score(self, arrays: Sequence[Pixels]) -> list[Scored]:
        if self.first is None:
            self.first = dataclasses.replace(super().score(arrays[:1])[0], score=self.threshold / 2)
        time.sleep(len(arrays) / self.images_per_s)
        return [self.first for _ in arrays]


def main() -> None:
    Sleeping.images_per_s = float(sys.argv[1])

    def scorer_of(self: Runtime, loaded: Bundle) -> Scorer:
        return Sleeping(loaded, self.device, band=self.settings.inconclusive_band)

    Runtime.scorer_of = scorer_of  # type: ignore[method-assign]

    worker(queue="score", device=None, log_level="warning")


if __name__ == "__main__":
    main()
