"""Generated rooms: what is seen, measured and missing agrees with their geometry."""

import numpy as np
import pytest
import torch

from fcn_tutorial.datasets import Rooms
from fcn_tutorial.datasets.hha import Camera, angle_with_gravity, point_cloud, surface_normals
from fcn_tutorial.datasets.rooms import render_room
from fcn_tutorial.datasets.rooms.furnish import Block, Skin, furnish
from fcn_tutorial.datasets.rooms.view import look, rotation
from fcn_tutorial.transforms import HHA, Depth
from fcn_tutorial.vision import tv_tensors

CLASS = {name: number for number, name in enumerate(Rooms.classes)}
FLAT = ("floor mat", "door", "window", "picture")


def test_items_have_the_types_of_the_real_set() -> None:
    items = {m: Rooms(2, "val", (48, 64), modality=m)[1] for m in Rooms.modalities}
    rgb, mask = items["rgb"]
    assert type(rgb) is tv_tensors.Image and rgb.dtype == mask.dtype == torch.uint8
    assert rgb.shape == (3, 48, 64) and mask.shape == (48, 64) and type(mask) is tv_tensors.Mask
    assert set(mask.unique().tolist()) <= {*range(12), 255}
    depth, picture = items["depth"][0], items["hha"][0]
    assert type(depth) is Depth and depth.dtype == torch.float32 and depth.shape == (1, 48, 64)
    assert type(picture) is HHA and picture.shape == (3, 48, 64)
    assert torch.equal(items["rgbd"][0]["depth"], depth)
    assert torch.equal(items["rgb-hha"][0]["hha"], picture)
    assert all(torch.equal(other, mask) for _, other in items.values())


def test_a_room_depends_on_its_seed_split_and_number_alone() -> None:
    first = Rooms(5, size=(48, 64))[3][0]
    assert torch.equal(Rooms(4, size=(48, 64))[-1][0], first)
    for other in (Rooms(5, "val", (48, 64))[3], Rooms(5, size=(48, 64), seed=1)[3]):
        assert not torch.equal(other[0], first)


def test_all_classes_occur_and_have_colours_of_their_own() -> None:
    labels = np.stack([render_room(0, "train", i, (48, 64)).labels for i in range(40)])
    shares = np.bincount(labels.ravel(), minlength=12) / labels.size
    assert len(shares) == 12 and shares.min() > 0.004 and shares.max() < 0.6
    colours = np.array(Rooms.palette, float)
    gaps = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(12)
    assert gaps.min() > 50


