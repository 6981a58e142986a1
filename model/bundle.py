"""A trained model as a folder named by its content: manifest.json and weights.safetensors.

The version is the SHA-256 of the manifest's bytes, and the manifest holds that of the weights: a version
names one network, one preprocessing and one threshold, for ever.
"""

import dataclasses
import hashlib
import json
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import safetensors
import torch
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights

from model.calibration import Calibration
from model.detector import Detector
from model.inference import REPLAY_TOLERANCE
from model.presets import restore
from model.training import Trained

FORMAT = "pyramidion-bundle-1"
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"


class BundleError(ValueError):
    """A bundle that is incomplete, altered, or of a format we don't read."""


@dataclass(frozen=True)
class BundlePaths:
    version: str
    folder: Path
    manifest: str
    weights: Path
    weights_sha256: str


@dataclass(frozen=True)
class Bundle:
    """`detector` is on the CPU in evaluation mode; `manifest` is what manifest.json says."""

    version: str
    product: str
    detector: Detector
    calibration: Calibration
    manifest: dict[str, Any]


def save(trained: Trained, folder_root: Path, *, product: str, dataset: str | None = None) -> BundlePaths:
    """Write the bundle as `folder_root`/<version>; one that is there already is left as it is.

    `dataset` is the hash of the list of what it was trained on, where there is one; the manifest states it.
    """
    state = {name: tensor.contiguous() for name, tensor in trained.detector.state_dict().items()}
    weights = save_weights(state)
    weights_sha256 = hashlib.sha256(weights).hexdigest()
    lineage = {} if dataset is None else {"dataset": dataset}
    manifest = _canonical(
        {
            **lineage,
            "format": FORMAT,
            "product": product,
            "network": {
                "preset": trained.detector.preset,
                **dataclasses.asdict(trained.detector.config),
            },
            "preprocessing": {"resize": "squash", "filter": "bilinear", "range": [0, 1]},
            "calibration": dataclasses.asdict(trained.calibration),
            "drift": trained.drift,
            "replay": {"tolerance": REPLAY_TOLERANCE},
            "training": {"config": dataclasses.asdict(trained.config), **dataclasses.asdict(trained.facts)},
            "libraries": {
                "numpy": np.__version__,
                "pillow": PIL.__version__,
                "python": platform.python_version(),
                "safetensors": safetensors.__version__,
                "torch": torch.__version__,
            },
            "weights_sha256": weights_sha256,
        }
    )
    version = hashlib.sha256(manifest.encode()).hexdigest()
    folder = folder_root / version
    folder_root.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        write_whole(folder, {MANIFEST: manifest.encode(), WEIGHTS: weights})
    return BundlePaths(version, folder, manifest, folder / WEIGHTS, weights_sha256)


def paths(folder: Path) -> BundlePaths:
    """Give where the parts of a bundle are, as save() does; raises BundleError as load() does."""
    folder = folder.absolute()
    found = load(folder)
    manifest = (folder / MANIFEST).read_text(encoding="utf-8")
    weights_sha256 = str(found.manifest["weights_sha256"])
    return BundlePaths(found.version, folder, manifest, folder / WEIGHTS, weights_sha256)


def load(folder: Path) -> Bundle:
    """Read and verify a bundle; raises BundleError with the file, the expected and the found hash."""
    manifest_bytes, weights = _read(folder / MANIFEST), _read(folder / WEIGHTS)
    version = hashlib.sha256(manifest_bytes).hexdigest()
    _require(folder / MANIFEST, "the folder's name", folder.name, version)
    try:
        manifest = json.loads(manifest_bytes)
        _require_format(folder / MANIFEST, manifest["format"])
        _require(
            folder / WEIGHTS, "the manifest", manifest["weights_sha256"], hashlib.sha256(weights).hexdigest()
        )
        calibration = Calibration(**manifest["calibration"])
        detector = restore(manifest["network"])
        detector.load_state_dict(load_weights(weights))
        product = str(manifest["product"])
    except BundleError:
        raise
    except (KeyError, TypeError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
        raise BundleError(
            f"{folder} can't be read as a bundle: {error!r}; train the product again"
        ) from error
    detector.eval()
    return Bundle(version, product, detector, calibration, manifest)


def _canonical(content: dict[str, Any]) -> str:
    """One text for one content: sorted keys, no spaces, floats as Python writes them, no NaN."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_whole(folder: Path, files: dict[str, bytes]) -> None:
    """All files or none, also when two processes write the same bundle or the power goes."""
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        for name, data in files.items():
            with (draft / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same content
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing: the bundle is incomplete; fetch or train it again") from error


def _require_format(path: Path, found: object) -> None:
    if found != FORMAT:
        raise BundleError(f"{path} has format {found!r}, but this release reads {FORMAT!r}")


def _require(path: Path, source: str, expected: str, found: str) -> None:
    if expected != found:
        raise BundleError(
            f"{path} has SHA-256 {found}, but {source} says {expected}: it was altered or damaged; "
            "fetch it again or train the product again"
        )
