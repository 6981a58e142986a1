"""Reads the layout of MVTec AD: train/good, test/good, test/<kind>, ground_truth/<kind>/<name>_mask.png."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from model.evaluation.masks import read_mask
from model.evaluation.sets import GOOD, Item, LabelledSet, LeftOut, SetError, overlap, read_items

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_EXPECTED = "give a folder with train/good, test/good and test/<kind of defect>"


def read_mvtec(folder: Path, *, training: bool = True) -> LabelledSet:
    """Read a folder in MVTec's layout. Without `training` it needs no train/good.

    Images that can't be decoded are left out and named. Raises SetError for a folder of another layout, a
    part of it without a usable image, or a mask that doesn't fit its image.
    """
    _require_layout(folder, training=training)
    train, left_out = read_items(_files(folder, "train", GOOD))
    if training:
        _require_some(folder, "train", GOOD, train, left_out)
    test: list[Item] = []
    kinds = sorted(p.name for p in (folder / "test").iterdir() if p.is_dir() and not p.name.startswith("."))
    for kind in kinds:
        items, bad = read_items(_files(folder, "test", kind))
        _require_some(folder, "test", kind, items, bad)
        left_out += bad
        test += items
    notes = _unusual(folder, train, test)
    test = [_with_mask(folder, item) for item in test]
    notes += _about_masks(folder, test)
    test, emptied = _without_empty_masks(test)
    if emptied:
        notes.append(
            f"defect images with an empty mask: {emptied}; they count for the image figures, not for those "
            "of pixels"
        )
    return LabelledSet(
        name=folder.resolve().name,
        layout="mvtec",
        train=tuple(train),
        test=tuple(test),
        left_out=tuple(left_out),
        overlap=overlap(train, test),
        notes=tuple(notes),
    )


def _require_layout(folder: Path, *, training: bool) -> None:
    if not folder.is_dir():
        raise SetError(f"{folder} is no folder: {_EXPECTED}")
    if folder.name in ("train", "test", "ground_truth") and (folder.parent / "test" / GOOD).is_dir():
        raise SetError(f"{folder} is a part of a set: give {folder.parent}")
    needed = [f"train/{GOOD}", f"test/{GOOD}"] if training else [f"test/{GOOD}"]
    missing = [part for part in needed if not (folder / part).is_dir()]
    if missing:
        there = sorted(f"{p.name}/" for p in folder.iterdir() if p.is_dir())[:8]
        holds = f"holds {', '.join(there)}" if there else "has no folders in it"
        raise SetError(f"{folder} has no {' and no '.join(missing)}; it {holds}: {_EXPECTED}")
    if not any(p.is_dir() and p.name != GOOD for p in (folder / "test").iterdir()):
        raise SetError(f"{folder / 'test'} has no folder of defects beside good: {_EXPECTED}")


def _files(folder: Path, part: str, kind: str) -> list[tuple[str, str, Path]]:
    found = sorted(p for p in (folder / part / kind).rglob("*") if p.suffix.lower() in SUFFIXES)
    return [
        (str(p.relative_to(folder)), kind, p) for p in found if p.is_file() and not p.name.startswith(".")
    ]


def _require_some(folder: Path, part: str, kind: str, items: list[Item], bad: list[LeftOut]) -> None:
    if items:
        return
    place = folder / part / kind
    if not bad:
        raise SetError(f"{place} holds no image ({', '.join(SUFFIXES)}): put some there or remove the folder")
    raise SetError(
        f"{place} holds no readable image: all {len(bad)} are damaged, such as {bad[0].name} "
        f"({bad[0].reason}); fetch them again or remove the folder"
    )


def _with_mask(folder: Path, item: Item) -> Item:
    """With the mask file of a defect image, where there is one: <name>_mask or <name>, of any suffix."""
    if item.kind == GOOD:
        return item
    inside = Path(item.name).relative_to(Path("test") / item.kind)
    place = folder / "ground_truth" / item.kind / inside.parent
    for name in (f"{inside.stem}_mask", inside.stem):
        for suffix in SUFFIXES:
            if (mask := place / (name + suffix)).is_file():
                return dataclasses.replace(item, mask=mask)
    return item


def _about_masks(folder: Path, test: Sequence[Item]) -> list[str]:
    defects = [item for item in test if item.kind != GOOD]
    total = Counter(item.kind for item in defects)
    masked = Counter(item.kind for item in defects if item.mask is not None)
    if not masked:
        place = folder / "ground_truth"
        why = f"no mask in {place} has an image's name" if place.is_dir() else f"there is no folder {place}"
        return [f"{why}: there are no pixel figures"]
    notes = []
    for kind, count in total.items():
        if masked[kind] == 0:
            notes.append(f"{kind} has no masks: it has no pixel figures and is not in the overall ones")
        elif masked[kind] < count:
            missing = f"{count - masked[kind]} of {count} images of {kind}"
            notes.append(f"without a mask, so not in the pixel figures: {missing}")
    return notes


def _without_empty_masks(test: Sequence[Item]) -> tuple[list[Item], int]:
    """Read every mask once, so that one that doesn't fit is told before the training; drop empty ones."""
    kept: list[Item] = []
    emptied = 0
    for item in test:
        empty = item.mask is not None and not read_mask(item.mask, item.width, item.height).any()
        kept.append(dataclasses.replace(item, mask=None) if empty else item)
        emptied += empty
    return kept, emptied


def _unusual(folder: Path, train: Sequence[Item], test: Sequence[Item]) -> list[str]:
    notes = []
    known = {(item.width, item.height) for item in train}
    sizes = known | {(item.width, item.height) for item in test}
    if len(sizes) > 1:
        low, high = min(sizes), max(sizes)
        strange = sum((item.width, item.height) not in known for item in test) if known else 0
        notes.append(
            f"images have {len(sizes)} different sizes ({low[0]} x {low[1]} to {high[0]} x {high[1]}), all "
            f"squashed to one; of a size that no image to train on has: {strange} of {len(test)} test images"
        )
    others = sorted(p.name for p in (folder / "train").glob("*/") if p.name != GOOD and p.name[0] != ".")
    if others:
        notes.append(f"train also holds {', '.join(others)}: not used, only good parts are trained on")
    return notes
