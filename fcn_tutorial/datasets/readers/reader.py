"""What the readers of published data sets share: their facts, their constructor, pairs of files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from fcn_tutorial.datasets.formats.images import Transforms, read_image, sample
from fcn_tutorial.files import inside, one_of, require

Colour = tuple[int, int, int]
Pair = tuple[Path, Path]


class Reader(Dataset[tuple[Any, Any]]):
    """A split of a data set below a folder; void is 255 in its items.

    classes, palette: names and colours of labels 0, 1, …; dicts of them where there are several
    tasks. splits: their names, and counts: the published number of images in each. folder: the
    data set's inside the folder that FCN_DATA names. source, citation, licence: as `data list`
    shows them.

    Raises:
        ValueError: for an unknown split.
    """

    classes: ClassVar[Any]
    palette: ClassVar[Any]
    ignore_index: ClassVar[int] = 255
    splits: ClassVar[tuple[str, ...]]
    counts: ClassVar[Mapping[str, Any]]
    folder: ClassVar[str]
    source: ClassVar[str]
    citation: ClassVar[str]
    licence: ClassVar[str]

    def __init__(self, root: str | Path, split: str, transforms: Transforms = None) -> None:
        self.root = Path(root)
        self.split = one_of("split", split, self.splits)
        self.transforms = transforms


class PairedFiles(Reader):
    """One whose items are pairs of files; `files` lists (image, labels) paths."""

    files: list[Pair]

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """Labels (H, W), void 255, of a file of labels.

        Raises:
            ValueError: naming the file, where it is damaged or holds what is no label.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, labels = self.files[index]
        return sample(read_image(image), self.read_labels(labels), self.transforms, (image, labels))


# --- Lists of pairs -----------------------------------------------------------------------------

_MOST_BLANKS = 64  # in a line of a list; names hold a few at most


def listed_pair(root: Path, line: str, where: str) -> Pair:
    """The image and its labels that a line of a list names, one behind the other.

    Of each path the last two parts count, folder and name: lists are written on other machines,
    with other beginnings, and on Windows with backslashes. Names and folders may hold blanks: the
    line is parted at the blank where both files are there.

    Args:
        root: the folder both lie below.
        line: such as `/SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png`.
        where: list and line, for errors.

    Raises:
        ValueError: where the line does not name two files in folders, or leads out of `root`.
        FileNotFoundError: naming the file that is missing.
    """
    pairs = list(_partings(root, line, where))
    if not pairs:
        raise ValueError(
            f"{where}: {line[:200]!r}: expected an image and its labels, as in "
            "'folder/a.png folder_of_labels/a.png'"
        )
    for pair in pairs:
        if all(path.is_file() for path in pair):
            return pair
    likely = next((p for p in pairs if p[0].stem == p[1].stem), pairs[0])
    for path in likely:
        require(path, f"{where} names it")
    return likely


def _partings(root: Path, line: str, where: str) -> Iterator[Pair]:
    for count, blank in enumerate(re.finditer(r"\s+", line)):
        if count >= _MOST_BLANKS:
            return
        halves = [_folder_and_name(half) for half in (line[: blank.start()], line[blank.end() :])]
        if all(halves):
            image, labels = (inside(root, half, where) for half in halves)
            yield image, labels


def _folder_and_name(text: str) -> str:
    """The last two parts of a path; "" where there are not so many, or no file is named."""
    path = PureWindowsPath(text)
    parts = path.parts[bool(path.anchor) :]
    return "/".join(parts[-2:]) if len(parts) > 1 and path.suffix else ""
