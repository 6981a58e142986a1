"""What of the chosen images is held out: whole parts, or whole lots, so that none stands on both sides."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from db.snapshot import Candidate

LEAST_HELD_OUT: Final = 20  # fewer good parts say nothing about a rate of false rejects (model.gate)
MOST_HELD_OUT: Final = 300
SHARE: Final = 0.2
_LEAST_GROUPS: Final = 8
_LARGEST: Final = 0.25  # of all images


@dataclass(frozen=True)
class Split:
    """`groups` and `held_out` say of each image, in order, its group and whether it is held out.

    `by` says what makes a group, such as "serial, else lot"; `why`, why it is not that which it should be.
    """

    groups: list[str]
    held_out: list[bool]
    by: str
    why: str | None


def split(chosen: Sequence[Candidate]) -> Split:
    """Hold out a fifth, at least 20 and at most about 300, or none where more than half were left out so.

    Which groups are held out is decided by their names alone: what one run holds out, the next one holds out
    as well, by and large, so that no champion is examined with what it has learnt.
    """
    wanted = min(MOST_HELD_OUT, max(LEAST_HELD_OUT, round(SHARE * len(chosen))))
    if len(chosen) < 2 * LEAST_HELD_OUT:
        wanted = 0
    why = None
    for group_of in (_by_serial_or_lot, _by_serial):
        groups = [group_of(one) for one in chosen]
        held_out = _hold_out(groups, wanted)
        if _serves(groups, held_out, wanted):
            return _split(groups, held_out, why)
        sizes = Counter(groups)
        why = why or (
            f"serials or lots make {len(sizes)} groups, the largest of {max(sizes.values())} of "
            f"{len(chosen)} images: too few to split by"
        )
    groups = [_by_image(one) for one in chosen]
    return _split(groups, _hold_out(groups, wanted), why)


def _split(groups: list[str], held_out: set[str], why: str | None) -> Split:
    there = {group.split(":", 1)[0] for group in groups}
    by = ", else ".join(kind for kind in ("serial", "lot", "image") if kind in there)
    return Split(groups, [group in held_out for group in groups], by, why)


def _by_serial_or_lot(one: Candidate) -> str:
    return f"lot:{one.lot}" if one.serial is None and one.lot is not None else _by_serial(one)


def _by_serial(one: Candidate) -> str:
    return _by_image(one) if one.serial is None else f"serial:{one.serial}"


def _by_image(one: Candidate) -> str:
    return f"image:{one.id}"


def _hold_out(groups: Iterable[str], wanted: int) -> set[str]:
    """Take whole groups in the order of their names' hashes, a quarter more than wanted at most."""
    sizes = Counter(groups)
    held_out: set[str] = set()
    number = 0
    for group in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if number >= wanted:
            break
        if number + sizes[group] <= 1.25 * wanted:
            held_out.add(group)
            number += sizes[group]
    return held_out


def _serves(groups: Sequence[str], held_out: set[str], wanted: int) -> bool:
    sizes = Counter(groups)
    number = sum(sizes[group] for group in held_out)
    return (
        len(sizes) >= min(_LEAST_GROUPS, len(groups))
        and max(sizes.values(), default=0) <= max(1, _LARGEST * len(groups))
        and number >= min(wanted, LEAST_HELD_OUT)
    )
