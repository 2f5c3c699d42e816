"""How a generated room looks from its camera: rays, the surfaces they meet, colour and depth."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets.hha import Camera
from fcn_tutorial.datasets.rooms.furnish import WINDOW, Block, Floats, Room, Skin
from fcn_tutorial.datasets.scenes.canvas import cloud_noise, white_noise

Bools = NDArray[np.bool_]

_BASELINE = 0.075  # metres from a Kinect's projector to its camera
_GRAZING = math.cos(math.radians(80))  # less than this of the projected light comes back


class View(NamedTuple):
    """What a room's rays meet, (H, W) each.

    Attributes:
        depth: float64 metres along the optical axis.
        labels: uint8.
        colour: (H, W, 3) float64, lit, 1 is white.
        missing: bool, where a Kinect measures no depth: glass, surfaces seen at a grazing angle,
            and what its projector does not see.
        down: (3,) the direction of gravity in camera coordinates.
    """

    depth: Floats
    labels: NDArray[np.uint8]
    colour: Floats
    missing: Bools
    down: Floats


def rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """The matrix that turns camera coordinates into the room's; radians, see `Room`."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    lean = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    matrix: Floats = turn @ nod @ lean
    return matrix


def look(room: Room, camera: Camera, size: tuple[int, int]) -> View:
    """Cast a ray through the centre of each pixel of an image of `size` (H, W)."""
    turned = rotation(room.yaw, room.pitch, room.roll)
    rows, columns = np.indices(size)
    rays = np.stack(
        [(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones(size)], -1
    )
    rays = rays @ turned.T
    rays[np.abs(rays) < 1e-9] = 1e-9  # parallel to a side, and never to meet it
    eye = np.array(room.eye)
    skins: list[Skin] = [room.walls, room.floor, room.ceiling]

    low, high = np.array(room.low), np.array(room.high)
    steps = (np.where(rays > 0, high, low) - eye) / rays
    axis = steps.argmin(-1)
    depth = steps.min(-1)
    skin = np.where(axis == 1, np.where(rays[..., 1] > 0, 1, 2), 0)
    spread = np.zeros((*size, 2))  # where on its rectangle, from 0 to 1, for flat things
    points = eye + depth[..., None] * rays
    for flat in room.flats:
        first, second = (a for a in range(3) if a != flat.axis)
        towards = (rays[..., flat.axis] > 0) == flat.far
        at = (points[..., [first, second]] - flat.low) / np.subtract(flat.high, flat.low)
        here = (axis == flat.axis) & towards & ((at > 0) & (at < 1)).all(-1)
        skin[here], spread[here] = len(skins), at[here]
        skins.append(flat.skin)
    for block in room.blocks:
        window = _window(block, eye, turned, camera, size)
        met, face = _meet(block, eye, rays[window])
        nearer = met < depth[window]
        depth[window] = np.where(nearer, met, depth[window])
        axis[window] = np.where(nearer, face, axis[window])
        skin[window] = np.where(nearer, len(skins), skin[window])
        skins.append(block.skin)

    points = eye + depth[..., None] * rays
    normals = -np.sign(np.take_along_axis(rays, axis[..., None], -1))[..., 0]  # along their axis
    light = _light(room, points, axis, normals)
    labels = np.array([s.label for s in skins], np.uint8)[skin]
    facing = np.abs(np.take_along_axis(rays, axis[..., None], -1)[..., 0])
    grazing = facing < _GRAZING * np.linalg.norm(rays, axis=-1)
    missing = grazing | (labels == WINDOW) | _unlit(depth, camera)
    colour = _painted(skins, skin, spread, points, axis, room.offset) * light[..., None]
    return View(depth, labels, colour, missing, turned.T @ [0.0, 1.0, 0.0])


def _window(
    block: Block, eye: Floats, turned: Floats, camera: Camera, size: tuple[int, int]
) -> tuple[slice, slice]:
    """Rows and columns that a block can cover: all of them where a corner is beside the eye."""
    corners = np.array(list(itertools.product(*zip(block.low, block.high, strict=True))))
    right, down, ahead = ((corners - eye) @ turned).T
    if ahead.min() < 0.05:
        return slice(0, size[0]), slice(0, size[1])
    columns = camera.cx + camera.fx * right / ahead
    rows = camera.cy + camera.fy * down / ahead

    def span(values: Floats, length: int) -> slice:
        first, last = math.floor(values.min()), math.ceil(values.max()) + 1
        return slice(min(max(first, 0), length), min(max(last, 0), length))

    return span(rows, size[0]), span(columns, size[1])


def _meet(block: Block, eye: Floats, rays: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """How far along each ray a block begins, infinity where it does not, and on which axis."""
    one, other = (block.low - eye) / rays, (block.high - eye) / rays
    entered = np.minimum(one, other)
    begins, ends = entered.max(-1), np.maximum(one, other).min(-1)
    met = np.where((begins < ends) & (begins > 0), begins, np.inf)
    return met, entered.argmax(-1)


def _unlit(depth: Floats, camera: Camera) -> Bools:
    """Where the projector, beside the camera, is hidden from what the camera sees.

    A pixel at column c and depth z is lit through column c − f·b/z of the projector. Where one
    further to the right is lit through a column further to the left, it stands in between.
    """
    lit_through = np.arange(depth.shape[1]) - camera.fx * _BASELINE / depth
    least = np.minimum.accumulate(lit_through[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(lit_through > least + 1e-9)


def _light(room: Room, points: Floats, axis: NDArray[np.intp], normals: Floats) -> Floats:
    """What a surface reflects of white: the ambient light, and the lamp's by its angle."""
    away = np.array(room.lamp) - points
    distance = np.linalg.norm(away, axis=-1)
    along = np.take_along_axis(away, axis[..., None], -1)[..., 0] * normals
    lamp = np.maximum(along, 0) / np.maximum(distance, 0.1) / (1 + 0.1 * distance**2)
    return np.asarray(room.ambient + room.direct * lamp)


def _painted(
    skins: list[Skin],
    skin: NDArray[np.intp],
    spread: Floats,
    points: Floats,
    axis: NDArray[np.intp],
    offset: float,
) -> Floats:
    """The colour of each pixel before light falls on it, by the pattern of its skin."""
    others = np.array([[2, 1], [0, 2], [0, 1]])[axis]  # along the surface, and across
    u, v = np.moveaxis(np.take_along_axis(points, others, -1), -1, 0)
    colour = np.array([s.colour for s in skins])[skin]
    second = np.array([s.second for s in skins])[skin]
    tone = np.ones(skin.shape)
    share = np.zeros(skin.shape)  # of the second colour
    s, t = spread[..., 0], spread[..., 1]
    seed = offset + 37.0 * skin  # another piece of the noise for each surface
    grain = cloud_noise(u * 90 + seed, v * 7 + seed) - 0.5
    soft = cloud_noise(u * 8 + seed, v * 8 + seed) - 0.5
    speck = white_noise(u * 60 + seed, v * 60) - 0.5
    rim = np.minimum(np.minimum(s, 1 - s), np.minimum(t, 1 - t))
    for pattern in {surface.pattern for surface in skins}:
        here = np.isin(skin, [k for k, surface in enumerate(skins) if surface.pattern == pattern])
        if pattern == "paint":
            tone[here] += (0.08 * soft)[here]
        elif pattern in ("wood", "cabinet", "door"):
            tone[here] += (0.35 * grain + 0.1 * soft)[here]
            tone[here & (pattern == "cabinet") & (u % 0.5 < 0.015)] -= 0.3  # between its doors
            panel = (rim > 0.08) & (rim < 0.11) | (rim < 0.02)
            tone[here & (pattern == "door") & panel] -= 0.25
        elif pattern in ("cloth", "mat"):
            tone[here] += (0.25 * speck + 0.35 * soft)[here]
            stripes = (pattern == "mat") & ((rim < 0.1) | ((s * 9).astype(int) % 3 == 1))
            share[here & stripes] = 1.0
        elif pattern == "picture":
            blotch = cloud_noise(u * 40 + seed, v * 40 + seed)
            share[here] = (np.clip(6 * (blotch - 0.5) + 0.5, 0, 1))[here]
            tone[here & (rim < 0.05)] -= 0.6
        elif pattern == "window":
            bars = (np.abs(s - 0.5) < 0.03) | (np.abs(t - 0.5) < 0.03) | (rim < 0.05)
            share[here & bars] = 1.0
            tone[here & ~bars] = (1.5 + 0.5 * soft)[here & ~bars]
    return np.asarray((colour + share[..., None] * (second - colour)) * tone[..., None])
