"""Small data sets in the official layouts of VOC and SBD, for tests."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse
from numpy.typing import NDArray
from PIL import Image

# The first ten colours as VOC's development kit prints them.
KNOWN_COLOURS = [
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128),
    (128, 0, 128), (0, 128, 128), (128, 128, 128), (64, 0, 0), (192, 0, 0),
]  # fmt: skip


def picture(name: str, size: tuple[int, int] = (24, 32)) -> NDArray[np.uint8]:
    """Smooth pixels (H, W, 3) that depend on the name alone, as one photograph in two sets does."""
    rng = np.random.default_rng(list(name.encode()))
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    return np.array(coarse.resize(size[::-1], Image.Resampling.BICUBIC))


def labels(name: str, size: tuple[int, int] = (24, 32), void: bool = True) -> NDArray[np.uint8]:
    """Labels (H, W) of all 21 classes, with some void."""
    rng = np.random.default_rng([1, *name.encode()])
    drawn = rng.integers(0, 21, size, np.uint8)
    if void:
        drawn[rng.random(size) < 0.1] = 255
    return drawn


def write_voc(root: Path, year: str, splits: Mapping[str, Iterable[str]]) -> Path:
    """`root/VOCdevkit/VOC<year>` with these image names in each split's list."""
    voc = root / "VOCdevkit" / f"VOC{year}"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        listed = list(names)
        (voc / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(
            "".join(f"{name}\n" for name in listed)
        )
        for name in listed:
            Image.fromarray(picture(name)).save(voc / "JPEGImages" / f"{name}.jpg")
            mask = Image.fromarray(labels(name))
            mask.putpalette(bytes(sum(KNOWN_COLOURS, ())).ljust(768, b"\0"))  # 8 bits, as VOC's
            mask.save(voc / "SegmentationClass" / f"{name}.png")
    return voc


def write_sbd(root: Path, splits: Mapping[str, Iterable[str]]) -> Path:
    """`root/SBD/benchmark_RELEASE/dataset` with these image names in each split's list."""
    sbd = root / "SBD" / "benchmark_RELEASE" / "dataset"
    for folder in ("img", "cls"):
        (sbd / folder).mkdir(parents=True, exist_ok=True)
    for split, names in splits.items():
        listed = list(names)
        (sbd / f"{split}.txt").write_text("".join(f"{name}\n" for name in listed))
        for name in listed:
            Image.fromarray(picture(name)).save(sbd / "img" / f"{name}.jpg")
            drawn = labels(name, void=False)
            boundaries = np.empty((20, 1), object)
            for k in range(20):
                boundaries[k, 0] = scipy.sparse.csc_matrix(drawn == k + 1)
            struct = {
                "Boundaries": boundaries,
                "Segmentation": drawn,
                "CategoriesPresent": np.unique(drawn[drawn > 0])[:, None],
            }
            scipy.io.savemat(sbd / "cls" / f"{name}.mat", {"GTcls": struct}, do_compression=True)
    return sbd
