"""HHA: what a depth image says about a room, as three pictures that a colour network can read.

Gupta, Girshick, Arbeláez, Malik, "Learning Rich Features from RGB-D Images for Object Detection
and Segmentation", ECCV 2014, section 3: horizontal disparity, height above ground and the angle
that the surface makes with gravity. Gravity comes from the depth itself: Gupta, Arbeláez, Malik,
"Perceptual Organization and Recognition of Indoor Scenes from RGB-D Images", CVPR 2013. Scales of
the published pictures: their repository s-gupta/rcnn-depth, saveHHA.m and processDepthImage.m.

Camera coordinates, metres: x to the right, y down, z forward. Missing depth is 0 or nan on the way
in and nan on the way out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import correlate1d

__all__ = [
    "Camera",
    "Quantities",
    "angle_with_gravity",
    "encode",
    "estimate_gravity",
    "height_above_ground",
    "hha",
    "horizontal_disparity",
    "point_cloud",
    "quantities",
    "surface_normals",
]

Floats = NDArray[np.float64]

_NORMAL_RADIUS = 3  # pixels; windows of 7×7 for the picture (processDepthImage.m, patchSize)
_GRAVITY_RADIUS = 10  # windows of 21×21, smoother, for the vote on gravity
_NO_FLOOR = 0.9  # metres below the camera; a lowest point above this is no floor (same file)
_CAMERA_HEIGHT = 1.3  # metres; taken where no floor is in view (same file)
# Degrees written where no plane was fitted. saveHHA.m clips the cosine by max(-1, NaN), which in
# MATLAB is -1; the published pictures, and the mean that the networks subtract, have it so.
_UNKNOWN_ANGLE = 180.0


class Camera(NamedTuple):
    """A pinhole camera: pixel (row, column), both from 0, looks along
    ((column − cx) / fx, (row − cy) / fy, 1). All four in pixels.

    Attributes:
        fx: focal length along rows.
        fy: focal length along columns.
        cx: column where the optical axis meets the image.
        cy: its row.

    ::

        >>> Camera(fx=100, fy=100, cx=15.5, cy=11.5).cropped(top=2, left=3)
        Camera(fx=100, fy=100, cx=12.5, cy=9.5)
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def cropped(self, top: int, left: int) -> Camera:
        """The camera of an image whose first `top` rows and `left` columns are cut off."""
        return self._replace(cx=self.cx - left, cy=self.cy - top)

    def scaled(self, vertical: float, horizontal: float) -> Camera:
        """The camera of an image resized by these factors, pixel corners kept at the corners."""
        return Camera(
            self.fx * horizontal,
            self.fy * vertical,
            (self.cx + 0.5) * horizontal - 0.5,
            (self.cy + 0.5) * vertical - 0.5,
        )


class Quantities(NamedTuple):
    """The three quantities of one image, (H, W) float64 each, nan where unknown.

    Attributes:
        disparity: 1/m.
        height: m above the ground.
        angle: degrees, 0 floor, 90 wall, 180 ceiling.
        gravity: (3,) unit vector that points down, in camera coordinates.

    ::

        >>> wall = quantities(np.full((24, 32), 2.0), Camera(100, 100, 15.5, 11.5))
        >>> [float(part[12, 16].round(2)) for part in (wall.disparity, wall.angle)]
        [0.5, 90.0]
    """

    disparity: Floats
    height: Floats
    angle: Floats
    gravity: Floats


def hha(depth: ArrayLike, camera: Camera, missing: ArrayLike | None = None) -> NDArray[np.uint8]:
    """The published picture of a depth image: `encode` of its `quantities`.

    Args:
        depth: as in `quantities`, like the two below.
        camera: likewise.
        missing: likewise.

    Returns:
        (H, W, 3) uint8: disparity, height, angle.

    Raises:
        ValueError: as `quantities`.

    A wall, two metres away::

        >>> picture = hha(np.full((24, 32), 2.0), Camera(100, 100, 15.5, 11.5))
        >>> picture.shape, picture[12, 16].tolist()
        ((24, 32, 3), [155, 129, 128])
    """
    disparity, height, angle, _ = quantities(depth, camera, missing)
    return encode(disparity, height, angle)


