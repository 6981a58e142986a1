"""Model bundles between the trainer's folder, the image store and each worker's own folder.

A worker machine needs nothing but the database and the store: the manifest stands in the database,
the weights in the store under their hash, and both are verified against the version's id.
"""

import shutil
from pathlib import Path

from sqlalchemy.orm import Session

from db import models
from db.imagestore import ImageStore
from db.tables import ModelVersion
from model import bundle
from model.bundle import BundlePaths


def publish(session: Session, saved: BundlePaths, *, product: str, training_images: int, note: str) -> None:
    """Register a version whose weights are stored (`store.put`) already; the caller commits."""
    models.register(
        session,
        saved.version,
        product,
        manifest=saved.manifest,
        weights_sha256=saved.weights_sha256,
        training_images=training_images,
        note=note,
    )


def fetch(version: ModelVersion, store: ImageStore, folder: Path) -> Path:
    """Bring a version's bundle into `folder`/<version id> unless it is there; gives that folder.

    Raises db.imagestore.ImageStoreError when the weights cannot be had. Whether the bundle is what
    its name says is checked by `model.bundle.load`, each time it is loaded.
    """
    target = folder / version.id
    if not target.is_dir():
        weights = store.get(version.weights_sha256)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        bundle.write_whole(target, {bundle.MANIFEST: version.manifest.encode(), bundle.WEIGHTS: weights})
    return target


def fetch_again(version: ModelVersion, store: ImageStore, folder: Path) -> Path:
    """Replace a bundle that is damaged; raises as fetch() does."""
    shutil.rmtree(folder / version.id, ignore_errors=True)
    return fetch(version, store, folder)
