"""The data sets a recipe names, opened with the recipe's augmentation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from fcn_tutorial.datasets import sources
from fcn_tutorial.datasets.loading import Augmented, collate, mix
from fcn_tutorial.training.recipe import Recipe

__all__ = ["Augmented", "EpochSampler", "loader", "open_split"]


def open_split(recipe: Recipe, split: str, data: Path | None) -> Any:
    """The recipe's "train", "val" or "test" images, or "all": whole, without augmentation.

    Raises ValueError for a split the recipe does not have, FileNotFoundError and ValueError as the
    data set does.
    """
    return sources.get(recipe.data.name).open(recipe.data, split, data)


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) in an order drawn from (seed, epoch), from step `start` on.

    A step takes `batch` images in each of `world_size` processes; this process's come in `parts`
    batches, one after the other. What all processes take together in a step does not depend on
    how many they are. The last, incomplete step of an epoch is dropped, so every step sees as many
    images. With `replacement` every image is drawn anew from all.
    """

    def __init__(
        self,
        images: int,
        batch: int,
        seed: int,
        *,
        parts: int = 1,
        rank: int = 0,
        world_size: int = 1,
        replacement: bool = False,
    ) -> None:
        if images < batch * world_size:
            together = f" in {world_size} processes" if world_size > 1 else ""
            raise ValueError(
                f"batch={batch}{together} is larger than the training set of {images} images"
            )
        self.images, self.batch, self.seed = images, batch, seed
        self.parts, self.rank, self.world_size = parts, rank, world_size
        self.replacement = replacement
        self.epoch = 0
        self.start = 0

    @property
    def steps(self) -> int:
        """Steps in a whole epoch."""
        return self.images // (self.batch * self.world_size)

    def __len__(self) -> int:
        return (self.steps - self.start) * self.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch, -1))
        if self.replacement:
            drawn = torch.randint(self.images, (self.images,), generator=generator)
        else:
            drawn = torch.randperm(self.images, generator=generator)
        order: Sequence[int] = drawn.tolist()
        size = self.batch // self.parts
        for step in range(self.start, self.steps):
            first = (step * self.world_size + self.rank) * self.batch
            for part in range(first, first + self.batch, size):
                yield [(self.epoch, index) for index in order[part : part + size]]


def loader(
    dataset: Augmented, sampler: EpochSampler, device: torch.device, multiple: int = 1
) -> DataLoader[Any]:
    """Batches for training. On a CPU one worker: it prepares the next batch beside the step.

    Iterating draws no random numbers but the loader's own, so that a resumed run, which iterates
    once more, goes on with the numbers of the undisturbed one.
    """
    cores = os.cpu_count() or 1
    workers = min(8, cores) if device.type == "cuda" else min(1, cores - 1)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_Collate(multiple),
        generator=torch.Generator(),
        pin_memory=device.type == "cuda",
        persistent_workers=False,
    )


class _Collate:
    def __init__(self, multiple: int) -> None:
        self.multiple = multiple

    def __call__(self, samples: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        return collate(samples, multiple=self.multiple)
