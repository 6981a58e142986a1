import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model import bundle
from model.bundle import BundleError, BundlePaths
from model.inference import LOADING_TOLERANCE, judge
from model.scoring import Scorer
from model.training import Trained

Parts = Callable[..., list[bytes]]


@pytest.fixture
def saved(trained: Trained, tmp_path: Path) -> BundlePaths:
    return bundle.save(trained, tmp_path / "bundles", product="washer")


def test_a_reloaded_bundle_scores_as_the_model_that_was_saved(
    trained: Trained, saved: BundlePaths, make_parts: Parts
) -> None:
    import torch

    scorer = Scorer(bundle.load(saved.folder))
    arrays = [scorer.decode(data).array for data in make_parts(31, 20)]
    before = [s.score for s in judge(trained.detector, arrays, torch.device("cpu"))]
    after = [s.score for s in scorer.score(arrays)]
    assert after == pytest.approx(before, rel=LOADING_TOLERANCE)
    assert scorer.threshold == trained.calibration.threshold
    assert scorer.version == saved.version


def test_the_version_is_the_hash_of_the_manifest_which_holds_that_of_the_weights(saved: BundlePaths) -> None:
    on_disk = (saved.folder / "manifest.json").read_text()
    assert on_disk == saved.manifest
    assert saved.version == saved.folder.name == hashlib.sha256(on_disk.encode()).hexdigest()
    manifest = json.loads(on_disk)
    assert manifest["weights_sha256"] == hashlib.sha256(saved.weights.read_bytes()).hexdigest()
    assert manifest["product"] == "washer"
    assert manifest["training"]["images"] == 64
    assert manifest["calibration"]["method"] in {"split-conformal", "tail-fit"}
    assert manifest["drift"]["format"] == 1
    assert len(manifest["drift"]["scores"]) == manifest["calibration"]["images"]
    assert 0 < manifest["drift"]["images"]["brightness"]["median"] < 1
    assert set(manifest["libraries"]) == {"numpy", "pillow", "python", "safetensors", "torch"}


def test_saving_twice_is_one_bundle_and_leaves_nothing_else(trained: Trained, saved: BundlePaths) -> None:
    again = bundle.save(trained, saved.folder.parent, product="washer")
    assert again == saved
    assert [p.name for p in saved.folder.parent.iterdir()] == [saved.version]


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
def test_an_altered_file_is_refused_by_name_with_both_hashes(saved: BundlePaths, name: str) -> None:
    path = saved.folder / name
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(bytes(data))
    expected = saved.version if name == "manifest.json" else saved.weights_sha256
    with pytest.raises(BundleError) as caught:
        bundle.load(saved.folder)
    message = str(caught.value)
    assert name in message
    assert expected in message
    assert hashlib.sha256(bytes(data)).hexdigest() in message


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
def test_a_missing_file_is_refused_by_name(saved: BundlePaths, name: str) -> None:
    (saved.folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        bundle.load(saved.folder)


def test_a_bundle_of_another_format_or_another_network_is_refused(saved: BundlePaths) -> None:
    def altered(change: Callable[[dict[str, Any]], object]) -> Path:
        manifest = json.loads(saved.manifest)
        change(manifest)
        text = json.dumps(manifest)
        folder = saved.folder.parent / hashlib.sha256(text.encode()).hexdigest()
        shutil.copytree(saved.folder, folder)
        (folder / "manifest.json").write_text(text)
        return folder

    with pytest.raises(BundleError, match="'pyramidion-bundle-99'"):
        bundle.load(altered(lambda m: m.update(format="pyramidion-bundle-99")))
    with pytest.raises(BundleError, match="can't be read"):
        bundle.load(altered(lambda m: m["network"].update(width=24)))
    with pytest.raises(BundleError, match="can't be read"):
        bundle.load(altered(lambda m: m.pop("network")))
