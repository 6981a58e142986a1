"""Reads MNIST and Fashion-MNIST as published (IDX, gzip), and makes one-class sets of them.

Format: http://yann.lecun.com/exdb/mnist/. Each class in turn is what is good: its training split to train on,
the whole test split to test with, where every other class is a kind of defect.
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.evaluation.sets import GOOD, Item, LabelledSet, SetError, overlap

_ENDS = (".gz", "")
_IMAGES, _LABELS = 0x0803, 0x0801  # unsigned bytes in three dimensions, in one
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class IdxData:
    """Items in the files' order; an item's kind is its class, as a number."""

    name: str
    train: tuple[Item, ...]
    test: tuple[Item, ...]

    @property
    def classes(self) -> list[str]:
        return sorted({item.kind for item in self.train}, key=int)


def is_idx(folder: Path) -> bool:
    """Whether a folder holds any of the four files, with .gz or without."""
    return any(
        (folder / (name + end)).is_file() for pair in _FILES.values() for name in pair for end in _ENDS
    )


def read_idx(folder: Path) -> IdxData:
    """Read the four files; raises SetError for one that is missing, damaged or doesn't fit its neighbour."""
    parts = {part: _part(folder, part) for part in _FILES}
    return IdxData(folder.resolve().name, parts["train"], parts["test"])


def one_class(data: IdxData, normal: str) -> LabelledSet:
    """The set in which class `normal` is good; raises SetError where there is no such class."""
    if normal not in data.classes:
        raise SetError(f"{data.name} has no class {normal}; it has {', '.join(data.classes)}")
    train = _labelled([item for item in data.train if item.kind == normal], normal)
    test = _labelled(data.test, normal)
    kinds = {item.kind for item in test}
    if GOOD not in kinds or len(kinds) < 2:
        raise SetError(
            f"the test images of {data.name} need some of class {normal} and some of another class"
        )
    return LabelledSet(f"{data.name} {normal}", "idx", train, test, overlap=overlap(train, test))


def _labelled(items: Sequence[Item], normal: str) -> tuple[Item, ...]:
    return tuple(replace(item, kind=GOOD) if item.kind == normal else item for item in items)


def _part(folder: Path, part: str) -> tuple[Item, ...]:
    images, labels = (_array(_find(folder, name)) for name in _FILES[part])
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not images.size:
        raise SetError(
            f"{folder}: {_FILES[part][0]} has shape {images.shape} and {_FILES[part][1]} {labels.shape}, but "
            "must hold images and one label for each; fetch them again"
        )
    with ThreadPoolExecutor() as pool:
        return tuple(pool.map(partial(_item, part), range(len(images)), labels, images))


def _item(part: str, index: int, label: np.uint8, pixels: NDArray[np.uint8]) -> Item:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    data = out.getvalue()
    height, width = pixels.shape
    return Item(f"{part}/{index}", str(label), data, width, height, hashlib.sha256(data).hexdigest())


def _find(folder: Path, name: str) -> Path:
    for end in _ENDS:
        if (file := folder / (name + end)).is_file():
            return file
    raise SetError(f"{folder} has no {name}.gz: all four files of the set must be there")


def _array(file: Path) -> NDArray[np.uint8]:
    """The bytes (N, H, W) or (N,) of an IDX file; raises SetError."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        (magic,) = struct.unpack(">I", data[:4])
        if magic not in (_IMAGES, _LABELS):
            raise SetError(f"{file} begins with {magic:#010x}, not as an IDX file of bytes; fetch it again")
        dimensions = magic & 0xFF
        shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise SetError(f"{file} can't be read: {error}; fetch it again") from error
    content = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if content.size != np.prod(shape, dtype=np.int64):
        raise SetError(f"{file} holds {content.size} bytes, but announces {shape}; fetch it again")
    return content.reshape(shape)
