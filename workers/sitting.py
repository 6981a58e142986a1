"""Several models judge the same images, each with its own decoding and threshold, as it would on the line.

An image that can't be read is left out for all of them, and counted.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from model import scoring
from model.images import Decoded, UnreadableImageError
from model.scoring import Scorer, Verdict
from model.synthesis import File
from workers.runtime import Runtime

_AT_ONCE: Final = 16


@dataclass
class Sitting:
    """Who judges, and what came of it: unread images by kind, and the first one's scores that are no numbers.

    `going_on` is called with every few images, and may raise.
    """

    state: Runtime
    scorers: Sequence[Scorer]
    going_on: Callable[[], None]
    unread: Counter[str] = field(default_factory=Counter)
    not_finite: int = 0

    def scored(self, kind: str, images: Iterable[File]) -> list[dict[str, float]]:
        """Give the scores by image, of each of the models in turn."""
        scores: list[dict[str, float]] = [{} for _ in self.scorers]
        waiting = iter(images)
        while some := list(itertools.islice(waiting, _AT_ONCE)):
            self.going_on()
            read = self.state.threads.map(self._decoded, [data for _, data in some])
            readable = [
                (name, arrays) for (name, _), arrays in zip(some, read, strict=True) if arrays is not None
            ]
            self.unread[kind] += len(some) - len(readable)
            for place, scorer in enumerate(self.scorers):
                self.going_on()
                said = scorer.score([arrays[place].array for _, arrays in readable])
                for (name, _), one in zip(readable, said, strict=True):
                    self.not_finite += place == 0 and not math.isfinite(one.score)
                    scores[place][name] = one.score
        return scores

    def stored(self, kind: str, hashes: Sequence[tuple[str, str]]) -> Iterator[File]:
        """Give images of the store by (name, sha256), some at a time; what is lost or damaged is left out."""
        for start in range(0, len(hashes), _AT_ONCE):
            some = hashes[start : start + _AT_ONCE]
            blobs = self.state.store.get_many([sha256 for _, sha256 in some])
            for (name, _), blob in zip(some, blobs, strict=True):
                if isinstance(blob, ImageStoreUnavailableError):
                    raise blob
                if isinstance(blob, ImageStoreError):
                    self.unread[kind] += 1
                else:
                    yield name, blob

    def _decoded(self, data: bytes) -> list[Decoded] | None:
        most = self.state.settings.max_image_pixels
        try:
            return [scorer.decode(data, max_pixels=most) for scorer in self.scorers]
        except (UnreadableImageError, MemoryError):
            return None

    def verdict(self, score: float, threshold: float) -> Verdict:
        return scoring.verdict(score, threshold, self.state.settings.inconclusive_band)
