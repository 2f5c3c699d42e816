"""The electron-microscopy stack of the ISBI 2012 challenge: 30 frames of membranes and cells.

The layout of github.com/zhixuhao/unet: `image/0.png` … and `label/0.png` …, grey, 0 on membranes
and 255 on cells. The labels of the challenge's own test frames are not public: the stack is split
in the order of its numbers, of six frames four for training, one for val and one for test.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import Transforms, read_index_image
from fcn_tutorial.datasets.readers.reader import Colour, Pair, PairedFiles
from fcn_tutorial.files import number_of, require


class ISBIEM(PairedFiles):
    """Membrane (0) or cell (1), 512×512 (Arganda-Carreras et al., 2015).

    Items are (Image uint8 (3, H, W), three times the same, Mask uint8 (H, W)) before `transforms`.

    Args:
        root: the folder holding `image/` and `label/`.
        split: "train", "val" or "test": frames 0–19, 20–24 and 25–29 of the 30.
        transforms: joint transform of (image, mask).

    Raises:
        ValueError: for an unknown split, and naming a file whose name is no number, or that holds
            another level.
        FileNotFoundError: naming a folder or label that is missing.

    On generated pictures in its layout::

        >>> import tempfile
        >>> from fcn_tutorial.datasets import writers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     frames = ISBIEM(writers.write_isbi_em(folder, n=1, size=(48, 64)))
        ...     image, mask = frames[0]
        >>> len(frames), image.shape, mask.unique().tolist()
        (4, torch.Size([3, 48, 64]), [0, 1])
    """

    classes: ClassVar[tuple[str, ...]] = ("membrane", "cell")
    palette: ClassVar[tuple[Colour, ...]] = ((0, 0, 0), (255, 255, 255))
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    counts: ClassVar[dict[str, int]] = {"train": 20, "val": 5, "test": 5}
    folder: ClassVar[str] = "ISBI-EM"  # inside the folder that FCN_DATA names
    source: ClassVar[str] = "github.com/zhixuhao/unet"
    citation: ClassVar[str] = (
        "I. Arganda-Carreras et al. Crowdsourcing the Creation of Image Segmentation Algorithms "
        "for Connectomics. Frontiers in Neuroanatomy 9, 2015."
    )
    licence: ClassVar[str] = "the challenge's terms, for research; MIT is stated for the repository"

    def __init__(
        self, root: str | Path, split: str = "train", transforms: Transforms = None
    ) -> None:
        super().__init__(root, split, transforms)
        frames = _numbered(self.root)
        held = len(frames) // 6
        ends = {"train": (0, -2 * held), "val": (-2 * held, -held), "test": (-held, None)}
        first, last = ends[split]
        self.files = frames[first:last]

    def read_labels(self, path: Path) -> NDArray[np.uint8]:
        """0 on membranes, 255 on cells in the files.

        Raises:
            ValueError: naming a file that is damaged or holds another level.
        """
        levels = read_index_image(path)
        wrong = (levels != 0) & (levels != 255)
        if wrong.any():
            raise ValueError(f"{path}: level {levels[wrong][0]}, expected 0 or 255")
        return np.where(levels == 255, np.uint8(1), np.uint8(0))


def _numbered(root: Path) -> list[Pair]:
    """Image and label of every frame, in the order of their numbers."""
    require(root / "image" / "0.png", f"{root} must hold image/0.png, label/0.png, and so on")
    images = [path for path in (root / "image").iterdir() if path.suffix == ".png"]
    for path in images:
        if not path.stem.isdecimal():
            raise ValueError(f"{path}: frames are named by numbers, as in 0.png")
        require(root / "label" / path.name, f"{path} is its image")
    if len(images) < 6:
        raise ValueError(
            f"{root / 'image'}: {number_of(len(images), 'frame')}, at least 6 are split"
        )
    images.sort(key=lambda path: int(path.stem))
    return [(path, root / "label" / path.name) for path in images]
