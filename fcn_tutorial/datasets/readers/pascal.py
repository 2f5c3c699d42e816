"""What PASCAL VOC and SBD share: the 21 classes, their colours, and how a pair of files is read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import read_index_image
from fcn_tutorial.datasets.formats.mat import read_mat
from fcn_tutorial.datasets.readers.reader import Colour, Pair, PairedFiles, listed_pair
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
        """0–20 and 255, of a VOC label image or an SBD .mat file.

        Raises:
            ValueError: naming a file that is damaged or holds a label above 20.
        """
        labels = _read_sbd(path) if path.suffix == ".mat" else read_index_image(path)
        wrong = labels[(labels >= len(self.classes)) & (labels != self.ignore_index)]
        if wrong.size:
            raise ValueError(f"{path}: label {wrong.max()}, expected 0–20 or {self.ignore_index}")
        return labels


def locate(places: Sequence[Path], marker: str, what: str) -> Path:
    """The first of `places` that holds `marker`.

    Raises:
        FileNotFoundError: where none does, listing them.
    """
    for place in places:
        if os.path.exists(place / marker):
            return place
    looked = ", ".join(map(str, places))
    raise FileNotFoundError(f"no {what}: {marker} found in none of {looked}")


_PAIR = re.compile(r".*\.(jpe?g|png)\s+.*\.(png|mat)", re.I)


def read_names(path: Path) -> dict[str, str]:
    """{image name, without ending: its line} of a split's list: one name a line.

    The line may also be the image's file, with folders or without, or as in DeepLab's lists the
    image and its labels: `/JPEGImages/a.jpg /SegmentationClassAug/a.png`.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a list that is empty or names an image twice.
    """
    names: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for number, line in numbered_lines(path):
        first = (
            re.split(r"(?<=\.jpg|\.png)\s+", line, maxsplit=1)[0] if _PAIR.fullmatch(line) else line
        )
        name = PureWindowsPath(first).stem if first.lower().endswith((".jpg", ".png")) else first
        if name in names:
            raise ValueError(f"{path}, line {number}: {name} is on line {numbers[name]} already")
        names[name], numbers[name] = line, number
    if not names:
        raise ValueError(f"{path} names no images")
    return names


def pair_up(
    images: Path, labels: Path, ending: str, names: Mapping[str, str], source: Path
) -> list[Pair]:
    """`images/NAME.jpg` with `labels/NAME` + ending, or the pair that NAME's line names itself.

    All are checked to be there. `names`: as `read_names` has them, from the list `source`.

    Raises:
        FileNotFoundError: naming the missing file.
        ValueError: for a name that leads out of the folders.
    """
    pairs = []
    for name, line in names.items():
        if _PAIR.fullmatch(line):
            pairs.append(listed_pair(images.parent, line, str(source)))
            continue
        pair = (
            inside(images, name + ".jpg", str(source)),
            inside(labels, name + ending, str(source)),
        )
        for path in pair:
            require(path, f"{source} names it")
        pairs.append(pair)
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
