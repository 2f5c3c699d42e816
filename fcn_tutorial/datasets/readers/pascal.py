"""What PASCAL VOC and SBD share: the 21 classes, their colours, and how a pair of files is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import read_index_image
from fcn_tutorial.datasets.formats.mat import read_mat
from fcn_tutorial.datasets.readers.reader import Colour, Pair, PairedFiles
from fcn_tutorial.files import inside, numbered_lines, require


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


class Pascal(PairedFiles):
    """Pairs of files with VOC's classes."""

    classes: ClassVar[tuple[str, ...]] = (
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat",
        "chair", "cow", "dining table", "dog", "horse", "motorbike", "person", "potted plant",
        "sheep", "sofa", "train", "tv/monitor",
    )  # fmt: skip
    palette: ClassVar[tuple[Colour, ...]] = palette(21)

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """0–20 and 255, of a VOC label image or an SBD .mat file."""
        labels = _read_sbd(path) if path.suffix == ".mat" else read_index_image(path)
        wrong = labels[(labels >= len(self.classes)) & (labels != self.ignore_index)]
        if wrong.size:
            raise ValueError(f"{path}: label {wrong.max()}, expected 0–20 or {self.ignore_index}")
        return labels


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
