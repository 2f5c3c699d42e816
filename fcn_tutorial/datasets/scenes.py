"""Procedural street scenes: a labelled data set that needs no download.

Each scene is rendered from (seed, split, index) alone, so that any item can be had at any time, in
any process, and is the same to the bit (another NumPy or processor may round a pixel differently).
The size changes the resolution, not the scene.

Colour does not give the classes away: road, pavement, walls, posts and cars share their greys,
grass and trees their greens, water mirrors the sky and the houses, and light and tint change from
scene to scene. Texture, shape and place tell them apart.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

import fcn_tutorial._torchvision  # noqa: F401
from fcn_tutorial.datasets._draw import draw
from fcn_tutorial.datasets._render import Canvas, Floats
from fcn_tutorial.datasets._street import Street, invent

# isort: split
from torchvision import tv_tensors

Task = Literal["semantic", "geometric"]
Transform = Callable[[tv_tensors.Image, tv_tensors.Mask], tuple[Any, Any]]

_SPLITS = ("train", "val", "test")
_MIN_SIDE = 32

# From a semantic class to sky, horizontal or vertical, the three of SIFT Flow's geometric labels.
_GEOMETRY = np.array([0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2], np.uint8)


class Scenes(torch.utils.data.Dataset[tuple[Any, Any]]):
    """Rendered street scenes with semantic or geometric labels.

    Item i is (image, mask): a `tv_tensors.Image` uint8 (3, H, W) and a `tv_tensors.Mask` uint8
    (H, W) holding class indices, 255 in the thin band where two classes meet. With `transforms`,
    the item is what `transforms(image, mask)` returns, as in `torchvision.transforms.v2`.

    n: number of scenes. split: "train", "val" or "test"; no scene is in two of them.
    size: (H, W), both at least 32. seed: picks another world of scenes, 0 <= seed < 2**32.
    task: "semantic" for the twelve `classes`, "geometric" for sky, horizontal, vertical.
    Raises ValueError for any other value, IndexError beyond n.
    """

    classes: ClassVar[tuple[str, ...]] = (
        "sky",
        "road",
        "pavement",
        "grass",
        "water",
        "building",
        "tree",
        "fence",
        "car",
        "person",
        "pole",
        "sign",
    )
    palette: ClassVar[tuple[tuple[int, int, int], ...]] = (
        (135, 206, 235),
        (90, 90, 100),
        (225, 170, 225),
        (120, 200, 60),
        (30, 60, 200),
        (150, 80, 40),
        (0, 100, 40),
        (250, 200, 130),
        (200, 20, 60),
        (255, 110, 0),
        (250, 250, 250),
        (255, 230, 0),
    )
    geometric_classes: ClassVar[tuple[str, ...]] = ("sky", "horizontal", "vertical")
    geometric_palette: ClassVar[tuple[tuple[int, int, int], ...]] = (
        (135, 206, 235),
        (120, 200, 60),
        (150, 80, 40),
    )
    ignore_index: ClassVar[int] = 255

    def __init__(
        self,
        n: int = 500,
        split: str = "train",
        size: tuple[int, int] = (128, 128),
        seed: int = 0,
        task: str = "semantic",
        transforms: Transform | None = None,
    ) -> None:
        if not 1 <= n < 2**32:
            raise ValueError(f"n={n}: ask for at least one scene and fewer than 2**32")
        if split not in _SPLITS:
            raise ValueError(f"split={split!r}: use one of {', '.join(map(repr, _SPLITS))}")
        if len(size) != 2 or min(size) < _MIN_SIDE:
            raise ValueError(f"size={size}: give (height, width), both at least {_MIN_SIDE}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed={seed}: use an integer from 0 to 2**32 - 1")
        if task not in ("semantic", "geometric"):
            raise ValueError(f"task={task!r}: use 'semantic' or 'geometric'")
        self.n, self.split, self.seed, self.task = n, split, seed, task
        self.size = (int(size[0]), int(size[1]))
        self.transforms = transforms
        if task == "geometric":
            # Shadows the class attribute: code that asks the data set finds the labels it serves.
            self.classes = self.geometric_classes  # type: ignore[misc]
            self.palette = self.geometric_palette  # type: ignore[misc]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        position = operator.index(index)
        if not -self.n <= position < self.n:
            raise IndexError(f"index {position} is outside the {self.n} scenes of this split")
        pixels, labels = render(self.seed, self.split, position % self.n, self.size)
        if self.task == "geometric":
            labels = _GEOMETRY[labels]
        mask = void_borders(labels, self.ignore_index)
        sample = (
            tv_tensors.Image(torch.from_numpy(pixels.transpose(2, 0, 1).copy())),
            tv_tensors.Mask(torch.from_numpy(mask)),
        )
        return sample if self.transforms is None else self.transforms(*sample)


def render(
    seed: int, split: str, index: int, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One scene: pixels (H, W, 3) uint8 and semantic labels (H, W) uint8 without void."""
    rng = np.random.default_rng((seed, _SPLITS.index(split), index))
    street = invent(rng, size)
    canvas = draw(street)
    return _expose(rng, canvas, street), canvas.label


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


def _expose(rng: np.random.Generator, canvas: Canvas, street: Street) -> NDArray[np.uint8]:
    """From light to pixels: haze, tint, exposure, lens blur, sensor noise, rounding."""
    image = canvas.colour
    clear = np.exp(-street.light.haze * canvas.depth)
    clear[np.isinf(canvas.depth)] = 1  # the sky's colour has its haze already
    image = street.light.skyline + (image - street.light.skyline) * clear[..., None]
    tint = np.exp(rng.normal(0, 0.07, 3) + rng.normal(0.05, 0.16)).astype(np.float32)
    image = _blur(image * (tint * 255), np.float32(rng.uniform(0.03, 0.12)))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    image += noise * np.float32(rng.uniform(2, 7))
    return np.clip(image, 0, 255).astype(np.uint8)


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