def quantities(depth: ArrayLike, camera: Camera, missing: ArrayLike | None = None) -> Quantities:
    """Disparity, height and angle of every pixel, with the gravity they were measured against.

    Args:
        depth: (H, W) metres along z; 0, negative, nan and infinity are missing.
        camera: the camera that took it.
        missing: (H, W) bool, where `depth` was filled in: such depths keep their disparity and
            height, but no plane is fitted through them. None where nothing was filled in.

    Returns:
        `Quantities(disparity, height, angle, gravity)`: three (H, W) float64 and a (3,) unit
        vector.

    Raises:
        ValueError: for other shapes and for a camera without a positive focal length.

    A wall, two metres away; no floor is in view, which is taken to be 1.3 m below::

        >>> found = quantities(np.full((25, 31), 2.0), Camera(100, 100, 15, 12))
        >>> [float(part[12, 15].round(2)) for part in found[:3]]
        [0.5, 1.3, 90.0]
    """
    metres = _metres(depth, camera)
    fitted = metres if missing is None else np.where(_mask(missing, metres), np.nan, metres)
    gravity = estimate_gravity(surface_normals(fitted, camera, _GRAVITY_RADIUS))
    angle = angle_with_gravity(surface_normals(fitted, camera, _NORMAL_RADIUS), gravity)
    return Quantities(
        horizontal_disparity(metres),
        height_above_ground(point_cloud(metres, camera), gravity),
        np.where(np.isnan(metres), np.nan, angle),
        gravity,
    )


def encode(disparity: ArrayLike, height: ArrayLike, angle: ArrayLike) -> NDArray[np.uint8]:
    """Three quantities as one picture, scaled as the published ones.

    Channel 0 is 310 × disparity in 1/m (31,000 over z in cm), so that all nearer than 1.21 m is
    255; channel 1 the height in cm, 255 above 2.55 m; channel 2 the angle in degrees plus 38
    (128 − 90). Rounded and clipped to 0–255. nan becomes 0 in the first two channels and 218, as
    180 degrees do, in the third: the published pictures cannot tell an unknown angle from a ceiling
    (saveHHA.m). `quantities` can.

    Args:
        disparity: (H, W) in 1/m, nan where unknown.
        height: (H, W) in m above the ground, nan where unknown.
        angle: (H, W) in degrees, nan where unknown.

    Returns:
        (H, W, 3) uint8.

    Two metres away, one above the ground, upright; and unknown::

        >>> encode([[0.5, np.nan]], [[1.0, np.nan]], [[90.0, np.nan]]).tolist()
        [[[155, 100, 128], [0, 0, 218]]]
    """
    degrees = np.nan_to_num(np.asarray(angle, np.float64), nan=_UNKNOWN_ANGLE)
    channels = np.stack([310 * np.asarray(disparity), 100 * np.asarray(height), degrees + 38], -1)
    rounded = np.clip(np.floor(channels + 0.5), 0, 255)
    picture: NDArray[np.uint8] = np.nan_to_num(rounded, nan=0).astype(np.uint8)
    return picture


def horizontal_disparity(depth: ArrayLike) -> Floats:
    """What a stereo pair of one pixel times metre would measure.

    Args:
        depth: (H, W) in metres along z; what is not positive and finite is missing.

    Returns:
        (H, W) float64 in 1/m, nan where missing.

    ::

        >>> horizontal_disparity([[2.0, 4.0, 0.0]]).tolist()
        [[0.5, 0.25, nan]]
    """
    metres = _known(np.asarray(depth, np.float64))
    return 1 / metres


def height_above_ground(
    points: ArrayLike,
    gravity: ArrayLike,
    percentile: float = 0.0,
    no_floor: float = _NO_FLOOR,
    camera_height: float = _CAMERA_HEIGHT,
) -> Floats:
    """Heights of points above the ground, which is at the lowest of them.

    Args:
        points: (…, 3) metres, camera coordinates, nan where unknown.
        gravity: (3,) vector that points down.
        percentile: this share of the points, in percent, may lie below the ground; the source has
            0, a few tenths withstand outliers.
        no_floor: where the lowest point is less than this below the camera, no floor is in view
            and the ground is taken to be `camera_height` below it (both as in the source).
        camera_height: in metres.

    Returns:
        (…) float64 metres, nan where unknown.

    ::

        >>> height_above_ground([[0.0, 1.5, 3.0], [0.0, 0.5, 3.0]], gravity=(0, 1, 0)).tolist()
        [0.0, 1.0]
    """
    direction = np.asarray(gravity, np.float64)
    below = np.asarray(points, np.float64) @ (direction / np.linalg.norm(direction))
    known = below[~np.isnan(below)]
    lowest = float(np.percentile(known, 100 - percentile)) if known.size else -math.inf
    return np.asarray((lowest if lowest >= no_floor else camera_height) - below)


