"""A pinhole camera, upright panels and a depth buffer: the drawing half of the procedural scenes.

Everything that stands in a scene is an upright rectangle ("panel"). The camera never rolls or
pitches, so along a panel the depth depends on the image column alone: a panel costs one row of
divisions and one outer product, which is what makes rendering in NumPy quick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Colours = NDArray[np.floating]  # cast to float32 when painted
Bools = NDArray[np.bool_]
Point = tuple[float, float]

NEAR = 0.6  # metres; panels are cut here, closer than anything a street scene places
_TILE = 256  # side of the noise tables; a power of two, so that wrapping is a bit mask


@dataclass(frozen=True)
class Camera:
    """Pinhole camera looking along the street; lengths in metres, image quantities in pixels.

    World axes: X to the right across the street, Z along it, heights above the ground.
    """

    size: tuple[int, int]  # (H, W)
    focal: float
    horizon: float  # row of the vanishing line of the ground
    height: float
    x: float  # position across the street; Z is 0
    yaw: float  # radians, positive looks to the right

    @property
    def centre(self) -> float:
        """Column of the optical axis."""
        return self.size[1] / 2

    def to_camera(self, point: Point) -> Point:
        """World (X, Z) to camera (x right, z depth)."""
        dx, dz, c, s = point[0] - self.x, point[1], math.cos(self.yaw), math.sin(self.yaw)
        return dx * c - dz * s, dx * s + dz * c


@dataclass(frozen=True)
class Patch:
    """The image window of a panel: `along` (1, w) and `up` (h, w) in metres, `depth` (1, w)."""

    rows: slice
    cols: slice
    along: Floats
    up: Floats
    depth: Floats
    pixel: Floats  # (1, w) metres that one pixel spans at that depth
    inside: Bools  # (h, w) pixels between the bottom and the top edge


class Canvas:
    """Colour (H, W, 3) in linear units of one, label (H, W), and depth (H, W) in metres."""

    def __init__(self, size: tuple[int, int], label: int) -> None:
        self.colour = np.zeros((*size, 3), np.float32)
        self.label = np.full(size, label, np.uint8)
        self.depth = np.full(size, np.inf, np.float32)

    def visible(self, patch: Patch) -> Bools:
        """Where nothing drawn so far hides the panel, (h, w)."""
        return (patch.depth < self.depth[patch.rows, patch.cols]) & patch.inside

    def paint(self, patch: Patch, colour: Colours, label: int, shape: Bools | None = None) -> None:
        """Draw `colour` (broadcastable to (h, w, 3)) where `shape` holds and nothing is nearer."""
        visible = self.visible(patch)
        if shape is not None:
            visible &= shape
        np.copyto(self.colour[patch.rows, patch.cols], colour, where=visible[..., None])
        np.copyto(self.label[patch.rows, patch.cols], np.uint8(label), where=visible)
        np.copyto(self.depth[patch.rows, patch.cols], patch.depth, where=visible)


def panel(camera: Camera, start: Point, end: Point, bottom: float, top: float) -> Patch | None:
    """The window of an upright rectangle between two world points, or None where it is unseen."""
    return _panel(camera, camera.to_camera(start), camera.to_camera(end), bottom, top)


def billboard(
    camera: Camera, point: Point, width: float, bottom: float, top: float, min_pixels: float = 0.0
) -> Patch | None:
    """A rectangle at a world point that faces the camera; at least `min_pixels` wide."""
    x, z = camera.to_camera(point)
    if z < NEAR:
        return None
    half = max(width, min_pixels * z / camera.focal) / 2
    return _panel(camera, (x - half, z), (x + half, z), bottom, top)


def _panel(camera: Camera, start: Point, end: Point, bottom: float, top: float) -> Patch | None:
    (x0, z0), (x1, z1) = start, end
    length = math.hypot(x1 - x0, z1 - z0)
    if max(z0, z1) < NEAR or length == 0.0:
        return None
    step_x, step_z = (x1 - x0) / length, (z1 - z0) / length

    def column(x: float, z: float) -> float:
        if z < NEAR:  # slide along the panel to where it crosses the near plane
            x, z = x + (NEAR - z) / step_z * step_x, NEAR
        return camera.centre + camera.focal * x / z

    height, width = camera.size
    left, right = sorted((column(x0, z0), column(x1, z1)))
    # A pixel belongs to the panel when its centre, at + 1/2, does.
    first, last = max(0, math.ceil(left - 0.5)), min(width, math.ceil(right - 0.5))
    if first >= last:
        return None
    slope = (np.arange(first, last) + 0.5 - camera.centre) / camera.focal
    along = (slope * z0 - x0) / (step_x - slope * step_z)
    depth = z0 + along * step_z
    pixel = depth / camera.focal
    near, far = float(pixel[0]), float(pixel[-1])  # depth falls or rises all along the panel
    above, below = camera.height - top, camera.height - bottom
    upper = max(0, math.floor(camera.horizon + min(above / near, above / far)))
    lower = min(height, math.ceil(camera.horizon + max(below / near, below / far)))
    if upper >= lower:
        return None
    rows = np.arange(upper, lower) + 0.5 - camera.horizon
    up = camera.height - rows[:, None] * pixel
    return Patch(
        slice(upper, lower),
        slice(first, last),
        along.astype(np.float32)[None],
        up.astype(np.float32),
        depth.astype(np.float32)[None],
        pixel.astype(np.float32)[None],
        (up >= bottom) & (up < top),
    )


@cache
def _tables() -> tuple[Floats, Floats]:
    """White and cloudy noise, uniform-ish in [0, 1], (256 * 256,) each, wrapping at the edges."""
    rng = np.random.default_rng(20150607)
    white = rng.random((_TILE, _TILE), dtype=np.float32)
    cloudy = np.zeros((_TILE, _TILE), np.float32)
    for octave in range(2, 8):
        cells = 2**octave
        grid = rng.random((cells, cells), dtype=np.float32)
        at = np.arange(_TILE, dtype=np.float32) * cells / _TILE
        low = at.astype(np.int64)
        mix = at - low
        mix = mix * mix * (3 - 2 * mix)
        high = (low + 1) % cells
        rows = grid[low] * (1 - mix)[:, None] + grid[high] * mix[:, None]
        cloudy += (rows[:, low] * (1 - mix) + rows[:, high] * mix) * np.float32(0.7**octave)
    cloudy -= cloudy.min()
    return white.ravel(), (cloudy / cloudy.max()).ravel()


def white_noise(x: NDArray[np.floating], y: NDArray[np.floating]) -> Floats:
    """One uniform value in [0, 1) for every cell of the unit grid, the same each time."""
    return _look_up(_tables()[0], x, y)


def cloud_noise(x: NDArray[np.floating], y: NDArray[np.floating]) -> Floats:
    """Smooth noise in [0, 1] with features from 2 to 64 units, repeating every 256."""
    return _look_up(_tables()[1], x, y)


def _look_up(table: Floats, x: NDArray[np.floating], y: NDArray[np.floating]) -> Floats:
    column = np.floor(x).astype(np.int32) & (_TILE - 1)
    row = np.floor(y).astype(np.int32) & (_TILE - 1)
    values: Floats = table.take((row << 8) | column)
    return values
