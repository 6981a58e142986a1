"""Whether a model is what its version says: asked before it may judge, since else the line would wait."""

import hashlib
import json

from sqlalchemy.orm import Session

from db.imagestore import ImageStore
from db.tables import ModelVersion


class AlteredModelError(Exception):
    """A model that is not what its version says, so that no worker would judge with it."""

    def __init__(self, version: ModelVersion, why: str) -> None:
        self.why = why
        super().__init__(
            f"model {version.id[:12]} of {version.product!r} can't judge: {why}. Nothing was changed; choose "
            "another version, or bring its files back with `pyramidion restore DIR --only-images`"
        )


def require_whole(session: Session, version_id: str, store: ImageStore) -> None:
    """Make sure that a worker can fetch a version, and finds what its id is the hash of.

    Raises AlteredModelError, and db.imagestore.ImageStoreError where its weights are lost, damaged or can't
    be had now.
    """
    version = session.get_one(ModelVersion, version_id)
    found = hashlib.sha256(version.manifest.encode()).hexdigest()
    if found != version.id:
        raise AlteredModelError(version, f"its manifest has the SHA-256 {found}, and was altered")
    named = json.loads(version.manifest).get("weights_sha256", version.weights_sha256)
    if named != version.weights_sha256:
        raise AlteredModelError(
            version, f"its weights are {version.weights_sha256} here, and its manifest says {named}"
        )
    store.get(version.weights_sha256)  # which compares the hash
