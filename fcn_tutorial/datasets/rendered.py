"""What scenes and rooms share: both are rendered, each item from (seed, split, index) alone."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fcn_tutorial.datasets.formats.images import Transforms
from fcn_tutorial.datasets.spec import PARTS
from fcn_tutorial.files import one_of
from fcn_tutorial.transforms import HHA, Depth
from fcn_tutorial.vision import tv_tensors

_MIN_SIDE = 32


class Rendered(torch.utils.data.Dataset[tuple[Any, Any]]):
    """A data set that is rendered from a seed; `thing` is what an item of it shows.

    Raises:
        ValueError: for n, size or seed beyond what there is, a split or a modality unknown.
    """

    thing: ClassVar[str]
    ignore_index: ClassVar[int] = 255
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    source: ClassVar[str] = "rendered from a seed"
    licence: ClassVar[str] = "as this project's code"
    modalities: ClassVar[tuple[str, ...]] = tuple(PARTS)

    def __init__(
        self,
        n: int,
        split: str,
        size: tuple[int, int],
        seed: int,
        modality: str,
        transforms: Transforms,
    ) -> None:
        if not 1 <= n < 2**32:
            raise ValueError(f"n={n}: ask for at least one {self.thing} and fewer than 2**32")
        if len(size) != 2 or min(size) < _MIN_SIDE:
            raise ValueError(f"size={size}: give (height, width), both at least {_MIN_SIDE}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed={seed}: use an integer from 0 to 2**32 - 1")
        self.n, self.seed, self.transforms = n, seed, transforms
        self.size = (int(size[0]), int(size[1]))
        self.split = one_of("split", split, self.splits)
        self.modality = one_of("modality", modality, self.modalities)

    def __len__(self) -> int:
        return self.n

    def _position(self, index: int) -> int:
        """`index` counted from the first item.

        Raises:
            IndexError: beyond n.
        """
        position = operator.index(index)
        if not -self.n <= position < self.n:
            where = f"the {self.n} {self.thing}s of this split"
            raise IndexError(f"index {position} is outside {where}")
        return position % self.n

    def _item(self, made: Any, hha: Callable[[], NDArray[np.uint8]], target: Any) -> Any:
        """The item of a `Scene` or `Room`; `hha` encodes its depth as (H, W, 3)."""
        ways: dict[str, Callable[[], Any]] = {
            "rgb": lambda: tv_tensors.Image(_planes(made.pixels)),
            "depth": lambda: Depth(torch.from_numpy(made.depth[None])),
            "hha": lambda: HHA(_planes(hha())),
        }
        parts = {name: ways[name]() for name in PARTS[self.modality]}
        item = (parts if len(parts) > 1 else next(iter(parts.values())), target)
        return item if self.transforms is None else self.transforms(*item)


def _planes(picture: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())
