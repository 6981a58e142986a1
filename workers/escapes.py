"""How many defects that people have found a new model would let pass.

It is told, never used: the threshold comes from good parts alone, and no defect moves it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from db import reviewed
from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from model import bundle, scoring
from model.images import UnreadableImageError
from workers.runtime import Runtime

LIMIT = 1000  # the newest; scoring them takes seconds
_AT_ONCE = 32
_NAMED = 20


@dataclass(frozen=True)
class Escapes:
    """Of `defects` that were scored, those `escaped` would have been judged ok; `unread` images are gone."""

    defects: int
    escaped: tuple[UUID, ...]  # newest first
    unread: int
    threshold: float

    @property
    def note(self) -> str:
        unread = f" ({self.unread} more could not be read)" if self.unread else ""
        return (
            f"{len(self.escaped)} of {self.defects} reviewed defects escape at threshold "
            f"{self.threshold:.4g}{unread}"
        )

    def as_json(self) -> dict[str, Any]:
        """At most the newest escapes are named, so that an event stays small."""
        return {
            "defects": self.defects,
            "escapes": len(self.escaped),
            "unread": self.unread,
            "threshold": self.threshold,
            "newest": [str(id_) for id_ in self.escaped[:_NAMED]],
        }


def count(
    state: Runtime, bundle_folder: Path, product: str, going_on: Callable[[], None] = lambda: None
) -> Escapes | None:
    """Score the product's reviewed defects with a bundle; None where nobody has found one.

    An escape is what would be judged ok: what the band makes inconclusive is looked at by a person.
    `going_on` is called with every few images, and may raise. Raises ImageStoreUnavailableError: images that
    are away for the moment are not lost.
    """
    with state.reading() as session:
        defects = reviewed.defects(session, product, LIMIT)
    if not defects:
        return None
    scorer = state.scorer_of(bundle.load(bundle_folder))
    escaped: list[UUID] = []
    unread = 0
    for start in range(0, len(defects), _AT_ONCE):
        going_on()
        some = defects[start : start + _AT_ONCE]
        ids, arrays = [], []
        for defect, blob in zip(some, state.store.get_many([one.image_sha256 for one in some]), strict=True):
            if isinstance(blob, ImageStoreUnavailableError):
                raise blob
            if isinstance(blob, ImageStoreError):
                unread += 1
                continue
            try:
                arrays.append(scorer.decode(blob, max_pixels=state.settings.max_image_pixels).array)
            except UnreadableImageError:
                unread += 1
                continue
            ids.append(defect.inspection_id)
        for id_, scored in zip(ids, scorer.score(arrays), strict=True):
            verdict = scoring.verdict(scored.score, scorer.threshold, state.settings.inconclusive_band)
            escaped += [id_] if verdict == "ok" else []
    return Escapes(len(defects) - unread, tuple(escaped), unread, scorer.threshold)
