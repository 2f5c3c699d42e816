"""SBD, the Semantic Boundaries Dataset: VOC's classes drawn on 11,355 images of VOC 2011."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fcn_tutorial.datasets.formats.images import Transforms
from fcn_tutorial.datasets.readers.pascal import Pascal, locate, pair_up, read_names


class SBD(Pascal):
    """SBD (Hariharan et al., 2011), 21 classes; the training images of the paper's VOC nets.

    Items are (Image uint8 (3, H, W), Mask uint8 (H, W)) before `transforms`; SBD marks no void.

    Args:
        root: the folder `benchmark_RELEASE` of the archive, its `dataset`, or a folder holding
            either: the one with `cls/*.mat`, `img/*.jpg`, `train.txt` and `val.txt`.
        split: "train" (8,498 images) or "val" (2,857). These are SBD's own splits: SBD's train
            holds images of VOC's val. See `VOCPlusSBD` for pairs that do not overlap.
        transforms: joint transform of (image, mask).

    Raises:
        ValueError: for an unknown split, a damaged file, or a label above 20.
        FileNotFoundError: naming the list or file that is missing.

    On generated pictures in its layout::

        >>> import tempfile
        >>> from fcn_tutorial.datasets import writers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     photos = SBD(writers.write_sbd(folder, n=3, size=(32, 32)))
        ...     len(photos), [path.suffix for path in photos.files[0]]
        (6, ['.jpg', '.mat'])
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    counts: ClassVar[dict[str, int]] = {"train": 8498, "val": 2857}
    folder: ClassVar[str] = "SBD"  # inside the folder that FCN_DATA names
    source: ClassVar[str] = "home.bharathh.info/home/sbd"
    citation: ClassVar[str] = (
        "B. Hariharan, P. Arbelaez, L. Bourdev, S. Maji, J. Malik. "
        "Semantic Contours from Inverse Detectors. ICCV 2011."
    )
    licence: ClassVar[str] = "none stated for the labels; the pictures are PASCAL VOC's"

    def __init__(
        self, root: str | Path, split: str = "train", transforms: Transforms = None
    ) -> None:
        super().__init__(root, split, transforms)
        self.root = find(self.root)
        listed = self.root / f"{split}.txt"
        names = read_names(listed)
        self.files = pair_up(self.root / "img", self.root / "cls", ".mat", names, listed)


def find(root: Path) -> Path:
    """The folder with `train.txt` at or below `root`.

    Raises:
        FileNotFoundError: where there is none, listing where it looked.
    """
    below = ("", "dataset", "benchmark_RELEASE/dataset", "benchmark/benchmark_RELEASE/dataset")
    return locate([root / place for place in below], "train.txt", "SBD data")
