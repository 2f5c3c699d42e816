"""Procedural street scenes: a labelled data set that needs no download.

Each scene is rendered from (seed, split, index) alone, so that any item can be had at any time, in
any process, and is the same to the bit (another NumPy or processor may round a pixel differently).
The size changes the resolution, not the scene.

Colour does not give the classes away: road, pavement, walls, posts and cars share their greys,
grass and trees their greens, water mirrors the sky and the houses, and light and tint change from
scene to scene. Texture, shape and place tell them apart.

Depth is that of the geometry that was rendered, so that it agrees with the camera to rounding.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import Transforms
from fcn_tutorial.datasets.hha import (
    Camera,
    angle_with_gravity,
    encode,
    height_above_ground,
    horizontal_disparity,
    point_cloud,
    surface_normals,
)
from fcn_tutorial.datasets.rendered import Rendered
from fcn_tutorial.datasets.scenes.canvas import Canvas, Floats
from fcn_tutorial.datasets.scenes.difficulty import DIFFICULTIES, Difficulty, adjust
from fcn_tutorial.datasets.scenes.draw import draw
from fcn_tutorial.datasets.scenes.street import Street, invent
from fcn_tutorial.datasets.spec import GEOMETRIC, of_task
from fcn_tutorial.files import one_of
from fcn_tutorial.vision import tv_tensors

# From a semantic class to sky, horizontal or vertical, the three of SIFT Flow's geometric labels.
_GEOMETRY = np.array([0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2], np.uint8)


class Scenes(Rendered):
    """Rendered street scenes with semantic or geometric labels, and with depth.

    Item i is (image, mask): a `tv_tensors.Image` uint8 (3, H, W) and a `tv_tensors.Mask` uint8
    (H, W) holding class indices, 255 in the thin band where two classes meet.

    Three properties are built in; the numbers are measured at 128×128, on the normal difficulty.

    * Colour fails: the forest of `fcn_tutorial.prior` stays far behind a small network.
    * Context decides: water mirrors the houses, a fence shows what is behind it, road and wall
      share their greys. On 7×7 patches a forest tells water from building, fence from building and
      road from building with a balanced accuracy of 0.60, 0.59 and 0.66, where 0.5 is a guess; the
      pixel's place in the image alone makes it 0.86, 0.86 and 0.94.
    * Thin things need a small stride: labels brought to strides of 8, 16 and 32 and back keep an IU
      of 0.27, 0.09 and 0.01 for poles, 0.60, 0.30 and 0.08 for persons, 0.74, 0.40 and 0.11 for
      signs, but 0.97, 0.92 and 0.80 for the sky (`metrics.stride_ceiling`, "bilinear").

    Args:
        n: number of scenes.
        split: "train", "val" or "test"; no scene is in two of them.
        size: (H, W), both at least 32.
        seed: picks another world of scenes, 0 <= seed < 2**32.
        task: "semantic" for the twelve `classes`, "geometric" for sky, horizontal, vertical; "both"
            makes the mask {"semantic": Mask, "geometric": Mask}, and `classes` and `palette`
            likewise.
        transforms: joint transform of (image, mask), as those of `torchvision.transforms.v2` are:
            the item is what it returns.
        modality: the first part of an item, in the forms of `NYUDv2`: "rgb"; "depth", `Depth`
            float32 (1, H, W), metres, 0 in the sky; "hha", `HHA` uint8 (3, H, W), from that depth
            and `camera(i)`, which is level; "rgbd", {"rgb": …, "depth": …}; "rgb-hha", {"rgb": …,
            "hha": …}.
        difficulty: "easy", "normal" or "hard": the same streets with less or more noise, haze,
            tint, shadow, and things in the way.

    Raises:
        ValueError: for any other value.
        IndexError: beyond n.

    ::

        >>> image, mask = Scenes(n=1, size=(48, 64))[0]
        >>> image.shape, mask.shape, mask.dtype
        (torch.Size([3, 48, 64]), torch.Size([48, 64]), torch.uint8)
    """

    thing: ClassVar[str] = "scene"
    classes: ClassVar[Any] = (
        "sky", "road", "pavement", "grass", "water", "building", "tree", "fence", "car", "person",
        "pole", "sign",
    )  # fmt: skip
    palette: ClassVar[Any] = (
        (135, 206, 235), (90, 90, 100), (225, 170, 225), (120, 200, 60), (30, 60, 200),
        (150, 80, 40), (0, 100, 40), (250, 200, 130), (200, 20, 60), (255, 110, 0),
        (250, 250, 250), (255, 230, 0),
    )  # fmt: skip
    geometric_classes: ClassVar[tuple[str, ...]] = tuple(GEOMETRIC)
    geometric_palette: ClassVar[tuple[tuple[int, int, int], ...]] = tuple(GEOMETRIC.values())
    tasks: ClassVar[tuple[str, ...]] = ("semantic", "geometric", "both")
    difficulties: ClassVar[tuple[str, ...]] = tuple(DIFFICULTIES)

    def __init__(
        self,
        n: int = 500,
        split: str = "train",
        size: tuple[int, int] = (128, 128),
        seed: int = 0,
        task: str = "semantic",
        transforms: Transforms = None,
        modality: str = "rgb",
        difficulty: str = "normal",
    ) -> None:
        super().__init__(n, split, size, seed, modality, transforms)
        self.task = one_of("task", task, self.tasks)
        self.difficulty = one_of("difficulty", difficulty, self.difficulties)
        # These shadow the class attributes: code that asks finds the labels the data set serves.
        self.classes = of_task(task, self.classes, self.geometric_classes)  # type: ignore[misc]
        self.palette = of_task(task, self.palette, self.geometric_palette)  # type: ignore[misc]

    def __getitem__(self, index: int) -> Any:
        scene = self._scene(index)
        masks = of_task(self.task, scene.labels, _GEOMETRY[scene.labels])
        both = isinstance(masks, dict)
        target = {t: self._mask(m) for t, m in masks.items()} if both else self._mask(masks)
        return self._item(scene, lambda: _hha(scene), target)

    def camera(self, index: int) -> Camera:
        """The camera that took scene `index`, for `datasets.hha`; it is level, and pixels square.

        Every scene has its own focal length and horizon.

        Raises:
            IndexError: beyond n.
        """
        return self._scene(index).camera

    def _scene(self, index: int) -> Scene:
        position, difficulty = self._position(index), DIFFICULTIES[self.difficulty]
        return render_scene(self.seed, self.split, position, self.size, difficulty)

    def _mask(self, labels: NDArray[np.uint8]) -> tv_tensors.Mask:
        return tv_tensors.Mask(torch.from_numpy(void_borders(labels, self.ignore_index)))


class Scene(NamedTuple):
    """What is rendered of a scene.

    Attributes:
        pixels: (H, W, 3) uint8.
        labels: (H, W) uint8, semantic, without void.
        depth: (H, W) float32, metres along the optical axis, 0 in the sky.
        camera: the one that sees it so.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth: Floats
    camera: Camera


