"""The data sets a recipe names, opened with the recipe's augmentation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from fcn_tutorial import datasets
from fcn_tutorial.datasets.loading import Augmented, collate, mix
from fcn_tutorial.training import own_folder
from fcn_tutorial.training.recipe import Data, FolderData, Recipe

__all__ = ["Augmented", "EpochSampler", "First", "InMemory", "loader", "open_split", "root"]

_FOLDERS = {
    "camvid": datasets.CamVid.folder,
    "voc": "",  # VOCdevkit and SBD, side by side
    "nyud": datasets.NYUDv2.folder,
    "siftflow": datasets.SIFTFlow.folder,
}


def root(dataset: str, data: Path | None) -> Path:
    """The folder of a data set: `data`, or its subfolder, or the one inside FCN_DATA.

    Raises FileNotFoundError saying how to name it.
    """
    folder = _FOLDERS[dataset]
    named = data or (Path(os.environ["FCN_DATA"]) if "FCN_DATA" in os.environ else None)
    if named is None:
        raise FileNotFoundError(
            f"the {dataset} recipes need a data folder: give --data DIR, or set FCN_DATA to the "
            f"folder that holds {folder or 'VOCdevkit'}/"
        )
    return named / folder if (named / folder).is_dir() else named


def open_split(recipe: Recipe, split: str, data: Path | None) -> Any:
    """The recipe's "train", "val" or "test" images: whole, without augmentation.

    Raises ValueError for a split the recipe does not have,
    FileNotFoundError and ValueError as the data set does.
    """
    spec = recipe.data
    wanted = spec.train_images if split == "train" else spec.test_images
    if spec.name == "scenes":
        scenes = datasets.Scenes(
            n=wanted, split=split, size=spec.crop, task=spec.task, modality=spec.modality
        )
        return InMemory(scenes, wanted)
    if isinstance(spec, FolderData):
        dataset: Any = own_folder.open_folder(spec, split, data)
    else:
        dataset = _open(spec, split, data)
    images = min(wanted, len(dataset)) if wanted else len(dataset)
    if spec.name in ("camvid", "folder"):
        return InMemory(dataset, images)
    return First(dataset, images)


def _open(spec: Data, split: str, data: Path | None) -> Any:
    names = {"train": spec.train_split, "val": spec.val_split, "test": spec.test_split}
    if not names.get(split):
        known = " and ".join(name for name, value in names.items() if value)
        raise ValueError(f"there is no split {split!r}: the recipe has {known}")
    folder, name = root(spec.name, data), names[split]
    if spec.name == "camvid":
        return datasets.CamVid(folder, name)
    if spec.name == "siftflow":
        return datasets.SIFTFlow(folder, name, spec.task)
    if spec.name == "nyud":
        dataset = datasets.NYUDv2(folder, name, spec.modality)
        # The frames of the official file have a white border (see `NYUDv2`).
        if dataset[0][1].shape == (480, 640):
            region = datasets.NYUDv2.valid_region
            dataset = datasets.NYUDv2(folder, name, spec.modality, crop=region)
        return dataset
    if name in ("train", "seg11valid", "trainaug"):
        return datasets.VOCPlusSBD(folder, "val" if name == "seg11valid" else name)
    year, _, part = name.partition("-")
    return datasets.VOCSegmentation(folder, part, year)


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
