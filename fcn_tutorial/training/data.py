"""The data sets a recipe names, opened with the recipe's augmentation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from fcn_tutorial.datasets import CamVid, Scenes
from fcn_tutorial.datasets.loading import Augmented, collate, mix
from fcn_tutorial.training import own_folder
from fcn_tutorial.training.recipes import FolderData, Recipe

__all__ = ["Augmented", "EpochSampler", "InMemory", "loader", "open_split", "root"]


def root(dataset: str, data: Path | None) -> Path:
    """The folder of a data set: `data`, or its subfolder, or the one inside FCN_DATA.

    Raises FileNotFoundError saying how to name it.
    """
    folder = {"camvid": CamVid.folder}[dataset]
    named = data or (Path(os.environ["FCN_DATA"]) if "FCN_DATA" in os.environ else None)
    if named is None:
        raise FileNotFoundError(
            f"the {dataset} recipes need a data folder: give --data DIR, or set FCN_DATA to the "
            f"folder that holds {folder}/"
        )
    return named / folder if (named / folder).is_dir() else named


def open_split(recipe: Recipe, split: str, data: Path | None) -> Any:
    """The recipe's data set: whole images, without augmentation."""
    spec = recipe.data
    wanted = spec.train_images if split == "train" else spec.test_images
    if spec.name == "scenes":
        return InMemory(Scenes(n=wanted, split=split, size=spec.crop), wanted)
    dataset: Any
    if isinstance(spec, FolderData):
        dataset = own_folder.open_folder(spec, split, data)
    else:
        dataset = CamVid(root(spec.name, data), split)
    images = min(wanted, len(dataset)) if wanted else len(dataset)
    return InMemory(dataset, images)


class InMemory(Dataset[tuple[Any, Any]]):
    """The first `images` of a data set, read or rendered once; 480×360 costs 0.7 MB an image."""

    def __init__(self, dataset: Any, images: int) -> None:
        self.classes, self.palette = dataset.classes, dataset.palette
        self.ignore_index: int = dataset.ignore_index
        bar = tqdm(range(images), "reading", leave=False, unit="img", disable=None)
        self._items: list[tuple[Any, Any]] = [dataset[index] for index in bar]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._items[index]


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) in an order drawn from (seed, epoch), from step `start` on.

    The last, incomplete batch of an epoch is dropped, so every step sees as many images.
    """

    def __init__(self, images: int, batch: int, seed: int) -> None:
        if images < batch:
            raise ValueError(f"batch={batch} is larger than the training set of {images} images")
        self.images, self.batch, self.seed = images, batch, seed
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        return self.images // self.batch - self.start

    def __iter__(self) -> Any:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch, -1))
        order: Sequence[int] = torch.randperm(self.images, generator=generator).tolist()
        for step in range(self.start, self.images // self.batch):
            chosen = order[step * self.batch : (step + 1) * self.batch]
            yield [(self.epoch, index) for index in chosen]


def loader(dataset: Augmented, sampler: EpochSampler, device: torch.device) -> DataLoader[Any]:
    """Batches for training. On a CPU one worker: it prepares the next batch beside the step."""
    cores = os.cpu_count() or 1
    workers = min(8, cores) if device.type == "cuda" else min(1, cores - 1)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        persistent_workers=False,
    )