def render(
    seed: int, split: str, index: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One scene: pixels (H, W, 3) uint8 and semantic labels (H, W) uint8 without void."""
    scene = render_scene(seed, split, index, size)
    return scene.pixels, scene.labels


def render_scene(
    seed: int,
    split: str,
    index: int,
    size: tuple[int, int],
    difficulty: Difficulty = DIFFICULTIES["normal"],
) -> Scene:
    """One scene with its depth, at one of three difficulties."""
    entropy = (seed, Scenes.splits.index(split), index)
    rng = np.random.default_rng(entropy)
    street = invent(rng, size)
    adjust(street, difficulty, np.random.default_rng((*entropy, 1)))
    canvas = draw(street)
    pixels = _expose(rng, canvas, street, difficulty)
    depth = np.where(np.isinf(canvas.depth), np.float32(0), canvas.depth)
    # The renderer counts pixel edges, `hha.Camera` pixel centres.
    taken = street.camera
    pinhole = Camera(taken.focal, taken.focal, taken.centre - 0.5, taken.horizon - 0.5)
    return Scene(pixels, canvas.label, depth, pinhole)


def void_borders(labels: NDArray[np.uint8], ignore_index: int = 255) -> NDArray[np.uint8]:
    """Mark where two labels meet as void, as PASCAL VOC does; returns a new (H, W) uint8 array.

    The band lies on one side of the border only, in the class with the lower index, and is one
    pixel wide for every 128 of the image's shorter side (at least one). `Scenes.classes` is
    ordered so that this is the larger, farther thing: a post two pixels wide keeps both of them.
    """
    padded = labels
    for _ in range(max(1, round(min(labels.shape) / 128))):
        grown = padded.copy()
        np.maximum(grown[1:], padded[:-1], out=grown[1:])
        np.maximum(grown[:-1], padded[1:], out=grown[:-1])
        np.maximum(grown[:, 1:], padded[:, :-1], out=grown[:, 1:])
        np.maximum(grown[:, :-1], padded[:, 1:], out=grown[:, :-1])
        padded = grown
    return np.where(padded > labels, np.uint8(ignore_index), labels)


def _hha(scene: Scene) -> NDArray[np.uint8]:
    """(H, W, 3) uint8. Gravity is known here; an estimate that is 1° off moves a point 60 m away by
    a metre.
    """
    down = (0.0, 1.0, 0.0)
    height = height_above_ground(point_cloud(scene.depth, scene.camera), down)
    angle = angle_with_gravity(surface_normals(scene.depth, scene.camera), down)
    angle[scene.depth == 0] = np.nan  # a plane fitted beside the sky says nothing about it
    return encode(horizontal_disparity(scene.depth), height, angle)


def _expose(
    rng: np.random.Generator, canvas: Canvas, street: Street, difficulty: Difficulty
) -> NDArray[np.uint8]:
    """From light to pixels: haze, tint, exposure, lens blur, sensor noise, rounding."""
    clear = np.exp(-street.light.haze * canvas.depth)
    clear[np.isinf(canvas.depth)] = 1  # the sky's colour has its haze already
    image = canvas.colour - street.light.skyline
    image *= clear[..., None]
    image += street.light.skyline
    logarithm = (rng.normal(0, 0.07, 3) + rng.normal(0.05, 0.16)) * difficulty.tint
    tint = np.exp(logarithm).astype(np.float32)
    image *= tint * 255
    image = _blur(image, np.float32(rng.uniform(0.03, 0.12)))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(rng.uniform(2, 7) * difficulty.noise)
    image += noise
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def _blur(image: Floats, side: np.float32) -> Floats:
    """Weights (side, 1 - 2 side, side) down and across; the edge repeats itself."""
    for axis in (0, 1):
        image = np.moveaxis(image, axis, 0)
        out = image * (1 - 2 * side)
        out[1:] += side * image[:-1]
        out[:-1] += side * image[1:]
        out[0] += side * image[0]
        out[-1] += side * image[-1]
        image = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(image)
