"""Defects with their true masks. Each writes into the canvas and gives the pixels it touched.

`strength` (1 and up) makes the same defect stand out more; `rng` alone decides its place, size and shape.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from capture.simulated.flange import BOLT, CHAMFER, FEATURES, HUB, Feature, Field, drawing
from capture.simulated.scene import Canvas, lay_out, smooth_noise

Mask = NDArray[np.bool_]
Point = tuple[float, float]
FINE = 4  # lines are drawn at this scale and averaged down


def scratch(canvas: Canvas, rng: np.random.Generator, strength: float) -> Mask:
    """A groove drawn over the face, with a burr that catches light or a bottom that doesn't."""
    x, y = _spot_on_face(canvas, rng)
    heading, bend, length = rng.uniform(0, 2 * pi), rng.normal(0, 0.5), rng.uniform(0.3, 0.9)
    path = [(x, y)]
    for step in range(16):
        turned = heading + bend * step / 16
        path.append((path[-1][0] + length / 16 * cos(turned), path[-1][1] + length / 16 * sin(turned)))
    line = _line(canvas, path, rng.uniform(1.2, 2.2), taper=0.4)
    line *= canvas.cover > 0.9
    canvas.press(-0.013 * strength * ndimage.gaussian_filter(line, 0.7 * _scale(canvas)))
    bright = 0.22 if rng.random() < 0.6 else -0.20
    canvas.reflectance *= 1 + strength * bright * 1.6 * line
    canvas.finish *= 1 - 0.8 * line
    return np.asarray(line > 0.2)


def dent(canvas: Canvas, rng: np.random.Generator, strength: float) -> Mask:
    """A dull blow: an oval bowl with a raised lip; tool marks run on into it."""
    x, y = _spot_on_face(canvas, rng)
    angle, radius, oval = rng.uniform(0, pi), rng.uniform(0.055, 0.115), rng.uniform(0.65, 1.0)
    dx, dy = canvas.x - x, canvas.y - y
    along, across = cos(angle) * dx + sin(angle) * dy, cos(angle) * dy - sin(angle) * dx
    rho = np.hypot(along / radius, across / (radius * oval))
    bowl = np.square(np.maximum(1 - rho * rho, 0))
    lip = np.exp(-np.square((rho - 1.1) / 0.16))
    canvas.press((-0.42 * bowl + 0.05 * lip) * radius * strength)
    canvas.reflectance *= 1 - 0.12 * bowl
    canvas.finish *= 1 - 0.45 * bowl
    return np.asarray((rho < 1.05) & (canvas.cover > 0.5))


