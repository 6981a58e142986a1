"""Model bundles, from the image store into each worker's own folder.

A worker machine needs nothing but the database and the store: the manifest stands in the database,
the weights in the store under their hash, and both are verified against the version's id.
"""

import shutil
from pathlib import Path

from db.home import private_folder
from db.imagestore import ImageStore
from db.tables import ModelVersion
from model import bundle


def fetch(version: ModelVersion, store: ImageStore, folder: Path) -> Path:
    """Bring a version's bundle into `folder`/<version id> unless it is there; gives that folder.

    Raises db.imagestore.ImageStoreError when the weights cannot be had. Whether the bundle is what
    its name says is checked by `model.bundle.load`, each time it is loaded.
    """
    target = folder / version.id
    if not target.is_dir():
        weights = store.get(version.weights_sha256)
        bundle.write_whole(
            private_folder(folder) / version.id,
            {bundle.MANIFEST: version.manifest.encode(), bundle.WEIGHTS: weights},
        )
    return target


def fetch_again(version: ModelVersion, store: ImageStore, folder: Path) -> Path:
    """Replace a bundle that is damaged; raises as fetch() does."""
    shutil.rmtree(folder / version.id, ignore_errors=True)
    return fetch(version, store, folder)
