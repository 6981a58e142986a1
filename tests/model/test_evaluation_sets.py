"""What is read of a labelled folder, and what is said of a broken one. Nothing is trained here."""

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from model.evaluation.evaluate import open_sets
from model.evaluation.sets import GOOD, LabelledSet, SetError


def save(file: Path, pixels: NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A sound folder: 3 good images to train on, 2 to test, 2 with a crack and its mask."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "tiles"
    for place, count in (("train/good", 3), ("test/good", 2), ("test/crack", 2)):
        for index in range(count):
            save(folder / place / f"{index}.png", rng.integers(0, 255, (24, 32), dtype=np.uint8))
    mask = np.zeros((24, 32), np.uint8)
    mask[4:9, 4:9] = 255
    save(folder / "ground_truth/crack/0_mask.png", mask)
    save(folder / "ground_truth/crack/1.png", mask)
    return folder


def only(folder: Path) -> LabelledSet:
    (one,) = open_sets(folder).values()
    return one


def test_a_sound_folder_is_read_without_a_word(tiles: Path) -> None:
    found = only(tiles)
    assert [item.name for item in found.train] == [f"train/good/{i}.png" for i in range(3)]
    assert found.kinds == ["crack"]
    masks = [None if item.mask is None else item.mask.name for item in found.test]
    assert masks == ["0_mask.png", "1.png", None, None]  # by kind; both ways to name a mask
    assert (found.left_out, found.overlap, found.notes) == ((), (), ())


def test_a_damaged_image_is_left_out_by_name(tiles: Path) -> None:
    for place in ("train/good/0.png", "test/crack/0.png"):
        (tiles / place).write_bytes((tiles / place).read_bytes()[:200])
    (tiles / "test/good/0.png").write_bytes(b"")
    found = only(tiles)
    assert [bad.name for bad in found.left_out] == ["train/good/0.png", "test/crack/0.png", "test/good/0.png"]
    assert "empty" in found.left_out[2].reason
    assert len(found.train) == 2
    assert [item.kind for item in found.test] == ["crack", GOOD]


def test_a_kind_of_which_nothing_is_left_is_an_error(tiles: Path) -> None:
    for file in (tiles / "test/crack").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(SetError, match=r"test/crack holds no readable image: all 2 are damaged"):
        only(tiles)


@pytest.mark.parametrize("part", ["train/good", "test/good", "test/crack"])
def test_an_empty_folder_is_named(tiles: Path, part: str) -> None:
    shutil.rmtree(tiles / part)
    (tiles / part).mkdir()
    with pytest.raises(SetError, match=rf"tiles/{part} holds no image"):
        only(tiles)


def test_another_layout_is_told_what_is_expected(tiles: Path, tmp_path: Path) -> None:
    with pytest.raises(SetError, match=r"nowhere is no folder: give a folder with train/good"):
        only(tmp_path / "nowhere")
    with pytest.raises(SetError, match=r"train is a part of a set: give .*tiles"):
        only(tiles / "train")
    with pytest.raises(SetError, match=r"has no train/good and no test/good; it has no folders in it"):
        only(tiles / "test/good")
    shutil.rmtree(tiles / "test/crack")
    with pytest.raises(SetError, match="has no folder of defects beside good"):
        only(tiles)
    (tiles / "train/good").rename(tiles / "train/fine")
    with pytest.raises(SetError, match=r"has no train/good; it holds ground_truth/, test/, train/"):
        only(tiles)


def test_a_mask_that_does_not_fit_is_an_error_before_any_training(tiles: Path) -> None:
    save(tiles / "ground_truth/crack/0_mask.png", np.ones((32, 24), np.uint8))
    with pytest.raises(SetError, match=r"0_mask.png has 24 x 32 pixels, but its image 32 x 24"):
        only(tiles)


def test_missing_and_empty_masks_are_noted(tiles: Path) -> None:
    save(tiles / "ground_truth/crack/0_mask.png", np.zeros((24, 32), np.uint8))
    found = only(tiles)
    assert found.test[0].mask is None
    assert "defect images with an empty mask: 1" in found.notes[0]
    (tiles / "ground_truth/crack/0_mask.png").unlink()
    assert "in the pixel figures: 1 of 2 images of crack" in only(tiles).notes[0]
    shutil.copytree(tiles / "test/crack", tiles / "test/dent")
    assert any("dent has no masks" in note for note in only(tiles).notes)
    shutil.rmtree(tiles / "ground_truth")
    assert "there are no pixel figures" in only(tiles).notes[0]


def test_an_image_in_training_and_test_is_found_whatever_its_name(tiles: Path) -> None:
    shutil.copy(tiles / "train/good/1.png", tiles / "test/crack/other.png")
    assert only(tiles).overlap == (("train/good/1.png", "test/crack/other.png"),)


def test_mixed_sizes_and_folders_beside_good_are_noted(tiles: Path) -> None:
    save(tiles / "test/good/2.png", np.zeros((40, 40), np.uint8))
    shutil.copytree(tiles / "test/crack", tiles / "train/crack")
    sizes, others = only(tiles).notes
    assert "2 different sizes (32 x 24 to 40 x 40)" in sizes
    assert "no image to train on has: 1 of 5 test images" in sizes
    assert "train also holds crack: not used" in others


def write_idx(folder: Path, *, train: int = 20, test: int = 10, classes: int = 2) -> Path:
    folder.mkdir()
    for part, count in (("train", train), ("t10k", test)):
        images = np.arange(count * 64, dtype=np.int64).reshape(count, 8, 8).astype(np.uint8)
        labels = (np.arange(count) % classes).astype(np.uint8)
        images[:, 0, 0] = np.arange(count) + (100 if part == "t10k" else 0)
        head = struct.pack(">IIII", 0x0803, count, 8, 8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        head = struct.pack(">II", 0x0801, count)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head + labels.tobytes()))
    return folder


def test_idx_files_make_a_set_of_each_class(tmp_path: Path) -> None:
    sets = open_sets(write_idx(tmp_path / "digits"))
    assert list(sets) == ["0", "1"]
    one = sets["1"]
    assert [item.name for item in one.train] == [f"train/{i}" for i in range(1, 20, 2)]
    assert len(one.test) == 10  # the whole test split
    assert [item.kind for item in one.test[:2]] == ["0", GOOD]
    assert one.overlap == ()
    assert list(open_sets(tmp_path / "digits", ["1"])) == ["1"]
    with pytest.raises(SetError, match="digits has no class 7; it has 0, 1"):
        open_sets(tmp_path / "digits", ["7"])


def test_broken_idx_files_are_named(tmp_path: Path) -> None:
    folder = write_idx(tmp_path / "digits")
    images = folder / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    images.write_bytes(whole[:-20])
    with pytest.raises(SetError, match=r"train-images-idx3-ubyte.gz can't be read"):
        open_sets(folder)
    images.write_bytes(gzip.compress(b"\x89PNG and more"))
    with pytest.raises(SetError, match="not as an IDX file"):
        open_sets(folder)
    images.write_bytes(gzip.compress(gzip.decompress(whole)[:-5]))
    with pytest.raises(SetError, match="1275 bytes, but announces"):
        open_sets(folder)
    images.write_bytes((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(SetError, match="one label for each"):
        open_sets(folder)
    images.unlink()
    with pytest.raises(SetError, match=r"has no train-images-idx3-ubyte.gz: all four files"):
        open_sets(folder)


def test_classes_are_for_idx_files(tiles: Path) -> None:
    with pytest.raises(SetError, match="no classes to choose from"):
        open_sets(tiles, ["0"])