def crack(canvas: Canvas, rng: np.random.Generator, strength: float) -> Mask:
    """A dark jagged line that starts at a hole or at the rim, and may fork."""
    if rng.random() < 0.7:
        hole = FEATURES[rng.integers(6)]
        heading = rng.uniform(0, 2 * pi)
        x, y = hole.x + BOLT * cos(heading), hole.y + BOLT * sin(heading)
    else:
        around = rng.uniform(0, 2 * pi)
        heading = around + pi + rng.normal(0, 0.4)
        x, y = cos(around), sin(around)
    path = _walk(rng, x, y, heading, rng.uniform(0.22, 0.5))
    line = _line(canvas, path, rng.uniform(1.1, 1.7), taper=0.75)
    if rng.random() < 0.5:
        fork = path[len(path) // 2]
        branch = _walk(rng, *fork, heading + rng.choice((-0.7, 0.7)), rng.uniform(0.1, 0.2))
        line = np.maximum(line, _line(canvas, branch, 1.0, taper=0.7))
    line *= canvas.cover
    canvas.reflectance *= 1 - np.minimum(0.8 * strength, 0.95) * line
    canvas.finish *= 1 - np.minimum(0.8 * strength, 1) * line
    canvas.press(-0.006 * strength * line)
    return np.asarray((line > 0.15) & (canvas.cover > 0.5))


def stain(canvas: Canvas, rng: np.random.Generator, strength: float) -> Mask:
    """A film of oil or rust: darker and duller, darkest at its ragged edge."""
    x, y = _spot_on_face(canvas, rng)
    radius, oval = rng.uniform(0.10, 0.22), rng.uniform(0.6, 1.0)
    size = len(canvas.film)
    rho = np.hypot((canvas.x - x) / radius, (canvas.y - y) / (radius * oval))
    level = 1 - rho + 0.30 * smooth_noise(rng, size, 12, 12) + 0.10 * smooth_noise(rng, size, 40, 40)
    level[rho > 2.2] = -1
    alpha = np.clip(level * 7 + 0.5, 0, 1)
    edge = np.exp(-np.square((level - 0.06) / 0.07)) * alpha
    depth = rng.uniform(0.20, 0.42) * strength
    canvas.film *= 1 - np.minimum(
        (depth * (0.75 + 0.15 * smooth_noise(rng, size, 20, 20)) + 0.15 * edge) * alpha, 0.85
    )
    canvas.rust = np.maximum(canvas.rust, np.asarray(alpha * rng.uniform(0.2, 0.9), np.float32))
    return np.asarray((alpha > 0.5) & (canvas.cover > 0.5))


def missing(canvas: Canvas, rng: np.random.Generator, strength: float) -> Mask:
    """A bolt hole, the slot or the keyway was not made."""
    del strength  # it is there or not
    feature: Feature = FEATURES[rng.integers(len(FEATURES))]
    without = lay_out(len(canvas.film), drawing(len(canvas.film), feature.name), canvas.scene)
    near = np.hypot(canvas.x - feature.x, canvas.y - feature.y) < feature.reach
    changed = np.abs(without.reflectance - canvas.reflectance) > 0.04
    changed |= np.abs(without.slope_x - canvas.slope_x) + np.abs(without.slope_y - canvas.slope_y) > 0.3
    for name in ("slope_x", "slope_y", "reflectance", "cover", "finish"):
        setattr(canvas, name, getattr(without, name))
    return np.asarray(near & changed)


def chip(canvas: Canvas, rng: np.random.Generator, strength: float) -> Mask:
    """Material broken out of an edge: at the rim one sees the belt through it, at the hub only the break."""
    around, at_rim = rng.uniform(0, 2 * pi), rng.random() < 0.7
    edge = 1.0 if at_rim else HUB - CHAMFER / 2
    radius = rng.uniform(0.07, 0.14) * min(strength, 1.3)
    dx, dy = canvas.x - edge * cos(around), canvas.y - edge * sin(around)
    size = len(canvas.film)
    jagged = 1 + 0.18 * smooth_noise(rng, size, 18, 18) + 0.07 * smooth_noise(rng, size, 60, 60)
    rho = np.hypot(dx, dy) / (radius * np.maximum(jagged, 0.4))
    bite = np.clip((1 - rho) * radius / canvas.pixel + 0.5, 0, 1) * (canvas.cover > 0.5)
    gone = np.clip((0.62 - rho) * radius / canvas.pixel + 0.5, 0, 1) * at_rim
    rough = smooth_noise(rng, size, size // 3, size // 3)
    canvas.press(
        np.asarray((-0.5 * np.maximum(1 - rho, 0) + 0.02 * rough) * radius * bite * strength, np.float32)
    )
    canvas.reflectance *= 1 - np.minimum(0.45 * strength, 0.8) * bite * (0.8 + 0.3 * rough)
    canvas.finish *= 1 - bite
    canvas.cover *= 1 - gone
    return np.asarray(bite > 0.5)


@dataclass(frozen=True)
class Kind:
    name: str
    make: Callable[[Canvas, np.random.Generator, float], Mask]


KINDS = (
    Kind("scratch", scratch),
    Kind("dent", dent),
    Kind("crack", crack),
    Kind("stain", stain),
    Kind("missing", missing),
    Kind("chip", chip),
)


def _spot_on_face(canvas: Canvas, rng: np.random.Generator) -> Point:
    """Choose a point of the part that is finished metal, not a hole or an edge."""
    spots = np.flatnonzero(canvas.finish > 0.95)
    one = spots[int(rng.random() * len(spots))]
    return float(canvas.x.flat[one]), float(canvas.y.flat[one])


def _walk(rng: np.random.Generator, x: float, y: float, heading: float, length: float) -> list[Point]:
    path = [(x, y)]
    steps = 14
    for jitter in rng.normal(0, 0.55, steps):
        turned = heading + float(jitter)
        x, y = x + length / steps * cos(turned), y + length / steps * sin(turned)
        path.append((x, y))
    return path


def _line(canvas: Canvas, path: list[Point], width: float, taper: float) -> Field:
    """Draw a line, `width` pixels wide at 256 x 256, thinner by `taper` at its end: coverage 0 to 1."""
    size = len(canvas.film)
    image = Image.new("L", (size * FINE, size * FINE))
    pen = ImageDraw.Draw(image)
    points = [tuple(FINE * one for one in canvas.to_image(*point)) for point in path]
    for index, (start, end) in enumerate(pairwise(points)):
        thick = FINE * width * _scale(canvas) * (1 - taper * index / len(points))
        pen.line([*start, *end], fill=255, width=max(round(thick), 1))
        half = thick / 2
        pen.ellipse([end[0] - half, end[1] - half, end[0] + half, end[1] + half], fill=255)
    return np.asarray(np.asarray(image.reduce(FINE)) / 255, np.float32)


def _scale(canvas: Canvas) -> float:
    return len(canvas.film) / 256
