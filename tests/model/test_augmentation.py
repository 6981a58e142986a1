"""Augmentation that knows the product: what a good part may go through, measured on held-out good ones."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.augmentation import changes, choose, multiply
from model.config import TrainConfig
from model.pyramid.gist import Unexplained
from model.training import train


def _grain(count: int, seed: int) -> Tensor:
    """Sheets whose noise has no direction."""
    return torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(seed)) * 0.5 + 0.25


def _arrows(count: int, seed: int) -> Tensor:
    """A wedge that points to the right, on noise."""
    images = _grain(count, seed)
    for row in range(16, 48):
        images[:, :, row, 10 : 50 - abs(row - 32)] += 0.3
    return images.clamp(0, 1)


def _taken(make: Callable[[int, int], Tensor]) -> set[str]:
    measured = choose(make(60, 1), Unexplained.of(make(200, 0)), 0.1, 0.2)
    assert {one.name for one in measured} == set(changes(0, 0))
    return {one.name for one in measured if one.taken}


def test_a_texture_may_be_mirrored_and_an_arrow_only_flipped_upside_down() -> None:
    symmetric = {"mirror", "flip", "half-turn", "quarter-turn"}
    assert len(_taken(_grain) & symmetric) >= 2
    assert not _taken(_arrows) & {"mirror", "half-turn", "quarter-turn"}


def test_light_that_is_always_the_same_is_not_made_up() -> None:
    assert not _taken(_arrows) & {"brighter", "darker"}


def test_copies_stand_beside_their_image() -> None:
    images = _arrows(3, 0)
    copies = multiply(images, ["mirror", "darker"], 0.1, 0.2)
    assert copies.shape == (9, 1, 64, 64)
    assert torch.equal(copies[3], images[1])
    assert torch.equal(copies[4], images[1].flip(2))
    assert torch.allclose(copies[5], images[1] * 0.8)


def test_what_was_measured_and_taken_is_part_of_the_model(
    make_parts: Callable[..., list[bytes]], quick: TrainConfig
) -> None:
    parts, few = make_parts(5, 24), replace(quick, epochs=1)
    given = train(parts, replace(few, augment="mirror, darker")).facts
    assert [(one.name, one.told_apart, one.taken) for one in given.augmentation] == [
        ("mirror", None, True),
        ("darker", None, True),
    ]
    found = train(parts, few).facts
    assert len(found.augmentation) == len(changes(0, 0))
    assert train(parts, replace(few, augment="none")).facts.augmentation == ()


def test_a_change_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'twist' is no change: name auto, none, or some of mirror, flip"):
        TrainConfig(augment="mirror, twist")
