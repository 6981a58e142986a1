"""Whether the image store is the one that images were put into."""

from sqlalchemy.orm import Session

from db import inspections
from db.imagestore import ImageStore, ImageStoreUnavailableError


def require_images(session: Session, store: ImageStore) -> None:
    """Refuse an empty image store where images were accepted: it is a mount point without its disk.

    Who judges would find each image missing, and who captures would write where nobody will look.
    Raises ImageStoreUnavailableError.
    """
    if store.is_empty() and inspections.any_accepted(session):
        raise ImageStoreUnavailableError(
            store.describe(),
            "it is empty, though images were accepted; is its disk mounted? Those of a backup "
            "come back with `pyramidion restore DIR --only-images`",
        )
