"""What the readers of published data sets share: their facts, their constructor, pairs of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from fcn_tutorial.datasets.formats.images import Transforms, read_image, sample
from fcn_tutorial.files import one_of

Colour = tuple[int, int, int]
Pair = tuple[Path, Path]


class Reader(Dataset[tuple[Any, Any]]):
    """A split of a data set below a folder; void is 255 in its items.

    classes, palette: names and colours of labels 0, 1, …; dicts of them where there are several
    tasks. splits: their names, and counts: the published number of images in each. folder: the
    data set's inside the folder that FCN_DATA names. source, citation, licence: as `data list`
    shows them.
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
        """Raises ValueError for an unknown split."""
        self.root = Path(root)
        self.split = one_of("split", split, self.splits)
        self.transforms = transforms


class PairedFiles(Reader):
    """One whose items are pairs of files; `files` lists (image, labels) paths."""

    files: list[Pair]

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """Labels (H, W), void 255, of a file of labels. Raises ValueError naming it."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, labels = self.files[index]
        return sample(read_image(image), self.read_labels(labels), self.transforms, (image, labels))
