"""Model bundles between the trainer's folder, the image store and each worker's own folder.

A worker machine needs nothing but the database and the store: the manifest stands in the database,
the weights in the store under their hash, and both are verified against the version's id.
"""

import shutil
import tempfile
from pathlib import Path

from sqlalchemy.orm import Session

from db import models
from db.imagestore import ImageStore
from db.tables import ModelVersion
from model import bundle
from model.bundle import BundlePaths


def publish(
    session: Session, store: ImageStore, saved: BundlePaths, *, product: str, training_images: int, note: str
) -> None:
    """Store the weights, then register the version; the caller commits."""
    store.put(saved.weights.read_bytes())
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
    if target.is_dir():
        return target
    weights = store.get(version.weights_sha256)
    folder.mkdir(parents=True, exist_ok=True)
    # Made beside its place and renamed, so that no other process sees half a bundle.
    building = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder))
    try:
        (building / bundle.MANIFEST).write_text(version.manifest, encoding="utf-8")
        (building / bundle.WEIGHTS).write_bytes(weights)
        try:
            building.rename(target)
        except OSError:
            if not target.is_dir():  # not merely another process that was faster
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target
