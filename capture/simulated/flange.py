"""The simulated product: a turned flange with hub, keyed bore, bolt holes, arc slot and engraved ring.

Lengths are in part units: the flange's radius is 1. Arrays are (N, N) float32 over a square of half-width
HALF.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import cos, radians, sin

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]

HALF = 1.16  # half-width of what the camera sees
OVERSAMPLING = 2  # of the drawing over the image, so that a part can be turned without stairs

BORE, HUB, ENGRAVED, BOLT_CIRCLE = 0.25, 0.46, 0.58, 0.765
CHAMFER, HUB_CHAMFER, COUNTERSINK = 0.045, 0.04, 0.026
BOLT, PIN, SLOT = 0.078, 0.032, 0.045  # radii
PIN_AT = (-0.69, 0.0)
SLOT_FROM, SLOT_TO = radians(-71), radians(-49)
WALL = 0.03  # how much of a hole's wall the lens sees


@dataclass(frozen=True)
class Feature:
    """Something that the drill or the mill can forget, where it is, and how far it reaches."""

    name: str
    x: float
    y: float
    reach: float


FEATURES = (
    *(
        Feature(f"bolt hole {number}", BOLT_CIRCLE * cos(angle), BOLT_CIRCLE * sin(angle), BOLT + 0.05)
        for number, angle in enumerate(radians(30 + 60 * one) for one in range(6))
    ),
    Feature("slot", BOLT_CIRCLE * cos(radians(-60)), BOLT_CIRCLE * sin(radians(-60)), 0.24),
    Feature("keyway", 0.0, BORE + 0.06, 0.13),
)


@dataclass(frozen=True)
class Drawing:
    """What light meets: slopes of the surface, reflectance, cover and finish.

    `cover` is 1 on the part, 0 where one looks past it or through a hole. `finish` is 1 where a face shows
    tool marks: concentric ones on the flange, straight ones on the hub.
    """

    slope_x: Field
    slope_y: Field
    reflectance: Field
    cover: Field
    finish: Field


@lru_cache(maxsize=32)
def drawing(size: int, missing: str | None = None) -> Drawing:
    """Draw the flange, OVERSAMPLING x `size` pixels a side, without the feature named by `missing`."""
    number = size * OVERSAMPLING
    line: Field = np.asarray(((np.arange(number) + 0.5) / number * 2 - 1) * HALF, np.float32)
    x, y = np.broadcast_to(line, (number, number)), np.broadcast_to(line[:, None], (number, number))
    pixel = 2 * HALF / number
    r = np.hypot(x, y)
    holes = _distance_to_holes(x, y, r, missing)
    groove = np.exp(-np.square((r - ENGRAVED) / 0.010))
    height = -np.clip(CHAMFER - (1 - r), 0, CHAMFER)
    height = height + np.clip(HUB - r, 0, HUB_CHAMFER) * 1.2
    height = height - np.clip(COUNTERSINK - holes, 0, COUNTERSINK)
    height = height - np.clip(-holes, 0, WALL) * 2.5 - 0.012 * groove
    slope_y, slope_x = np.gradient(height, pixel)

    open_ = _step(-holes, pixel)
    wall = _step(holes + WALL, pixel) * open_
    rim = 1 - _step(np.minimum(1 - CHAMFER - r, holes - COUNTERSINK), pixel)
    hub_edge = _step(HUB + 0.005 - r, pixel) - _step(HUB - HUB_CHAMFER - r, pixel)
    # Corners keep light out: at the foot of the hub and in the groove.
    foot = 0.45 * np.exp(-np.square((r - HUB - 0.008) / 0.022)) * (r > HUB)
    shade = 1 - foot - 0.55 * groove
    reflectance = (0.60 + 0.12 * rim) * (1 - open_) + 0.16 * wall
    finish = (1 - rim) * (1 - open_) * (1 - hub_edge) * (1 - groove)
    cover = _step(1 - r, pixel) * (1 - open_ + wall)
    maps = (slope_x, slope_y, reflectance * shade, cover, finish * shade)
    # The lens blurs a little, which also lets the drawing be resampled without stairs.
    return Drawing(*(ndimage.gaussian_filter(one.astype(np.float32), 0.8) for one in maps))


def _distance_to_holes(x: Field, y: Field, r: Field, missing: str | None) -> Field:
    """Signed distance to the nearest hole's edge, negative inside."""
    distance: NDArray[np.floating] = np.minimum(r - BORE, np.hypot(x - PIN_AT[0], y - PIN_AT[1]) - PIN)
    for feature in FEATURES:
        if feature.name == missing:
            continue
        if feature.name == "slot":
            angle = np.clip(np.arctan2(y, x), SLOT_FROM, SLOT_TO)
            one = np.hypot(x - BOLT_CIRCLE * np.cos(angle), y - BOLT_CIRCLE * np.sin(angle)) - SLOT
        elif feature.name == "keyway":
            one = _distance_to_box(x - feature.x, y - feature.y, 0.052, 0.06)
        else:
            one = np.hypot(x - feature.x, y - feature.y) - BOLT
        distance = np.minimum(distance, one)
    return np.asarray(distance, np.float32)


def _distance_to_box(x: Field, y: Field, half_width: float, half_height: float) -> Field:
    dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0), np.float32)


def _step(distance: NDArray[np.floating], pixel: float) -> Field:
    """1 where the distance is positive, 0 where negative, with an edge of one pixel."""
    return np.asarray(np.clip(distance / pixel + 0.5, 0, 1), np.float32)
