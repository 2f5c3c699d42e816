"""From items to batches: seeded item by item, padded to the largest.

Random numbers belong to an item, not to the process that happens to prepare it: the augmentation
of item i in epoch e depends on (seed, e, i) alone. So the number of worker processes, their order
and a resumption change nothing, and workers need no seeds of their own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, default_collate
from tqdm import tqdm

from fcn_tutorial.transforms import Depth, map_sample, mean_colour
from fcn_tutorial.void import Void, writable_void

__all__ = ["Augmented", "First", "InMemory", "Joined", "collate", "mix", "seeded"]

Size = tuple[int, int]


# --- Seeds --------------------------------------------------------------------------------------


def mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers (FNV-1a over them)."""
    state = 0xCBF29CE484222325
    for number in numbers:
        state = ((state ^ (number & 0xFFFFFFFF)) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state >> 1


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch (on the CPU), NumPy and Python from `seed`; afterwards as before."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


class Augmented(Dataset[tuple[Any, Any]]):
    """Items addressed by (epoch, index), augmented by random numbers that depend on nothing else.

    So a run gives the same batches whatever the number of workers, and after a resumption. An index
    beyond the data set is one of its images again, augmented anew. `transform` None leaves it to
    the data set's own transforms, which draw the same numbers.
    """

    def __init__(self, dataset: Any, transform: Any, seed: int) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, Any]:
        epoch, index = key
        with seeded(mix(self.seed, epoch, index)):
            image, mask = self.dataset[index % len(self.dataset)]
            return (image, mask) if self.transform is None else self.transform(image, mask)


# --- Batches -------------------------------------------------------------------------------------


def collate(
    samples: Sequence[tuple[Any, Any]], ignore_index: Void = 255, multiple: int = 1
) -> tuple[Any, Any]:
    """(inputs, targets) of a batch: plain tensors, or dicts of them, with N in front.

    Items smaller than the batch's largest are padded below and to the right, so that pixel (0, 0)
    stays where it was: images with their own mean colour, targets with void, `Depth` with 0.

    Args:
        samples: (input, target) pairs, each part a tensor (…, H, W) or a dict of such.
        ignore_index: the void label; of several, the first is written.
        multiple: both sides of the batch become multiples of it.

    Raises:
        ValueError: where the parts of one item differ in size, and where targets are of a dtype
            that cannot hold the void label.
    """
    size = _padded([_size(sample) for sample in samples], multiple)
    images = [map_sample(partial(_pad, size, None), image) for image, _ in samples]
    targets = [map_sample(partial(_pad, size, ignore_index), target) for _, target in samples]
    return default_collate(images), default_collate(targets)


def _size(sample: tuple[Any, Any]) -> Size:
    """(H, W) of an item.

    Raises:
        ValueError: where its parts differ.
    """
    found: set[Size] = set()

    def note(part: Tensor) -> Tensor:
        found.add((part.shape[-2], part.shape[-1]))
        return part

    for half in sample:
        map_sample(note, half)
    if len(found) != 1:
        raise ValueError(f"parts of sizes {sorted(found)} in one item: all must be alike")
    return found.pop()


def _padded(sizes: Sequence[Size], multiple: int) -> Size:
    """The smallest size that holds all, in multiples."""
    height, width = (-(-max(side) // multiple) * multiple for side in zip(*sizes, strict=True))
    return height, width


def _pad(size: Size, ignore_index: Void, part: Tensor) -> Tensor:
    """`part` (…, H, W) in the corner of a plain tensor of `size`; `ignore_index` None for inputs.

    Whether void fits a target is asked of every one, so that it does not depend on the batch.
    """
    plain = part.as_subclass(Tensor)
    value = None if ignore_index is None else writable_void(plain.dtype, ignore_index)
    if isinstance(part, Depth):
        value = 0
    height, width = plain.shape[-2:]
    if (height, width) == size:
        return plain
    if value is not None:
        padded = plain.new_full((*plain.shape[:-2], *size), value)
    else:
        colour = torch.tensor(mean_colour(plain))
        if not plain.is_floating_point():
            colour = colour.round()
        padded = colour.to(plain.dtype).view(-1, 1, 1).repeat(1, *size)
    padded[..., :height, :width] = plain
    return padded


# --- Which items --------------------------------------------------------------------------------


class First(Dataset[tuple[Any, Any]]):
    """The first `images` items of a data set, read when they are asked for."""

    def __init__(self, dataset: Any, images: int) -> None:
        self.classes, self.palette = dataset.classes, dataset.palette
        self.ignore_index: int = dataset.ignore_index
        self._dataset, self._images = dataset, images

    def __len__(self) -> int:
        return self._images

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        item: tuple[Any, Any] = self._dataset[index]
        return item


class InMemory(First):
    """The same, read or rendered once; 480×360 costs 0.7 MB an image."""

    def __init__(self, dataset: Any, images: int) -> None:
        super().__init__(dataset, images)
        bar = tqdm(range(images), "reading", leave=False, unit="img", disable=None)
        self._items: list[tuple[Any, Any]] = [dataset[index] for index in bar]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._items[index]


class Joined(ConcatDataset[tuple[Any, Any]]):
    """Several splits of one data set, one after the other."""

    def __init__(self, parts: Sequence[Any]) -> None:
        super().__init__(parts)
        self.classes, self.palette = parts[0].classes, parts[0].palette
        self.ignore_index: int = parts[0].ignore_index
