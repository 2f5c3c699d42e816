"""A folder of somebody's own photos as a recipe's data: how it is parted, shrunk and repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fcn_tutorial.datasets import Folder
from fcn_tutorial.datasets.own.folder import names_or_file
from fcn_tutorial.datasets.own.pairing import Names
from fcn_tutorial.datasets.own.parts import Shares
from fcn_tutorial.training.recipe import Data, FolderData
from fcn_tutorial.transforms import LimitSide

_SHOWN = 5  # classes that a note lists before it counts the others


def splits(spec: Data) -> tuple[str, ...]:
    """The splits that a recipe's data have: train, val, and test unless a folder goes without."""
    if isinstance(spec, FolderData):
        tested = spec.test_fraction > 0 if _drawn(spec) else spec.test_list
        return ("train", "val", "test") if tested else ("train", "val")
    return ("train", "val", "test") if spec.test_split else ("train", "val")


def _drawn(spec: FolderData) -> bool:
    return not (spec.train_list or spec.val_list or spec.test_list)


def open_folder(spec: FolderData, split: str, data: Path | None) -> Folder:
    """One split of the folder, its photos no longer than `longest_side`.

    Raises FileNotFoundError and ValueError naming what is wrong and what to do about it.
    """
    if split not in splits(spec):
        raise ValueError(
            f"there is no split {split!r}, only {' and '.join(splits(spec))}: the recipe has "
            f"data.test_fraction={spec.test_fraction} and data.test_list={spec.test_list!r}"
        )
    dataset = Folder(
        _named(spec.images, "images", data),
        _named(spec.masks, "masks", data),
        names_or_file(spec.classes),
        _part(spec, split),
        LimitSide(spec.longest_side) if spec.longest_side else None,
        spec.colours or None,
        Names(mask_suffix=spec.mask_suffix),
        Shares(spec.val_fraction, spec.test_fraction, spec.split_seed),
    )
    if len(dataset.classes) < 2:
        raise ValueError(
            f"{dataset.masks}: {dataset.classes[0]!r} is the only class, and every pixel would be "
            "it. Name what is around it too, as in --set data.classes=background,"
            f"{dataset.classes[0]}, and give it a label of its own"
        )
    return dataset


def _named(folder: str, what: str, data: Path | None) -> Path:
    if folder:
        return Path(folder)
    if data is None:
        raise FileNotFoundError(
            "the folder recipe needs your photos and their masks: give --set data.images=DIR "
            "--set data.masks=DIR, or --data DIR for a folder that holds images/ and masks/"
        )
    return data / what


def _part(spec: FolderData, split: str) -> str:
    """What `Folder` takes for a split: its name, or the list of its photos."""
    if _drawn(spec):
        return split
    if not (spec.train_list and spec.val_list):
        raise ValueError(
            f"data.train_list={spec.train_list!r}, data.val_list={spec.val_list!r}: lists go "
            "together; give one of photos to train on and one of photos to validate on"
        )
    return {"train": spec.train_list, "val": spec.val_list, "test": spec.test_list}[split]


def epoch_images(spec: Data, images: int) -> int:
    """Images in an epoch: all of them, each several times where a folder holds few."""
    wanted = spec.epoch_images if isinstance(spec, FolderData) else 0
    return images * max(1, -(-wanted // images))


def window(spec: Data, train_set: Any) -> tuple[int, int]:
    """Rows and columns of a training window: `spec.crop`, in a folder no larger than its photos.

    Padding would otherwise show the network a world of void that no photo has.
    """
    if not isinstance(spec, FolderData):
        return spec.crop
    sizes = [train_set[i][0].shape[-2:] for i in range(len(train_set))]
    rows, columns = (max(side) for side in zip(*sizes, strict=True))
    return min(spec.crop[0], rows), min(spec.crop[1], columns)


def notes(spec: Data, opened: Mapping[str, Any]) -> list[str]:
    """What a reader of the record must know of a folder's splits; nothing of other data sets.

    Raises ValueError where the training masks are void throughout.
    """
    if not isinstance(spec, FolderData):
        return []
    found = []
    if "test" not in opened:
        found.append("no test split: val chose the weights, so its scores flatter them")
    for split, dataset in opened.items():
        counts = _label_counts(dataset)
        if split == "train" and not any(counts):
            raise ValueError(
                f"none of the {len(dataset)} training masks has a labelled pixel: all are void "
                "(255); check that they are the label images"
            )
        if absent := [name for name, n in zip(dataset.classes, counts, strict=True) if not n]:
            more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
            found.append(f"{split} has no pixel of {', '.join(absent[:_SHOWN])}{more}")
    if (wanted := spec.crop) != (used := window(spec, opened["train"])):
        found.append(f"data.crop={_pair(wanted)} is larger than the photos: {_pair(used)} was used")
    digests = {split: _digests(dataset) for split, dataset in opened.items()}
    for split in list(opened)[1:]:
        if shared := len(digests["train"] & digests[split]):
            found.append(
                f"train and {split} share {shared} photos, which flatters the scores: "
                "`fcn-tutorial data check folder` names such pairs"
            )
    return found


def _pair(sides: tuple[int, int]) -> str:
    return f"{sides[0]},{sides[1]}"


def _label_counts(dataset: Any) -> list[int]:
    """Pixels of each class."""
    counts = torch.zeros(256, dtype=torch.int64)
    for i in range(len(dataset)):
        counts += torch.bincount(dataset[i][1].flatten(), minlength=256)
    return [int(n) for n in counts[: len(dataset.classes)]]


def _digests(dataset: Any) -> set[bytes]:
    images = (dataset[i][0].numpy() for i in range(len(dataset)))
    return {hashlib.sha256(repr(a.shape).encode() + a.tobytes()).digest() for a in images}
