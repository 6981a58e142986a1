"""Lamp, metal and camera: from a laid-out part to what the sensor reads."""

from functools import lru_cache
from math import cos, hypot, pi, sin

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from capture.simulated.flange import HUB, Field
from capture.simulated.scene import Canvas, Scene, smooth_noise

TABLE, REACH = 4096, 1.8  # tool marks are tabulated over radii from 0 to REACH, past the image's corners
METAL, BELT, RUST = (1.0, 0.985, 0.955), (0.86, 1.0, 1.10), (1.0, 0.74, 0.46)  # red, green, blue


def radiance(canvas: Canvas, rng: np.random.Generator, belt: Field) -> Field:
    """Light the part: (size, size), 0 to about 1, before the sensor; `belt` is what lies under it.

    A turned face shines most where its marks run across the light (Kajiya and Kay 1989), which gives the
    bow tie that turned metal shows; the rest is diffuse with a highlight on edges.
    """
    scene, size = canvas.scene, len(belt)
    c, s = cos(scene.turn), sin(scene.turn)
    r = np.hypot(canvas.x, canvas.y) + 1e-6
    radial_x, radial_y = canvas.x / r, canvas.y / r
    on_hub = r < HUB
    turned, ground = canvas.finish * ~on_hub, canvas.finish * on_hub
    patches, streaks = smooth_noise(rng, size, 7, 7), smooth_noise(rng, size, 10, size // 2) * ground
    marks = _tool_marks(rng, canvas.pixel)[(r * ((TABLE - 1) / REACH)).astype(np.int32)]
    marks *= (0.85 + 0.25 * patches) * turned

    depth = 0.075 * scene.roughness
    slope_x = canvas.slope_x + depth * marks * radial_x
    slope_y = canvas.slope_y + depth * marks * radial_y + 0.05 * streaks
    right, down = c * slope_x - s * slope_y, s * slope_x + c * slope_y
    lamp_x, lamp_y = cos(scene.light_angle), sin(scene.light_angle)
    tilt = -(right * lamp_x + down * lamp_y)
    length = np.sqrt(1 + right * right + down * down)
    facing = np.maximum(0.78 + 0.62 * tilt, 0) / length
    towards = np.maximum(tilt, 0) / length
    # The half-way vector between lamp and lens leans differently over the image, since the lamp is near.
    half_x = 0.33 * lamp_x - 0.10 * (c * canvas.x - s * canvas.y)
    half_y = 0.33 * lamp_y - 0.10 * (s * canvas.x + c * canvas.y)
    along_marks = half_y * (c * radial_x - s * radial_y) - half_x * (s * radial_x + c * radial_y)
    square = np.square(along_marks)
    bow = (0.20 * np.exp(-56 * square) + 0.10 * np.exp(-5 * square)) * turned
    glint = np.exp(-6 * ((right + 0.33 * lamp_x) ** 2 + (down + 0.33 * lamp_y) ** 2))
    metal = canvas.reflectance * (0.24 + 0.52 * facing + 0.30 * towards + 0.36 * glint)
    metal *= 1 + 0.03 * patches + 0.02 * marks + 0.05 * streaks
    metal += scene.shine * bow * (1 + 0.18 * marks)
    metal *= canvas.film
    out = metal * canvas.cover + belt * (1 - canvas.cover)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    fall_off = scene.gradient / hypot(1, 1)
    out *= scene.light * (1 + fall_off * (ramp[None, :] * lamp_x + ramp[:, None] * lamp_y))
    return np.asarray(out, np.float32)


def tinted(light: Field, canvas: Canvas) -> Field:
    """Give the colours of metal, belt and rust to a grey radiance: (size, size, 3)."""
    cover, rust = canvas.cover[..., None], canvas.rust[..., None]
    metal = np.array(METAL, np.float32) * (1 - rust) + np.array(RUST, np.float32) * rust
    return np.asarray(
        light[..., None] * (metal * cover + np.array(BELT, np.float32) * (1 - cover)), np.float32
    )


def sensed(light: Field, scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Expose the sensor: shot noise grows with the root of the light, then 8 bits."""
    grain = scene.noise * np.sqrt(np.maximum(light, 0.02) * 2)
    seen = np.clip(light + grain * rng.standard_normal(light.shape, np.float32), 0, 1)
    return np.asarray(seen * 255 + 0.5, np.uint8)


@lru_cache(maxsize=8)
def belt_mat(size: int) -> Field:
    """A rubber belt with its grain, (4 size, 4 size); parts lie anywhere on it."""
    rng = np.random.default_rng(20)
    number, scale = 4 * size, size / 256
    fine = ndimage.gaussian_filter(
        rng.standard_normal((number, number), np.float32), 0.9 * scale, mode="wrap"
    )
    coarse = ndimage.gaussian_filter(
        rng.standard_normal((number, number), np.float32), 6 * scale, mode="wrap"
    )
    return np.asarray(0.13 + 0.014 * fine / fine.std() + 0.006 * coarse / coarse.std(), np.float32)


def _tool_marks(rng: np.random.Generator, pixel: float) -> Field:
    """Slope of concentric tool marks by radius, (TABLE,), standard deviation near 1."""
    radius = np.linspace(0, REACH, TABLE, dtype=np.float32)
    feed = 3.4 * max(pixel, 0.009) * (1 + rng.normal(0, 0.02))
    marks = 0.8 * np.sin(2 * pi * radius / feed + rng.uniform(0, 2 * pi))
    for grain in (2.0, 5.0):  # in pixels
        knots = rng.standard_normal(int(REACH / (grain * pixel)) + 2)
        marks = marks + 0.7 * np.interp(radius, np.linspace(0, REACH, len(knots)), knots)
    return np.asarray(marks, np.float32)
