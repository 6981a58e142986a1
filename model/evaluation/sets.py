"""A set of labelled images to measure with: good ones to train on, good and defective ones to test."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.images import UnreadableImageError, decode

GOOD = "good"


class SetError(ValueError):
    """A set that can't be measured with; the message says why, and what cures it."""


@dataclass(frozen=True)
class Item:
    """One image; `width` and `height` are those of the upright image, `sha256` that of its file.

    `mask` is a file where the defect's pixels are known. A good image has none and needs none.
    """

    name: str  # where it stands in the set, such as test/crack/007.png
    kind: str  # "good", or the defect
    source: Path | bytes
    width: int
    height: int
    sha256: str
    mask: Path | None = None

    def read(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()


@dataclass(frozen=True)
class LeftOut:
    name: str
    reason: str


@dataclass(frozen=True)
class LabelledSet:
    """`test` holds good images and those of one defect kind at least.

    `overlap` are pairs (train, test) of names with the same file: such a set flatters. `notes` are sentences
    on what is unusual about the set.
    """

    name: str
    layout: Literal["mvtec", "idx"]
    train: tuple[Item, ...]
    test: tuple[Item, ...]
    left_out: tuple[LeftOut, ...] = ()
    overlap: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def kinds(self) -> list[str]:
        """Every defect kind, in the order of the test images."""
        return [kind for kind in dict.fromkeys(item.kind for item in self.test) if kind != GOOD]


def read_items(files: Iterable[tuple[str, str, Path]]) -> tuple[list[Item], list[LeftOut]]:
    """Check (name, kind, file) each by decoding it; gives what can be used, and what not with the reason."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda one: _read(*one), files))
    items = [one for one in found if isinstance(one, Item)]
    return items, [one for one in found if isinstance(one, LeftOut)]


def _read(name: str, kind: str, file: Path) -> Item | LeftOut:
    try:
        data = file.read_bytes()
        decoded = decode(data, channels=1, size=(8, 8))  # whole, but for a JPEG at an eighth of its size
    except UnreadableImageError as error:
        return LeftOut(name, error.reason)
    except OSError as error:
        return LeftOut(name, f"can't be read: {error.strerror or error}")
    return Item(name, kind, file, decoded.width, decoded.height, hashlib.sha256(data).hexdigest())


def overlap(train: Sequence[Item], test: Sequence[Item]) -> tuple[tuple[str, str], ...]:
    """Pairs (train, test) of names of items that are the same file."""
    names = {item.sha256: item.name for item in train}
    return tuple((names[item.sha256], item.name) for item in test if item.sha256 in names)
