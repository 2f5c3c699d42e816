"""What PASCAL VOC and SBD share: the 21 classes, their colours, and how a pair of files is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from fcn_tutorial.datasets.formats.images import Transforms, read_image, read_index_image, sample
from fcn_tutorial.datasets.formats.mat import read_mat
from fcn_tutorial.files import inside, numbered_lines, require

VOID = 255
Pair = tuple[Path, Path]


def palette(n: int) -> tuple[tuple[int, int, int], ...]:
    """The first `n` colours of VOC's label images, n ≤ 256, as (red, green, blue).

    Three bits of the label's number go to the highest free bits of red, green and blue, the next
    three to the bits below, and so on. Source: VOC development kit, VOClabelcolormap.m.
    """
    return tuple(
        (_spread(label), _spread(label >> 1), _spread(label >> 2))  # bits 0, 3, 6; 1, 4, 7; 2, 5
        for label in range(n)
    )


def _spread(bits: int) -> int:
    return (bits & 1) << 7 | (bits >> 3 & 1) << 6 | (bits >> 6 & 1) << 5


class Pascal(Dataset[tuple[Any, Any]]):
    """Pairs of files with VOC's classes; `files` lists (image, labels) paths."""

    classes: ClassVar[tuple[str, ...]] = (
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat",
        "chair", "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant",
        "sheep", "sofa", "train", "tv/monitor",
    )  # fmt: skip
    palette: ClassVar[tuple[tuple[int, int, int], ...]] = palette(21)
    ignore_index: ClassVar[int] = VOID
    files: list[Pair]
    transforms: Transforms

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, labels = self.files[index]
        return sample(read_image(image), read_labels(labels), self.transforms, (image, labels))


def choose(name: str, value: str, known: Iterable[str]) -> str:
    """`value` if it is known; otherwise ValueError naming the argument and what it may be."""
    known = list(known)
    if value not in known:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(known)}")
    return value


def locate(places: Sequence[Path], marker: str, what: str) -> Path:
    """The first of `places` that holds `marker`; otherwise FileNotFoundError listing them."""
    for place in places:
        if os.path.exists(place / marker):
            return place
    looked = ", ".join(map(str, places))
    raise FileNotFoundError(f"no {what}: {marker} found in none of {looked}")


def read_names(path: Path) -> list[str]:
    """The image names, without ending, that a split's list holds one a line.

    Raises FileNotFoundError, and ValueError for a list that is empty or names an image twice.
    """
    lines = numbered_lines(path)
    if not lines:
        raise ValueError(f"{path} names no images")
    first: dict[str, int] = {}
    for number, name in lines:
        if first.setdefault(name, number) != number:
            raise ValueError(f"{path}, line {number}: {name} is on line {first[name]} already")
    return [name for _, name in lines]


def pair_up(
    images: Path, labels: Path, ending: str, names: Iterable[str], source: Path
) -> list[Pair]:
    """`images/NAME.jpg` with `labels/NAME` + ending, both checked to be there.

    `source` is the list the names come from. Raises FileNotFoundError naming the missing file, and
    ValueError for a name that leads out of the folders.
    """
    pairs = [
        (inside(images, name + ".jpg", str(source)), inside(labels, name + ending, str(source)))
        for name in names
    ]
    for pair in pairs:
        for path in pair:
            require(path, f"{source} names it")
    return pairs


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Labels (H, W) uint8, 0–20 and 255, of a VOC label image or an SBD .mat file.

    Raises FileNotFoundError, and ValueError for a damaged file or any other label.
    """
    labels = _read_sbd(path) if path.suffix == ".mat" else read_index_image(path)
    wrong = labels[(labels >= len(Pascal.classes)) & (labels != VOID)]
    if wrong.size:
        raise ValueError(f"{path}: label {wrong.max()}, expected 0–20 or {VOID}")
    return labels


def _read_sbd(path: Path) -> NDArray[np.uint8]:
    """The matrix `GTcls.Segmentation`; the struct also holds 20 matrices of boundaries."""
    struct = read_mat(path).get("GTcls")
    if not isinstance(struct, np.ndarray) or struct.size != 1 or not struct.dtype.names:
        raise ValueError(f"{path}: no struct GTcls, which an SBD file holds")
    if "Segmentation" not in struct.dtype.names:
        raise ValueError(f"{path}: GTcls has no Segmentation, but {', '.join(struct.dtype.names)}")
    labels = struct.reshape(-1)["Segmentation"][0]
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(f"{path}: GTcls.Segmentation is no (H, W) array of uint8")
    return labels
