"""A simulated line: endless machined parts and the true masks of their defects, for demo and tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from capture.simulated.defects import KINDS, Kind, Mask
from capture.simulated.flange import Field, drawing
from capture.simulated.light import belt_mat, radiance, sensed, tinted
from capture.simulated.scene import Canvas, draw_scene, lay_out, shadow

DEFECTS = tuple(kind.name for kind in KINDS)
GOOD = "good"
VISIBLE = (
    0.06  # least mean difference that a defect makes in its mask, of full scale; the noise is about 0.01
)
SMALLEST_PIXELS = 24  # of a mask at 256 x 256
_DRAWS = 8


@dataclass(frozen=True)
class SimulatedPart:
    """`image` is uint8, (size, size) or (size, size, 3); `mask` is bool (size, size), None on a good part."""

    index: int
    serial: str
    image: NDArray[np.uint8]
    defect: str | None
    mask: Mask | None


class SimulatedLine:
    """Parts of one product on one line: part k of a line with the same arguments is always the same.

    `seed` decides circumstances and defects, never the product: parts of different seeds are of one kind.
    `defect_rate` (0 to 1) is the share of parts with a defect, of all kinds alike. `light` scales the lamp,
    to simulate its ageing, and may be a function of the part's index. Iterating gives parts 0, 1, 2, ...
    without end.
    """

    def __init__(
        self,
        seed: int = 0,
        size: int = 256,
        defect_rate: float = 0.1,
        *,
        colour: bool = False,
        light: float | Callable[[int], float] = 1.0,
    ) -> None:
        if seed < 0:
            raise ValueError(f"the seed of a simulated line is 0 or more, not {seed}")
        if not 64 <= size <= 4096:
            raise ValueError(f"simulated images are 64 to 4096 pixels a side, not {size}")
        if not 0 <= defect_rate <= 1:
            raise ValueError(f"defect_rate is a share from 0 to 1, not {defect_rate}")
        self.seed = seed
        self.size = size
        self.defect_rate = defect_rate
        self.colour = colour
        self._light = light if callable(light) else lambda _: light

    def __iter__(self) -> Iterator[SimulatedPart]:
        index = 0
        while True:
            yield self.part(index)
            index += 1

    def part(self, index: int, defect: str | None = None) -> SimulatedPart:
        """Make part `index`: as the defect rate decides, or with a `defect` of DEFECTS, or "good".

        The same part with and without a defect differs by the defect alone.
        """
        kind = self._kind(index, defect)
        if kind is None:
            return self._finish(index, *self._good(index), None, None)
        return self._defective(index, kind)

    def encode(self, part: SimulatedPart, format: Literal["png", "jpeg"] = "png") -> bytes:  # noqa: A002
        """Write the image as a file's bytes."""
        file, image = BytesIO(), Image.fromarray(part.image)
        if format == "png":
            image.save(file, "PNG", compress_level=1)
        else:
            image.save(file, "JPEG", quality=92)
        return file.getvalue()

    def _kind(self, index: int, wanted: str | None) -> Kind | None:
        if wanted == GOOD:
            return None
        if wanted is not None:
            for kind in KINDS:
                if kind.name == wanted:
                    return kind
            raise ValueError(f"unknown defect {wanted!r}; there are {', '.join(DEFECTS)} and {GOOD}")
        rng = np.random.default_rng([self.seed, index, 1])
        return KINDS[rng.integers(len(KINDS))] if rng.random() < self.defect_rate else None

    def _good(self, index: int) -> tuple[Canvas, Field]:
        rng = np.random.default_rng([self.seed, index, 0])
        scene = draw_scene(rng, self._light(index))
        canvas = lay_out(self.size, drawing(self.size), scene)
        return canvas, self._lit(canvas, rng)

    def _lit(self, canvas: Canvas, rng: np.random.Generator) -> Field:
        mat = belt_mat(self.size)
        left, top = rng.integers(0, len(mat) - self.size, 2)
        belt = mat[top : top + self.size, left : left + self.size]
        return radiance(canvas, rng, belt * (1 - 0.6 * shadow(_outline(self.size), self.size, canvas.scene)))

    def _defective(self, index: int, kind: Kind) -> SimulatedPart:
        """Draw the defect again, stronger, until a person would see it: a faint one makes no ground truth."""
        _, before = self._good(index)
        smallest = SMALLEST_PIXELS * (self.size / 256) ** 2
        best: tuple[float, Canvas, Field, Mask] | None = None
        for draw in range(_DRAWS):
            for strength in (1.0, 1.5, 2.25, 3.4):
                rng = np.random.default_rng([self.seed, index, 0])
                canvas = lay_out(self.size, drawing(self.size), draw_scene(rng, self._light(index)))
                mask = kind.make(canvas, np.random.default_rng([self.seed, index, 2, draw]), strength)
                if mask.sum() < smallest:
                    break
                after = self._lit(canvas, rng)
                contrast = float(np.abs(after - before)[mask].mean())
                if best is None or contrast > best[0]:
                    best = contrast, canvas, after, mask
                if contrast >= VISIBLE:
                    return self._finish(index, canvas, after, kind.name, mask)
        assert best is not None, f"no {kind.name} of {_DRAWS} fell on metal"
        return self._finish(index, *best[1:3], kind.name, best[3])

    def _finish(
        self, index: int, canvas: Canvas, light: Field, defect: str | None, mask: Mask | None
    ) -> SimulatedPart:
        rng = np.random.default_rng([self.seed, index, 3])
        image = sensed(tinted(light, canvas) if self.colour else light, canvas.scene, rng)
        return SimulatedPart(index, f"F{self.seed:03d}-{index:06d}", image, defect, mask)


@lru_cache(maxsize=8)
def _outline(size: int) -> Field:
    """The part's outline, blurred as its shadow is."""
    return np.asarray(ndimage.gaussian_filter(drawing(size).cover, 5 * size / 256), np.float32)
