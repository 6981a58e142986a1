"""Images as they are stored, read again long after they were judged."""

from collections.abc import Iterator, Sequence

from db.imagestore import ImageStoreError, ImageStoreUnavailableError
from db.tables import Inspection
from model.images import Decoded, UnreadableImageError
from model.scoring import Scorer
from workers.runtime import Runtime


def decoded(state: Runtime, scorer: Scorer, rows: Sequence[Inspection]) -> Iterator[Decoded | str]:
    """Read and decode the images of inspections for a model; of one that can't be had, the reason.

    Raises ImageStoreUnavailableError where the store is away: then nothing can be said.
    """
    blobs = state.store.get_many([one.image_sha256 for one in rows])
    for blob in blobs:
        if isinstance(blob, ImageStoreUnavailableError):
            raise blob
        if isinstance(blob, ImageStoreError):
            yield str(blob)
            continue
        try:
            yield scorer.decode(blob, max_pixels=state.settings.max_image_pixels)
        except UnreadableImageError as error:
            yield f"the image can't be decoded any more: {error}"
        except MemoryError:
            yield "the memory did not suffice to decode the image"
