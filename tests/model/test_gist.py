"""The whole image: a fault that is nowhere strong, and a part of another kind."""

import torch
from torch import Tensor

from model.pyramid.gist import GIST, Gist
from model.pyramid.gradients import gradients


def _plates(count: int, seed: int, *, cells: int = 8) -> Tensor:
    """A grid of bars on noise, whose light and place vary a little: (N, 1, 64, 64)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.arange(64.0) + torch.rand(count, 1, generator=generator)
    bars = ((x / cells).floor() % 2)[:, None, None, :].expand(-1, 1, 64, -1)
    light = 0.4 + 0.04 * torch.rand(count, 1, 1, 1, generator=generator)
    return (light + 0.3 * bars + 0.02 * torch.randn(count, 1, 64, 64, generator=generator)).clamp(0, 1)


def _fitted() -> Gist:
    gist = Gist(1, 64, 80)
    gist.fit(_plates(80, 0))
    return gist


def test_unseen_good_parts_lie_about_where_good_parts_lie() -> None:
    deviations = _fitted()(_plates(60, 1))
    assert deviations.shape == (60, len(GIST))
    assert deviations.mean(0).abs().max() < 1.5


def test_light_that_falls_off_to_one_side_is_far_from_usual() -> None:
    gist, good = _fitted(), _plates(30, 2)
    dimmed = good * torch.linspace(1, 0.8, 64)
    assert (gist(dimmed)[:, 0] > gist(good)[:, 0].max()).float().mean() > 0.9


def test_a_part_of_another_kind_is_unlike_all_good_ones() -> None:
    gist = _fitted()
    assert (gist(_plates(20, 3, cells=16)) > gist(_plates(30, 4)).amax(0)).all()


def test_an_image_alone_lies_where_it_lies_among_others() -> None:
    gist, images = _fitted(), _plates(40, 5)
    alone = torch.cat([gist(image[None]) for image in images])
    assert torch.allclose(alone, gist(images), rtol=1e-3, atol=1e-3)


def test_gradients_tell_direction_and_survive_a_change_of_light() -> None:
    across = _plates(1, 6)
    down = across.transpose(2, 3)
    cells, turned, brighter = gradients(across), gradients(down), gradients((across * 1.1).clamp(0, 1))
    assert cells.shape == (1, 25, 16, 16)
    assert (cells - brighter).abs().mean() < 0.2 * (cells - turned).abs().mean()


def test_a_large_image_costs_no_finer_grid() -> None:
    assert gradients(torch.rand(1, 3, 512, 512)).shape == (1, 27, 32, 32)