def heights(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and metres above the floor and angles by the true gravity, of a room."""
    room = render_room(0, "val", index, (96, 128))
    points = point_cloud(room.depth, room.camera)
    below = points @ room.gravity
    angle = angle_with_gravity(surface_normals(room.depth, room.camera, 2), room.gravity)
    return room.labels, below[room.labels == CLASS["floor"]].mean() - below, angle


def test_each_thing_is_as_high_and_as_steep_as_its_class_says() -> None:
    seen = dict.fromkeys(("ceiling", "table", "wall"), 0)
    for index in range(12):
        labels, height, angle = heights(index)
        floor = labels == CLASS["floor"]
        # 2 cm: noise at a few metres. 5°: the same noise in windows of 5×5, always one way.
        assert np.abs(height[floor]).mean() < 0.02 and np.nanmedian(angle[floor]) < 5
        for name, metres, degrees in (("ceiling", (2.3, 2.95), 180), ("wall", (0, 2.95), 90)):
            here = labels == CLASS[name]
            if here.sum() > 300:
                low, high = np.percentile(height[here], [2, 98])
                assert metres[0] < low and high < metres[1]
                assert abs(np.nanmedian(angle[here]) - degrees) < 4
                seen[name] += 1
        table = labels == CLASS["table"]
        level = table & (angle < 10)
        if level.sum() > 100:
            assert 0.63 < np.median(height[level]) < 0.85
            seen["table"] += 1
    assert min(seen.values()) >= 3


def test_flat_things_do_not_stand_out_of_what_they_lie_on() -> None:
    """Their depth is that of the wall or floor: the same rays meet it where they are taken away."""
    for index in range(6):
        room = furnish(np.random.default_rng(index))
        camera, size = Camera(80, 80, 47.5, 35.5), (72, 96)
        with_flats = look(room, camera, size)
        room.flats.clear()
        without = look(room, camera, size)
        np.testing.assert_array_equal(with_flats.depth, without.depth)
        changed = with_flats.labels != without.labels
        assert set(np.unique(with_flats.labels[changed])) <= {CLASS[name] for name in FLAT}


def test_a_block_is_where_a_ray_enters_it_first() -> None:
    """One block, pixel by pixel, by stepping along each ray."""
    room = furnish(np.random.default_rng(0))
    skin = Skin(CLASS["box"], "paint", np.ones(3), np.ones(3))
    x, _, z = room.eye
    room.blocks = [Block((x - 0.3, -0.9, z + 1.5), (x + 0.4, 0.0, z + 2.2), skin)]
    camera, size = Camera(24, 24, 15.5, 11.5), (24, 32)
    view = look(room, camera, size)
    turned = rotation(room.yaw, room.pitch, room.roll)
    steps = np.arange(0.5, 8, 0.005)
    found = 0
    for row in range(size[0]):
        for column in range(size[1]):
            ray = turned @ [(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy, 1.0]
            points = np.array(room.eye) + steps[:, None] * ray
            inside = ((points > room.blocks[0].low) & (points < room.blocks[0].high)).all(1)
            if inside.sum() > 3:  # not a corner that is only grazed
                first = steps[inside.argmax()]
                assert view.depth[row, column] == pytest.approx(first, abs=0.006)
                assert view.labels[row, column] == CLASS["box"]
                found += 1
            elif not inside.any() and view.labels[row, column] == CLASS["box"]:
                pytest.fail(f"a box at {row}, {column}, where the ray meets none")
    assert found > 15


def test_holes_are_glass_grazed_or_behind_an_edge() -> None:
    """The shadow lies on the left of what stands in front: the projector is on that side."""
    room = furnish(np.random.default_rng(1))
    x, _, z = room.eye
    skin = Skin(CLASS["box"], "paint", np.ones(3), np.ones(3))
    room.yaw = room.pitch = room.roll = 0.0
    room.flats.clear()
    room.blocks = [Block((x - 0.4, -2.0, z + 1.0), (x + 0.4, 0.0, z + 1.1), skin)]
    camera = Camera(100, 100, 63.5, 47.5)
    view = look(room, camera, (96, 128))
    row = 40
    edge = int(np.flatnonzero(view.labels[row] == CLASS["box"])[0])
    behind = view.depth[row, edge - 1]
    wide = 100 * 0.075 * (1 / 1.0 - 1 / behind)  # difference of the two disparities, in pixels
    hidden = view.missing[row, :edge][::-1]
    assert int(hidden.argmin()) == pytest.approx(wide, abs=1.01) and wide > 3
    last = int(np.flatnonzero(view.labels[row] == CLASS["box"])[-1])
    assert not view.missing[row, last + 1 : last + 3].any()
    shown = render_room(0, "val", 0, (72, 96))
    assert shown.missing[shown.labels == CLASS["window"]].all() and shown.missing.mean() < 0.3


def test_the_camera_can_be_told_how_far_to_look_down() -> None:
    for pitch in (-10.0, 25.0):
        room = render_room(0, "val", 3, (48, 64), pitch=pitch)
        assert np.degrees(np.arcsin(room.gravity[2])) == pytest.approx(pitch, abs=1e-9)
        assert np.linalg.norm(room.gravity) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "n=0: ask for at least one room"),
        ({"size": (16, 64)}, r"size=\(16, 64\)"),
        ({"seed": -1}, "seed=-1"),
        ({"split": "all"}, "'all' is not one of train, val, test"),
        ({"modality": "xyz"}, "modality='xyz'|'xyz' is not one of rgb"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rooms(**{"n": 2, **change})  # type: ignore[arg-type]


def test_an_index_beyond_the_rooms_is_refused() -> None:
    with pytest.raises(IndexError, match="index 2 is outside the 2 rooms"):
        Rooms(2)[2]
