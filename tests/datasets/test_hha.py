"""HHA on rooms whose planes are known, ray by ray."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import binary_erosion

from fcn_tutorial.datasets import NYUDv2
from fcn_tutorial.datasets import hha as module
from fcn_tutorial.datasets.hha import Camera

CAMERA = Camera(130.0, 128.0, 79.2, 61.7)
SHAPE = (120, 160)


@functools.cache
def rays(camera: Camera = CAMERA, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(H, W, 3), one pixel at a time."""
    out = np.ones((*shape, 3))
    for row in range(shape[0]):
        for column in range(shape[1]):
            out[row, column, 0] = (column - camera.cx) / camera.fx
            out[row, column, 1] = (row - camera.cy) / camera.fy
    return out


def axes(pitch: float, roll: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors right, down and forward of the room, in the coordinates of a tilted camera.

    A positive pitch looks down.
    """
    p, r = np.radians([pitch, roll])
    tilt = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    turn = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    columns = (turn @ tilt).T
    return columns[0], columns[1], columns[2]


def plane_depth(normal: np.ndarray, distance: float) -> np.ndarray:
    """z where n · P = distance, 0 where the ray misses it."""
    along = rays() @ normal
    with np.errstate(divide="ignore"):
        depth = distance / along
    return np.where((along > 1e-3) & (depth < 50), depth, 0)


def room_depth(pitch: float, roll: float, height: float = 1.4) -> np.ndarray:
    """A floor, a wall in front at 3.5 m, walls on both sides at 1.8 m and a ceiling at 1.1 m up."""
    right, down, forward = axes(pitch, roll)
    hits = [
        plane_depth(n, d)
        for n, d in ((down, height), (forward, 3.5), (right, 1.8), (-right, 1.8), (-down, 1.1))
    ]
    return np.min([np.where(hit > 0, hit, np.inf) for hit in hits], 0)


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


@settings(deadline=None, max_examples=25)
@given(
    direction=st.tuples(*[st.floats(-1, 1)] * 2, st.floats(0.3, 1)),
    distance=st.floats(0.5, 8),
    radius=st.integers(1, 10),
)
def test_normals_of_a_plane_are_exact(
    direction: tuple[float, float, float], distance: float, radius: int
) -> None:
    normal = np.array(direction) / np.linalg.norm(direction)
    depth = plane_depth(normal, distance)
    found = module.surface_normals(depth, CAMERA, radius)
    seen = depth > 0
    assert np.isfinite(found[seen]).mean() > 0.9  # single pixels at the rim fit no plane
    known = np.isfinite(found).all(-1)
    # 1e-6 asked for; rounding of 1/z reaches the normal amplified by focal length and radius.
    np.testing.assert_allclose(found[known] - normal, 0, atol=1e-6)


def test_depths_marked_missing_do_not_bend_the_plane() -> None:
    _, down, _ = axes(20, 5)
    depth = plane_depth(down, 1.5)
    missing = np.random.default_rng(0).random(SHAPE) < 0.4
    filled = np.where(missing, 2.2, depth)
    found = module.surface_normals(filled, CAMERA, 3, missing)
    known = np.isfinite(found).all(-1)
    assert known.mean() > 0.5
    np.testing.assert_allclose(found[known] - down, 0, atol=1e-6)


@pytest.mark.parametrize(("pitch", "roll"), [(12, 0), (25, -7), (40, 10)])
def test_a_floor_has_height_zero_and_angle_zero(pitch: float, roll: float) -> None:
    _, down, _ = axes(pitch, roll)
    depth = plane_depth(down, 1.3)
    found = module.quantities(depth, CAMERA)
    seen = depth > 0
    assert seen.mean() > 0.5
    assert degrees_between(found.gravity, down) < 1e-4
    np.testing.assert_allclose(found.height[seen], 0, atol=1e-4)
    angle = found.angle[seen & np.isfinite(found.angle)]
    np.testing.assert_allclose(angle, 0, atol=1e-3)  # arccos near 1 loses half the digits
    assert np.isnan(found.height[~seen]).all() and np.isnan(found.angle[~seen]).all()
    np.testing.assert_allclose(found.disparity[seen], 1 / depth[seen], rtol=1e-12)


def test_a_ceiling_has_angle_180_and_a_wall_90() -> None:
    right, down, forward = axes(0, 0)
    wall = module.quantities(plane_depth((forward + 0.4 * right) / np.hypot(1, 0.4), 3), CAMERA)
    np.testing.assert_allclose(wall.angle, 90, atol=1e-4)
    normals = module.surface_normals(plane_depth(-down, 1), CAMERA)
    angle = module.angle_with_gravity(normals, down)
    np.testing.assert_allclose(angle[np.isfinite(angle)], 180, atol=1e-3)


def test_a_wall_alone_leaves_the_camera_level() -> None:
    """Its normal says nothing of the turn about itself: the start decides, noise must not."""
    noise = np.random.default_rng(0).normal(1, 0.003, SHAPE)
    found = module.quantities(plane_depth(np.array([0.0, 0, 1]), 2.5) * noise, CAMERA)
    assert degrees_between(found.gravity, np.array([0, 1, 0])) < 1


@pytest.mark.parametrize(("side", "distance"), [(0.3, 1.6), (0.6, 2.0)])
def test_a_box_on_the_floor_has_its_height(side: float, distance: float) -> None:
    right, down, forward = axes(30, 0)
    height, directions = 1.5, rays()
    floor = plane_depth(down, height)
    top = plane_depth(down, height - side)
    points = directions * top[..., None]
    on_top = (
        (top > 0)
        & (np.abs(points @ right) < side)
        & (np.abs(points @ forward - distance - side / 2) < side / 2)
    )
    front = plane_depth(forward, distance)
    points = directions * front[..., None]
    below = height - points @ down
    on_front = (np.abs(points @ right) < side) & (below > 0) & (below < side) & ~on_top
    depth = np.where(on_top, top, np.where(on_front, front, floor))
    assert on_top.sum() > 100 and on_front.sum() > 100
    found = module.quantities(depth, CAMERA)
    assert degrees_between(found.gravity, down) < 1
    # A degree of tilt at three metres is five centimetres.
    np.testing.assert_allclose(found.height[on_top], side, atol=0.05)
    assert np.median(found.height[on_front]) == pytest.approx(side / 2, abs=0.08)
    window = np.ones((7, 7))  # inside, no plane is fitted across an edge
    np.testing.assert_allclose(found.angle[binary_erosion(on_top, window)], 0, atol=1)
    np.testing.assert_allclose(found.angle[binary_erosion(on_front, window)], 90, atol=1)


@pytest.mark.parametrize("pitch", [-30, -12, 0, 20, 38])
@pytest.mark.parametrize("roll", [-15, 0, 8])
def test_gravity_is_found_within_a_degree_in_noise_with_holes(pitch: float, roll: float) -> None:
    rng = np.random.default_rng((pitch + 90, roll + 90))
    depth = room_depth(pitch, roll)
    # Noise of a Kinect: Nguyen, Izadi, Lovell 2012, equation 5.
    depth = depth + rng.normal(0, 0.0012 + 0.0019 * (depth - 0.4) ** 2)
    depth[rng.random(SHAPE) < 0.1] = 0
    depth[20:50, 90:130] = np.nan
    found = module.quantities(depth, CAMERA)
    assert degrees_between(found.gravity, axes(pitch, roll)[1]) < 1


def test_a_sloping_ceiling_has_no_vote_in_the_end() -> None:
    """The wide threshold takes it for a level surface, the narrow one that follows does not."""
    right, down, forward = axes(15, 0)
    slope = -down * np.cos(np.radians(30)) + right * np.sin(np.radians(30))
    hits = [plane_depth(n, d) for n, d in ((down, 1.4), (slope, 0.6), (forward, 3.5))]
    depth = np.min([np.where(hit > 0, hit, np.inf) for hit in hits], 0)
    normals = module.surface_normals(depth, CAMERA, 3)
    assert degrees_between(module.estimate_gravity(normals), down) < 1
    wide = module.estimate_gravity(normals, thresholds=(45,), iterations=(10,))
    assert degrees_between(wide, down) > 2


def test_a_camera_tilted_beyond_the_first_threshold_is_beyond_the_method() -> None:
    """As the docstring says: seen from above at 60 degrees, a floor counts as a wall."""
    _, down, _ = axes(60, 0)
    gravity = module.quantities(plane_depth(down, 1.5), CAMERA).gravity
    assert degrees_between(gravity, down) > 45


def test_without_a_floor_in_view_the_camera_is_taken_to_be_at_130_cm() -> None:
    points = np.array([[0.0, -0.5, 2], [0, 0.3, 2]])
    height = module.height_above_ground(points, [0, 1, 0])
    np.testing.assert_allclose(height, [1.8, 1.0])
    low = np.concatenate([points, [[0, 1.1, 2]]])
    np.testing.assert_allclose(module.height_above_ground(low, [0, 1, 0]), [1.6, 0.8, 0])


def test_a_percentile_keeps_outliers_from_being_the_ground() -> None:
    below = np.r_[np.full(995, 1.5), np.full(5, 4.0)]
    points = np.stack([np.zeros(1000), below, np.ones(1000)], -1)
    assert module.height_above_ground(points, [0, 1, 0])[0] == pytest.approx(2.5)
    assert module.height_above_ground(points, [0, 2, 0], percentile=1)[0] == pytest.approx(0)


def test_the_picture_has_the_published_scales() -> None:
    # Computed by hand from saveHHA.m: 31000/z in cm, height in cm, angle + 128 − 90; saturating.
    z = np.array([[0.5, 1.0, 2.0, 4.0, np.nan]])
    height = np.array([[0.0, 0.256, 1.0, 3.0, np.nan]])
    angle = np.array([[0.0, 90.0, 180.0, 45.4, np.nan]])
    expected = [[255, 255, 155, 78, 0], [0, 26, 100, 255, 0], [38, 128, 218, 83, 218]]
    picture = module.encode(1 / z, height, angle)
    assert picture.dtype == np.uint8 and picture.shape == (1, 5, 3)
    assert picture[0].T.tolist() == expected


def test_the_picture_of_a_room_is_its_quantities() -> None:
    depth = room_depth(15, 0)
    found = module.quantities(depth, CAMERA)
    picture = module.hha(depth.astype(np.float32), CAMERA)
    again = module.encode(found.disparity, found.height, found.angle)
    assert (np.abs(picture.astype(int) - again) <= 1).mean() > 0.999  # float32 depths


def test_cropping_and_scaling_the_camera_keep_the_rays() -> None:
    whole = rays()
    cut = rays(CAMERA.cropped(13, 21), (40, 50))
    np.testing.assert_allclose(cut, whole[13:53, 21:71])
    half = rays(CAMERA.scaled(0.5, 0.5), (60, 80))
    blocks = whole.reshape(60, 2, 80, 2, 3).mean((1, 3))  # a pixel is the mean of the four it joins
    np.testing.assert_allclose(half, blocks)


def test_where_nothing_is_known_the_angle_reads_as_a_ceilings() -> None:
    for depth in (np.zeros((9, 11)), np.full((9, 11), np.nan)):
        assert (module.hha(depth, CAMERA) == [0, 0, 218]).all()
    single = module.hha(np.full((1, 1), 2.0), Camera(100, 100, 0, 0))  # straight ahead, no plane
    assert single[0, 0].tolist() == [155, 130, 218]


_PLACES = [p / "shared" / "datasets" / "NYU-frame" for p in Path(__file__).resolve().parents]
FRAME = next((place for place in _PLACES if place.is_dir()), _PLACES[3])


@pytest.fixture(scope="module")
def frame() -> dict[str, np.ndarray]:
    """One frame of NYUDv2 and its HHA by others (charlesCXK/Depth2HHA-python)."""
    if not FRAME.is_dir():
        pytest.skip(f"{FRAME} is not here: a real frame, not ours to distribute")
    return {path.stem: np.array(Image.open(path)) for path in FRAME.glob("*.png")}


def test_the_picture_of_a_real_frame_is_that_of_the_authors_code(
    frame: dict[str, np.ndarray],
) -> None:
    """Complete depth, and MATLAB's picture: a byte's rounding apart."""
    picture = module.hha(frame["0"] / 1e4, NYUDv2.camera)
    apart = np.abs(picture.astype(int) - frame["matlab_hha"])
    assert apart.max() <= 1 and apart.mean() < 0.001


def test_holes_of_a_real_frame_are_written_as_others_write_them(
    frame: dict[str, np.ndarray],
) -> None:
    """Depth with holes, and the picture of a port to Python.

    It fits planes through fewer pixels than we ask for, which is why not all unknown angles agree.
    """
    missing = frame["0_raw"] == 0
    found = module.quantities(frame["0"] / 1e4, NYUDv2.camera, missing)
    picture = module.encode(found.disparity, found.height, found.angle)
    apart = np.abs(picture.astype(int) - frame["hha"])
    unknown = np.isnan(found.angle)
    assert 0.2 < unknown.mean() < 0.23 and apart[~unknown].max() <= 1
    assert apart[..., :2].max() <= 1
    assert (picture[unknown][:, 2] == 218).all()
    assert (frame["hha"][unknown][:, 2] == 218).mean() > 0.95


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"depth of shape \(2, 3, 1\)"):
        module.hha(np.ones((2, 3, 1)), CAMERA)
    with pytest.raises(ValueError, match="focal lengths must be positive"):
        module.hha(np.ones((4, 4)), Camera(0, 1, 2, 2))
    with pytest.raises(ValueError, match=r"missing of shape \(3, 4\) for depth of shape \(4, 4\)"):
        module.hha(np.ones((4, 4)), CAMERA, np.zeros((3, 4), bool))
    with pytest.raises(ValueError, match="radius=0"):
        module.surface_normals(np.ones((4, 4)), CAMERA, 0)