def angle_with_gravity(normals: ArrayLike, gravity: ArrayLike) -> Floats:
    """Angles between normals and gravity: of a floor 0, of a wall 90, of a ceiling 180 degrees.

    Args:
        normals: (…, 3) of unit length, which point into the surface, as `surface_normals` do.
        gravity: (3,), pointing down.

    Returns:
        (…) float64 degrees from 0 to 180, nan where a normal is.

    ::

        >>> angle_with_gravity([[0, 1, 0], [0, 0, 1], [0, -1, 0]], gravity=(0, 1, 0)).tolist()
        [0.0, 90.0, 180.0]
    """
    direction = np.asarray(gravity, np.float64)
    cosine = np.asarray(normals, np.float64) @ (direction / np.linalg.norm(direction))
    return np.asarray(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def point_cloud(depth: ArrayLike, camera: Camera) -> Floats:
    """The points that a depth image shows, in camera coordinates.

    Args:
        depth: (H, W) metres along z; what is not positive and finite is missing.
        camera: the one that took it.

    Returns:
        (H, W, 3) float64 metres, nan where missing.

    Raises:
        ValueError: as `quantities`.

    ::

        >>> point_cloud([[2.0, 2.0, 0.0]], Camera(fx=1, fy=1, cx=0, cy=0)).tolist()
        [[[0.0, 0.0, 2.0], [2.0, 0.0, 2.0], [nan, nan, nan]]]
    """
    metres = _metres(depth, camera)
    right, down = _rays(metres.shape, camera)
    return np.stack([right * metres, down * metres, metres], -1)


def surface_normals(
    depth: ArrayLike, camera: Camera, radius: int = _NORMAL_RADIUS, missing: ArrayLike | None = None
) -> Floats:
    """Normals of planes fitted to windows of a depth image.

    In a picture of a plane the *inverse* depth
    is an affine function of row and column, so one linear least-squares fit a window gives the
    plane exactly. A window across a depth edge gives a plane of neither side.

    Args:
        depth: (H, W) metres along z; what is not positive and finite is missing.
        camera: the one that took it.
        radius: of the windows, which have (2·radius + 1)² pixels.
        missing: (H, W) bool, depths that do not take part; None where all do.

    Returns:
        (H, W, 3) float64, unit vectors that point away from the camera, into the surface; nan where
        a window has no three pixels that span a plane.

    Raises:
        ValueError: for a radius below 1 and as `quantities`.

    A wall across the view::

        >>> normals = surface_normals(np.full((24, 32), 2.0), Camera(100, 100, 15.5, 11.5))
        >>> [round(abs(float(x)), 6) for x in normals[12, 16]]
        [0.0, 0.0, 1.0]
    """
    if radius < 1:
        raise ValueError(f"radius={radius}: a plane needs a window of radius 1 or more")
    metres = _metres(depth, camera)
    if missing is not None:
        metres = np.where(_mask(missing, metres), np.nan, metres)
    per_row, per_column, inverse = _inverse_depth_planes(metres, radius)
    right, down = _rays(metres.shape, camera)
    # inverse depth = n · ray / distance, hence n, up to its length, from the two slopes. Inverse
    # depths are positive, so at the pixels of the window this n points away from the camera.
    nx, ny = per_column * camera.fx, per_row * camera.fy
    normals = np.stack([nx, ny, inverse - nx * right - ny * down], -1)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    length[length == 0] = np.nan
    unit: Floats = normals / length
    return unit


def estimate_gravity(
    normals: ArrayLike,
    start: Sequence[float] = (0.0, 1.0, 0.0),
    thresholds: Sequence[float] = (45.0, 15.0),
    iterations: Sequence[int] = (5, 5),
) -> Floats:
    """The direction down, by a vote of the normals of floors and walls.

    Alternates: normals within the threshold of the direction or its opposite are floors and
    ceilings, those within it of the right angle are walls; then the direction is moved to be most
    parallel to the first and most perpendicular to the second (the smallest eigenvector of the
    difference of their scatter matrices). A camera tilted by more than the first threshold, 45
    degrees, is beyond the method: it takes floors for walls.

    Where walls of one direction leave a circle of equally good answers, this takes the one nearest
    to the previous estimate; the source leaves it to the eigensolver.

    Args:
        normals: (…, 3) unit vectors, nan where unknown.
        start: the first estimate, in camera coordinates.
        thresholds: in degrees, one a round.
        iterations: how often each is gone through.

    Returns:
        (3,) float64 of unit length; `start` where no normal is known.

    A floor, seen by a camera that looks down by 36.9 degrees::

        >>> [round(abs(float(x)), 3) for x in estimate_gravity([[0.0, 0.8, 0.6]])]
        [0.0, 0.8, 0.6]
    """
    down = np.asarray(start, np.float64) / np.linalg.norm(start)
    votes = np.asarray(normals, np.float64).reshape(-1, 3)
    votes = votes[~np.isnan(votes).any(1)]
    if not len(votes):
        return down
    for degrees, count in zip(thresholds, iterations, strict=True):
        for _ in range(count):
            down = _improved(votes, down, math.radians(degrees))
    return down


def _improved(votes: Floats, down: Floats, threshold: float) -> Floats:
    cosine = np.abs(votes @ down)
    level = votes[cosine > math.cos(threshold)]
    upright = votes[cosine < math.sin(threshold)]
    scatter = (upright.T @ upright - level.T @ level) / len(votes)
    # A hundredth of a vote for the previous answer: settles ties, and moves no other fixed point.
    _, vectors = np.linalg.eigh(scatter - 0.01 * np.outer(down, down))
    best: Floats = vectors[:, 0]
    return best if best @ down >= 0 else -best


def _inverse_depth_planes(metres: Floats, radius: int) -> tuple[Floats, Floats, Floats]:
    """Least squares in every window: inverse depth ≈ slope down, slope right, value at its centre.

    Sums over windows of monomials in the offsets from the centre, so that nothing large cancels.
    """
    known = (~np.isnan(metres)).astype(np.float64)
    inverse = np.where(known > 0, 1 / metres, 0.0)

    offsets = np.arange(-radius, radius + 1, dtype=np.float64)

    def window_sum(values: Floats, row_power: int, column_power: int) -> Floats:
        along = correlate1d(values, offsets**column_power, axis=1, mode="constant")
        summed: Floats = correlate1d(along, offsets**row_power, axis=0, mode="constant")
        return summed

    n, i, j = (window_sum(known, *powers) for powers in ((0, 0), (1, 0), (0, 1)))
    ii, ij, jj = (window_sum(known, *powers) for powers in ((2, 0), (1, 1), (0, 2)))
    w, iw, jw = (window_sum(inverse, *powers) for powers in ((0, 0), (1, 0), (0, 1)))
    # n² times the covariances; those of the offsets are whole numbers, so a zero is exact.
    cii, cij, cjj = n * ii - i * i, n * ij - i * j, n * jj - j * j
    ciw, cjw = n * iw - i * w, n * jw - j * w
    determinant = cii * cjj - cij * cij
    determinant[determinant <= 0] = np.nan
    per_row = (cjj * ciw - cij * cjw) / determinant
    per_column = (cii * cjw - cij * ciw) / determinant
    with np.errstate(invalid="ignore", divide="ignore"):
        return per_row, per_column, (w - per_row * i - per_column * j) / n


def _rays(shape: tuple[int, ...], camera: Camera) -> tuple[Floats, Floats]:
    right = (np.arange(shape[1]) - camera.cx) / camera.fx
    down = (np.arange(shape[0]) - camera.cy) / camera.fy
    return np.broadcast_to(right, shape), np.broadcast_to(down[:, None], shape)


def _metres(depth: ArrayLike, camera: Camera) -> Floats:
    metres = np.asarray(depth, np.float64)
    if metres.ndim != 2:
        raise ValueError(f"depth of shape {metres.shape}: expected (H, W), in metres")
    if not (camera.fx > 0 and camera.fy > 0):
        raise ValueError(f"camera={camera!r}: focal lengths must be positive, in pixels")
    return _known(metres)


def _known(metres: Floats) -> Floats:
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.nan)


def _mask(missing: ArrayLike, metres: Floats) -> NDArray[Any]:
    mask = np.asarray(missing, bool)
    if mask.shape != metres.shape:
        raise ValueError(f"missing of shape {mask.shape} for depth of shape {metres.shape}")
    return mask
