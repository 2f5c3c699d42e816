"""From items to batches: seeded item by item, sorted into sizes, padded as little as possible.

Random numbers belong to an item, not to the process that happens to prepare it: the augmentation
of item i in epoch e depends on (seed, e, i) alone. So the number of worker processes, their order
and a resumption change nothing, and workers need no seeds of their own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from fcn_tutorial.transforms import Depth, map_sample, mean_colour
from fcn_tutorial.void import Void, writable_void

__all__ = [
    "Augmented",
    "Keyed",
    "SizeBuckets",
    "collate",
    "item_sizes",
    "loader",
    "mix",
    "padding_share",
    "seeded",
]

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


# --- Which items make a batch -------------------------------------------------------------------


class SizeBuckets(Sampler[list[int]]):
    """Batches of indices of images that are alike in size, each index once an epoch.

    The items are shuffled and dealt into pools of `pool` batches. Within a pool, the cut that
    leaves least padding parts the items in two, again and again, down to batches; then all batches
    are shuffled. A larger pool pads less, a smaller one mixes more.

    Args:
        sizes: (H, W) of every item, see `item_sizes`.
        batch_size: items in a batch; the last batch may hold fewer.
        seed: of the order, together with the epoch (`set_epoch`).
        pool: batches that are parted together.
        drop_last: leave out a few items, drawn anew each epoch, so that all batches are full.
        rank, world_size: which of several processes this is. All of them get as many batches, for
            which a few batches come twice, or, with `drop_last`, more items are left out.

    Raises ValueError for arguments out of their range.
    """

    def __init__(
        self,
        sizes: Sequence[Size],
        batch_size: int,
        seed: int = 0,
        *,
        pool: int = 64,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.sizes = np.asarray(sizes, dtype=np.int64)
        if self.sizes.ndim != 2 or self.sizes.shape[1] != 2 or not (self.sizes > 0).all():
            raise ValueError("sizes: expected (height, width) of one item or more, all above 0")
        for name, value in (("batch_size", batch_size), ("pool", pool)):
            if value < 1:
                raise ValueError(f"{name}={value}: expected 1 or more")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank}, world_size={world_size}: ranks count from 0")
        self.batch_size, self.seed, self.pool = batch_size, seed, pool
        self.drop_last, self.rank, self.world_size = drop_last, rank, world_size
        self.epoch = 0
        if drop_last and not len(self):
            raise ValueError(
                f"batch_size={batch_size} on {world_size} processes: {len(self.sizes)} items make "
                "no full batch; lower it, or keep the last one"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.drop_last:
            return len(self.sizes) // (self.batch_size * self.world_size)
        return -(-len(self.sizes) // (self.batch_size * self.world_size))

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch, -1))
        order = torch.randperm(len(self.sizes), generator=generator).numpy()
        if self.drop_last:
            order = order[: len(self) * self.world_size * self.batch_size]
        step = self.pool * self.batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), step):
            batches += self._parted(order[start : start + step])
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        for turn in range(self.rank, len(self) * self.world_size, self.world_size):
            yield batches[shuffled[turn % len(batches)]]

    def _parted(self, chosen: NDArray[np.int64]) -> list[list[int]]:
        """Batches of `chosen`, all but the last one full."""
        if len(chosen) <= self.batch_size:
            return [chosen.tolist()]
        cuts = np.arange(self.batch_size, len(chosen), self.batch_size)
        found = []
        for axis in (0, 1):
            sizes = self.sizes[chosen]
            ranked = chosen[np.lexsort((sizes[:, 1 - axis], sizes[:, axis]))]  # keeps order in ties
            ascending = np.maximum.accumulate(self.sizes[ranked]).prod(1)
            descending = np.maximum.accumulate(self.sizes[ranked][::-1])[::-1].prod(1)
            pixels = cuts * ascending[cuts - 1] + (len(chosen) - cuts) * descending[cuts]
            best = np.lexsort((abs(2 * cuts - len(chosen)), pixels))[0]  # of equals, the middle one
            found.append((int(pixels[best]), axis, int(cuts[best]), ranked))
        _, _, cut, ranked = min(found, key=lambda split: split[:2])
        return self._parted(ranked[:cut]) + self._parted(ranked[cut:])


class Keyed(Sampler[list[tuple[int, int]]]):
    """The batches of a sampler that has an `epoch`, as (epoch, index), which `Augmented` takes."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch: int = self.sampler.epoch
        for batch in self.sampler:
            yield [(epoch, index) for index in batch]


def item_sizes(dataset: Any) -> list[Size]:
    """(H, W) of every item: the data set's `sizes`, as `Cached` has them; without, all are read."""
    if hasattr(dataset, "sizes"):
        return list(dataset.sizes)
    return [_size(dataset[index]) for index in range(len(dataset))]


def padding_share(
    sizes: Sequence[Size], batches: Iterable[Sequence[int]], multiple: int = 1
) -> float:
    """The share of the pixels of these batches of indices that `collate` would add, 0 to 1."""
    shown = total = 0
    for batch in batches:
        inside = [sizes[index] for index in batch]
        height, width = _padded(inside, multiple)
        shown += sum(h * w for h, w in inside)
        total += len(inside) * height * width
    return 1 - shown / total


# --- Making one ---------------------------------------------------------------------------------


def collate(
    samples: Sequence[tuple[Any, Any]], ignore_index: Void = 255, multiple: int = 1
) -> tuple[Any, Any]:
    """(inputs, targets) of a batch: plain tensors, or dicts of them, with N in front.

    Args:
        samples: (input, target) pairs, each part a tensor (…, H, W) or a dict of such.
        ignore_index: the void label; of several, the first is written.
        multiple: both sides of the batch become multiples of it.

    Items smaller than the batch's largest are padded below and to the right, so that pixel (0, 0)
    stays where it was: images with their own mean colour, targets with void, `Depth` with 0.
    Raises ValueError where the parts of one item differ in size, and where targets are of a dtype
    that cannot hold the void label.
    """
    size = _padded([_size(sample) for sample in samples], multiple)
    images = [map_sample(partial(_pad, size, None), image) for image, _ in samples]
    targets = [map_sample(partial(_pad, size, ignore_index), target) for _, target in samples]
    return default_collate(images), default_collate(targets)


def loader(
    dataset: Any,
    sampler: SizeBuckets,
    transform: Any = None,
    seed: int = 0,
    workers: int = 0,
    *,
    ignore_index: Void = 255,
    multiple: int = 1,
) -> DataLoader[Any]:
    """Batches of `dataset`, augmented by `transform`, the same for any number of `workers`.

    Call `sampler.set_epoch` before each epoch. The other arguments are those of `Augmented` and
    `collate`. Iterating draws no random numbers but its own.
    """
    return DataLoader(
        Augmented(dataset, transform, seed),
        batch_sampler=Keyed(sampler),
        num_workers=workers,
        collate_fn=partial(collate, ignore_index=ignore_index, multiple=multiple),
        generator=torch.Generator().manual_seed(seed),
        persistent_workers=workers > 0,
    )


def _size(sample: tuple[Any, Any]) -> Size:
    """(H, W) of an item. Raises ValueError where its parts differ."""
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
