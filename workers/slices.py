"""Scores stored images in slices that take no longer than a batch of the line."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import torch

from db.rescores import ToScore
from db.results import NewResult
from model.images import Decoded
from model.scoring import Scorer
from workers import outcome, stored
from workers.judge import MODEL_ERRORS
from workers.runtime import DeviceLostError, Runtime

_FIRST: Final = 4  # images, as long as it is not known how slow the model is


class Slices:
    """Knows how fast each model is; `progressed` is called with each image."""

    def __init__(self, progressed: Callable[[], None]) -> None:
        self._progressed = progressed
        self._image_s: dict[str, float] = {}  # by model

    def images(self, state: Runtime, model: str) -> int:
        """Give how many images to score in one go: no more than the model does in the time of a batch."""
        took = self._image_s.get(model)
        if took is None:
            return min(_FIRST, state.images_at_once())
        return max(1, min(state.images_at_once(), round(state.settings.batch_s / took)))

    def scored(self, state: Runtime, scorer: Scorer, todo: Sequence[ToScore]) -> Iterator[NewResult]:
        """Give what the model says; of what can't be scored, the reason.

        Raises ImageStoreUnavailableError, and DeviceLostError.
        """
        readable: list[tuple[ToScore, Decoded]] = []
        images = stored.decoded(state, scorer, [item.inspection for item in todo])
        for item, image in zip(todo, images, strict=True):
            self._progressed()
            if isinstance(image, str):
                yield outcome.failed(item.inspection, 1, image)
            else:
                readable.append((item, image))
        if readable:
            yield from self._together(state, scorer, readable)

    def _together(
        self, state: Runtime, scorer: Scorer, readable: Sequence[tuple[ToScore, Decoded]]
    ) -> list[NewResult]:
        try:
            with state.on_device(self._progressed):
                begun = time.monotonic()
                said = scorer.score([image.array for _, image in readable])
                self._note_speed(scorer.version, (time.monotonic() - begun) / len(readable))
            results = []
            for (item, image), one in zip(readable, said, strict=True):
                result = outcome.judged(state.settings, scorer, item.inspection, image, one, 1)
                results.append(result if item.keeps_map else replace(result, map=None))
        except torch.AcceleratorError as error:
            raise DeviceLostError(str(error)) from error
        except MODEL_ERRORS as error:
            if len(readable) == 1:
                return [outcome.failed(readable[0][0].inspection, 1, f"{type(error).__name__}: {error}")]
            return [result for one in readable for result in self._together(state, scorer, [one])]
        return results

    def _note_speed(self, model: str, image_s: float) -> None:
        before = self._image_s.get(model)
        self._image_s[model] = image_s if before is None else 0.7 * before + 0.3 * image_s
