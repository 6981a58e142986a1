"""What varies from part to part though the part is good, and the part laid under the camera that way."""

from dataclasses import dataclass, replace
from math import cos, radians, sin

import numpy as np
from PIL import Image

from capture.simulated.flange import HALF, OVERSAMPLING, Drawing, Field


@dataclass(frozen=True)
class Scene:
    """One part under the camera: angles in radians, shifts in part units, the rest relative to 1."""

    turn: float
    shift_x: float
    shift_y: float
    light_angle: float
    light: float
    gradient: float
    shine: float
    roughness: float
    noise: float


@dataclass
class Canvas:
    """Everything of one part in image coordinates, (size, size) float32 each; defects write into it.

    `x` and `y` are the part coordinates of each pixel; slopes are along the part's axes. `film` is what a
    stain lets through (1 = clean), `rust` how brown it is (0 to 1).
    """

    scene: Scene
    pixel: float
    x: Field
    y: Field
    slope_x: Field
    slope_y: Field
    reflectance: Field
    cover: Field
    finish: Field
    film: Field
    rust: Field

    def press(self, height: Field) -> None:
        """Add a relief, in part units over image coordinates, to the surface."""
        down, right = np.gradient(height, self.pixel)
        c, s = cos(self.scene.turn), sin(self.scene.turn)
        self.slope_x += c * right + s * down
        self.slope_y += c * down - s * right

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """Give the pixel, right and down, of a point of the part."""
        c, s = cos(self.scene.turn), sin(self.scene.turn)
        right, down = c * x - s * y + self.scene.shift_x, s * x + c * y + self.scene.shift_y
        return (right + HALF) / self.pixel, (down + HALF) / self.pixel


def draw_scene(rng: np.random.Generator, light: float) -> Scene:
    """Draw a part's circumstances: a fixture with some play, a lamp that flickers a little."""
    return Scene(
        turn=radians(rng.uniform(-3.0, 3.0)),
        shift_x=rng.uniform(-0.018, 0.018),
        shift_y=rng.uniform(-0.018, 0.018),
        light_angle=radians(-128 + rng.normal(0, 2.5)),
        light=light * (1 + rng.normal(0, 0.025)),
        gradient=0.14 + rng.normal(0, 0.02),
        shine=rng.uniform(0.9, 1.1),
        roughness=rng.uniform(0.85, 1.15),
        noise=rng.uniform(0.007, 0.011),
    )


def lay_out(size: int, drawing: Drawing, scene: Scene) -> Canvas:
    """Put the drawn part under the camera, shifted and turned."""
    c, s = cos(scene.turn), sin(scene.turn)
    line = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * HALF
    right, down = line[None, :] - scene.shift_x, line[:, None] - scene.shift_y
    return Canvas(
        scene=scene,
        pixel=2 * HALF / size,
        x=np.asarray(c * right + s * down, np.float32),
        y=np.asarray(c * down - s * right, np.float32),
        slope_x=warp(drawing.slope_x, size, scene),
        slope_y=warp(drawing.slope_y, size, scene),
        reflectance=warp(drawing.reflectance, size, scene),
        cover=warp(drawing.cover, size, scene),
        finish=warp(drawing.finish, size, scene),
        film=np.ones((size, size), np.float32),
        rust=np.zeros((size, size), np.float32),
    )


def warp(field: Field, size: int, scene: Scene) -> Field:
    """Resample a field of the drawing, (OVERSAMPLING x size) squared, into the image."""
    c, s, middle, k = cos(scene.turn), sin(scene.turn), size / 2, OVERSAMPLING
    right, down = middle * (1 + scene.shift_x / HALF), middle * (1 + scene.shift_y / HALF)
    to_drawing = (
        k * c, k * s, k * (middle - c * right - s * down),
        -k * s, k * c, k * (middle + s * right - c * down),
    )  # fmt: skip
    image = Image.fromarray(field).transform(
        (size, size), Image.Transform.AFFINE, to_drawing, Image.Resampling.BILINEAR
    )
    return np.array(image, np.float32)


def shadow(outline: Field, size: int, scene: Scene) -> Field:
    """Give the part's shadow on the belt, 0 to 1, from its blurred outline."""
    reach = 0.055
    away_x, away_y = reach * cos(scene.light_angle), reach * sin(scene.light_angle)
    return warp(outline, size, replace(scene, shift_x=scene.shift_x - away_x, shift_y=scene.shift_y - away_y))


def smooth_noise(rng: np.random.Generator, size: int, cells_x: int, cells_y: int) -> Field:
    """Noise (size, size) of standard deviation near 1 in cells_x by cells_y grains."""
    coarse = Image.fromarray(rng.standard_normal((cells_y, cells_x), np.float32))
    return np.array(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
