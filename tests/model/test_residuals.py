"""What is done by sums of shifted copies gives what pooling gives."""

import pytest
import torch
from torch.nn import functional

from model.pyramid.network import _unfolded
from model.pyramid.residuals import shrink, smooth


@pytest.mark.parametrize(
    ("height", "width", "factor"),
    [(8, 12, 1), (8, 12, 2), (16, 8, 4), (12, 24, 6), (9, 15, 3), (10, 14, 4), (9, 11, 2)],
)
def test_shrinking_is_pooling(height: int, width: int, factor: int) -> None:
    values = torch.rand(2, 3, height, width)
    expected = functional.avg_pool2d(values, factor)
    torch.testing.assert_close(shrink(values, factor), expected)


@pytest.mark.parametrize("window", [1, 3, 5, 7, 9])
def test_smoothing_is_pooling_of_what_lies_within(window: int) -> None:
    values = torch.rand(2, 2, 11, 17)
    expected = functional.avg_pool2d(values, window, 1, window // 2, count_include_pad=False)
    torch.testing.assert_close(smooth(values, window), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_unfolding_is_a_pixel_shuffle(channels: int) -> None:
    values = torch.rand(2, 4 * channels, 6, 10).contiguous(memory_format=torch.channels_last)
    assert torch.equal(_unfolded(values), functional.pixel_shuffle(values, 2))
