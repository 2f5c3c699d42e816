"""Generated rooms: what NYUDv2 is about, without a download.

Each room is rendered from (seed, split, index) alone, with colour, labels, and depth as a Kinect
measures it: with its noise, and with the holes it leaves.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import Transforms
from fcn_tutorial.datasets.hha import Camera, hha
from fcn_tutorial.datasets.rendered import Rendered
from fcn_tutorial.datasets.rooms.furnish import Floats, furnish
from fcn_tutorial.datasets.rooms.view import look
from fcn_tutorial.datasets.scenes import void_borders
from fcn_tutorial.vision import tv_tensors


class Room(NamedTuple):
    """What is rendered of a room.

    Attributes:
        pixels: (H, W, 3) uint8.
        labels: (H, W) uint8, without void.
        depth: (H, W) float32, metres along the optical axis, with the noise of a Kinect.
        missing: (H, W) bool, where a Kinect would measure no depth; `depth` is filled in there.
        camera: the one that sees it so.
        gravity: (3,) float64, the true direction down, in camera coordinates.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth: NDArray[np.float32]
    missing: NDArray[np.bool_]
    camera: Camera
    gravity: Floats


class Rooms(Rendered):
    """Rendered rooms with twelve classes and with depth.

    Items are as those of `NYUDv2`: the first part by modality, the second a `tv_tensors.Mask` uint8
    (H, W) of class indices, 255 in the thin band where two classes meet. The depth is complete;
    HHA estimates gravity from it and fits no planes where a Kinect would measure none. Cameras look
    down by up to 28 degrees, or up by 6.

    Furniture shares its colours with walls and floors and differs in shape. Doors, pictures and
    mats lie flat and differ in colour. Windows lie flat too, but glass returns no depth.

    Args:
        n: number of rooms.
        split: "train", "val" or "test"; no room is in two of them.
        size: (H, W), both at least 32.
        seed: picks another world of rooms, 0 <= seed < 2**32.
        modality: "rgb", "depth", "hha", "rgbd" or "rgb-hha", see `NYUDv2`.
        transforms: joint transform of (input, mask).

    Raises:
        ValueError: for any other value.
        IndexError: beyond n.

    ::

        >>> rooms = Rooms(n=1, size=(48, 64), modality="rgbd")
        >>> parts, mask = rooms[0]
        >>> {name: tuple(part.shape) for name, part in parts.items()}, len(rooms.classes)
        ({'rgb': (3, 48, 64), 'depth': (1, 48, 64)}, 12)
    """

    thing: ClassVar[str] = "room"
    classes: ClassVar[tuple[str, ...]] = (
        "wall", "floor", "ceiling", "floor mat", "door", "window", "picture", "cabinet", "bed",
        "sofa", "table", "box",
    )  # fmt: skip
    palette: ClassVar[tuple[tuple[int, int, int], ...]] = (
        (200, 190, 170), (120, 85, 60), (240, 240, 235), (200, 20, 60), (90, 60, 140),
        (135, 206, 235), (255, 230, 0), (0, 100, 40), (30, 60, 200), (225, 130, 200),
        (255, 110, 0), (120, 200, 60),
    )  # fmt: skip

    def __init__(
        self,
        n: int = 300,
        split: str = "train",
        size: tuple[int, int] = (72, 96),
        seed: int = 0,
        modality: str = "rgb",
        transforms: Transforms = None,
    ) -> None:
        super().__init__(n, split, size, seed, modality, transforms)

    def __getitem__(self, index: int) -> Any:
        room = render_room(self.seed, self.split, self._position(index), self.size)
        mask = tv_tensors.Mask(torch.from_numpy(void_borders(room.labels, self.ignore_index)))
        return self._item(room, lambda: hha(room.depth, room.camera, room.missing), mask)


def render_room(
    seed: int,
    split: str,
    index: int,
    size: tuple[int, int],
    camera: Camera | None = None,
    pitch: float | None = None,
) -> Room:
    """One room as `Rooms` has it.

    Args:
        camera: takes the picture instead of the room's own, from the same place.
        pitch: degrees by which it looks down instead, negative for up.
    """
    rng = np.random.default_rng(
        (seed, Rooms.splits.index(split), index, 14)
    )  # not those of `Scenes`
    room = furnish(rng)
    if pitch is not None:
        room.pitch = math.radians(pitch)
    if camera is None:
        focal = room.focal * size[1]
        camera = Camera(focal, focal, (size[1] - 1) / 2, (size[0] - 1) / 2)
    view = look(room, camera, size)
    pixels = view.colour * np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.15)) * 235
    pixels += rng.normal(0, rng.uniform(2, 7), pixels.shape)
    # Noise of a Kinect, across its axis not counted: Nguyen, Izadi, Lovell 2012, equation 5.
    noise = 0.0012 + 0.0019 * (view.depth - 0.4) ** 2
    depth = np.maximum(view.depth + rng.normal(0, 1, size) * noise, 0.05)
    return Room(
        np.clip(pixels, 0, 255).astype(np.uint8),
        view.labels,
        depth.astype(np.float32),
        view.missing,
        camera,
        view.down,
    )
