import hashlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from model.maps import decode_map, encode_map

VALUES = st.floats(-1e6, 1e6, width=32)


@given(
    values=arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=VALUES),
    bits=st.sampled_from([8, 16]),
)
def test_a_map_comes_back_within_half_a_step(values: np.ndarray, bits: int) -> None:
    kept = encode_map(values, bits)
    back = decode_map(kept.data, bits=kept.bits, low=kept.low, high=kept.high)
    half_step = (kept.high - kept.low) / (2**bits - 1) / 2
    rounding = np.spacing(np.abs(values).max().astype(np.float32))  # of float32 itself
    assert back.shape == values.shape
    assert np.abs(back.astype(np.float64) - values).max() <= half_step + rounding


@pytest.mark.parametrize(("bits", "mode"), [(8, "L"), (16, "I;16")])
def test_any_image_tool_opens_it(bits: int, mode: str) -> None:
    kept = encode_map(np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), bits)
    with Image.open(BytesIO(kept.data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", mode, (4, 3))
        assert np.asarray(image).max() == 2**bits - 1
    assert (kept.width, kept.height) == (4, 3)
    assert kept.sha256 == hashlib.sha256(kept.data).hexdigest()


def test_a_flat_map_and_the_extremes_are_exact() -> None:
    flat = encode_map(np.full((2, 2), 3.25, np.float32))
    assert (decode_map(flat.data, bits=8, low=flat.low, high=flat.high) == 3.25).all()
    peaked = np.zeros((4, 4), np.float32)
    peaked[1, 2] = 7.5
    kept = encode_map(peaked)
    assert decode_map(kept.data, bits=8, low=kept.low, high=kept.high).max() == 7.5


@pytest.mark.parametrize(
    ("values", "bits", "complaint"),
    [
        (np.full((2, 2), np.nan, np.float32), 8, "finite"),
        (np.zeros((2, 2, 1), np.float32), 8, "two dimensions"),
        (np.zeros((2, 2), np.float32), 12, "8 or 16"),
    ],
)
def test_what_no_map_can_be_is_refused(values: np.ndarray, bits: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        encode_map(values, bits)
