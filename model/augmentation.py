"""What may be done to a good part and leave it a good part: chosen by measuring, since products differ.

A mirrored screw is a defect, a mirrored tile of leather is not. A change is taken for harmless where held-out
good images that went through it lie no farther from the others than they did before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

AUTO, NONE = "auto", "none"
_HARMLESS = 0.6  # AUROC of changed against unchanged good images: 0.5 is no difference at all
_SQUARE = ("quarter-turn",)
_MOST = 3  # changed copies of each image: more only lengthen the training

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Measured:
    """`told_apart` is the AUROC of changed against unchanged good images, None where it was not asked."""

    name: str
    told_apart: float | None
    taken: bool


def changes(shift: float, light: float) -> dict[str, Change]:
    """By name: `shift` is a share of the image's sides, `light` a share of its brightness."""
    return {
        "mirror": lambda images: images.flip(3),
        "flip": lambda images: images.flip(2),
        "half-turn": lambda images: images.flip((2, 3)),
        "quarter-turn": lambda images: torch.rot90(images, 1, (2, 3)),
        "shift-right": lambda images: _shifted(images, shift, 0.0),
        "shift-down": lambda images: _shifted(images, 0.0, shift),
        "brighter": lambda images: (images * (1 + light)).clamp(0, 1),
        "darker": lambda images: images * (1 - light),
    }


def require(wanted: str) -> None:
    """Raise ValueError for what is neither auto, none, nor names of changes with commas between."""
    unknown = set(_names(wanted)) - set(changes(0, 0))
    if unknown:
        raise ValueError(
            f"augment is {wanted!r}, but {min(unknown)!r} is no change: name auto, none, or some of "
            f"{', '.join(changes(0, 0))} with commas between"
        )


def named(wanted: str, *, square: bool) -> list[Measured]:
    """The changes that were asked for by name, less those that only square images can go through."""
    return [Measured(name, None, taken=True) for name in _names(wanted) if square or name not in _SQUARE]


def choose(
    held_out: Tensor, distance: Callable[[Tensor], Tensor], shift: float, light: float
) -> list[Measured]:
    """Measure every change on held-out good images (N, C, H, W), and say which are taken, closest first.

    `distance` gives (N,) distances from good images that are not among them.
    """
    square = held_out.shape[2] == held_out.shape[3]
    known = {n: c for n, c in changes(shift, light).items() if square or n not in _SQUARE}
    usual = distance(held_out)
    apart = {name: _auroc(usual, distance(change(held_out))) for name, change in known.items()}
    order = sorted(apart, key=lambda name: apart[name])
    harmless = [name for name in order if apart[name] < _HARMLESS][:_MOST]
    return [Measured(name, apart[name], taken=name in harmless) for name in order]


def _auroc(usual: Tensor, changed: Tensor) -> float:
    """The share of pairs in which the changed one (M,) is beyond the usual one (N,); a tie is half.

    scikit-learn has it too, but every worker imports this file, and would start a second later.
    """
    ranked = usual.sort().values
    below = torch.searchsorted(ranked, changed).sum() + torch.searchsorted(ranked, changed, right=True).sum()
    return int(below) / (2 * len(usual) * len(changed))


def multiply(images: Tensor, taken: Sequence[str], shift: float, light: float) -> Tensor:
    """(N, C, H, W) to (N * (1 + len(taken)), C, H, W), an image's copies beside it."""
    known = changes(shift, light)
    copies = torch.stack([images, *(known[name](images) for name in taken)], 1)
    return copies.flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _names(wanted: str) -> list[str]:
    return [] if wanted in (AUTO, NONE) else [name.strip() for name in wanted.split(",")]


def _shifted(images: Tensor, right: float, down: float) -> Tensor:
    """Move by shares of the sides; the border that comes in repeats the edge."""
    x, y = round(right * images.shape[3]), round(down * images.shape[2])
    padded = functional.pad(images, (x, 0, y, 0), "replicate")
    return padded[:, :, : images.shape[2], : images.shape[3]]
