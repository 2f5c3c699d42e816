"""Scenes as PASCAL VOC and SBD: one stock of pictures, two sets of labels, two sets of splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy import ndimage

from fcn_tutorial.datasets.readers.pascal import Pascal, palette
from fcn_tutorial.datasets.readers.sbd import SBD
from fcn_tutorial.datasets.readers.voc import VOCSegmentation
from fcn_tutorial.datasets.scenes import Scenes
from fcn_tutorial.datasets.writers._common import (
    appearing,
    relabel,
    scenes,
    write_jpeg,
    write_lines,
    write_mat,
    write_palette_png,
)
from fcn_tutorial.files import one_of

CLASSES = dict.fromkeys(Scenes.classes, "background") | {
    "car": "car",
    "person": "person",
    "tree": "potted plant",
    "sign": "tv/monitor",
}
# Pictures of VOC's train and val, and those of SBD that VOC does not label. VOC 2011 and 2012 share
# theirs, as the real ones do.
_YEARS = {"train": 2007, "val": 2008, "test": 2009}
_SIZE = (375, 500)  # of most photographs in VOC


class _Photo(NamedTuple):
    name: str
    number: int
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]  # of `Scenes`


def write_voc(
    root: str | Path,
    n: int = 20,
    size: tuple[int, int] = _SIZE,
    seed: int = 0,
    year: str = "2012",
    sbd: bool = True,
) -> Path:
    """Write `root/VOCdevkit/VOC<year>`, and with `sbd` also `root/SBD` as `write_sbd` does.

    `JPEGImages/*.jpg`, `SegmentationClass/*.png` (palette PNG with VOC's colours, void 255) and
    `ImageSets/Segmentation/{train,val,trainval}.txt`. Cars,
    persons, trees ("potted plant") and signs ("tv/monitor") are objects, all else background. There
    are no instances and no annotations of boxes.

    Args:
        root: the folder that FCN_DATA names, made if needed.
        n: pictures in train and in val.
        size: (H, W) of each in pixels.
        seed: of the scenes, as in `Scenes`.
        year: "2011" or "2012".
        sbd: whether to write SBD too.

    Returns:
        VOC's folder.

    Raises:
        FileExistsError: where VOC's folder or SBD's is there and not empty.
        ValueError: for a year that is not 2011 or 2012, and as `Scenes` for n, size and seed.

    ::

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     voc = write_voc(root, n=1, size=(48, 64))
        ...     voc.name, sorted(path.name for path in Path(root).iterdir())
        ('VOC2012', ['SBD', 'VOCdevkit'])
    """
    target = f"{VOCSegmentation.folder}/VOC{one_of('year', year, VOCSegmentation.years)}"
    root = Path(root)
    with appearing(root, [target, *([SBD.folder] if sbd else [])], n, size, seed) as workshop:
        _fill_voc(workshop / target, n, size, seed)
        if sbd:
            _fill_sbd(workshop / SBD.folder, n, size, seed)
    return root / target


def write_sbd(root: str | Path, n: int = 20, size: tuple[int, int] = _SIZE, seed: int = 0) -> Path:
    """Write `root/SBD`: cls/*.mat with the struct GTcls, img/*.jpg, train.txt and val.txt.

    3·n pictures: those of `write_voc` with these arguments, and `n` that VOC does not label.
    train.txt has 2·n of them, among which a third of VOC's val, as in the real SBD: training on it
    and scoring on all of VOC's val scores training images. So seg11valid is smaller than val.

    Args:
        root: the folder that FCN_DATA names, made if needed.
        n: as in `write_voc`; a third of the pictures.
        size: (H, W) of each in pixels.
        seed: of the scenes, as in `Scenes`.

    Returns:
        SBD's folder.

    Raises:
        FileExistsError: where the folder is there and not empty.
        ValueError: as `Scenes` for n, size and seed.

    ::

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = write_sbd(root, n=1, size=(48, 64))
        ...     sorted(path.name for path in folder.iterdir() if path.is_dir())
        ['cls', 'img']
    """
    root = Path(root)
    with appearing(root, [SBD.folder], n, size, seed) as workshop:
        _fill_sbd(workshop / SBD.folder, n, size, seed)
    return root / SBD.folder


def _photos(split: str, n: int, size: tuple[int, int], seed: int) -> Iterator[_Photo]:
    for number, scene in enumerate(scenes(split, n, size, seed)):
        name = f"{_YEARS[split]}_{number:06d}"
        yield _Photo(name, number, scene.pixels, scene.labels)


def _fill_voc(folder: Path, n: int, size: tuple[int, int], seed: int) -> None:
    lists = folder / "ImageSets" / "Segmentation"
    for made in (folder / "JPEGImages", folder / "SegmentationClass", lists):
        made.mkdir(parents=True)
    listed: dict[str, list[str]] = {}
    for split in ("train", "val"):
        listed[split] = []
        for photo in _photos(split, n, size, seed):
            write_jpeg(folder / "JPEGImages" / f"{photo.name}.jpg", photo.pixels)
            labels = relabel(photo.labels, CLASSES, Pascal.classes)
            write_palette_png(
                folder / "SegmentationClass" / f"{photo.name}.png", labels, palette(256)
            )
            listed[split].append(photo.name)
    listed["trainval"] = sorted(listed["train"] + listed["val"])
    for split, names in listed.items():
        write_lines(lists / f"{split}.txt", names)


def _fill_sbd(folder: Path, n: int, size: tuple[int, int], seed: int) -> None:
    for made in (folder / "img", folder / "cls"):
        made.mkdir(parents=True)
    listed: dict[str, list[str]] = {"train": [], "val": []}
    for split in _YEARS:
        for photo in _photos(split, n, size, seed):
            write_jpeg(folder / "img" / f"{photo.name}.jpg", photo.pixels)
            labels = relabel(photo.labels, CLASSES, Pascal.classes, border=False)
            write_mat(folder / "cls" / f"{photo.name}.mat", {"GTcls": _struct(labels)})
            # The trap: of each three pictures of VOC's val one is for training here, and one of
            # train for validation. In the real sets it is 375 of 1,111.
            swapped = photo.number % 3 == 1 and split != "test"
            listed["val" if swapped == (split != "val") else "train"].append(photo.name)
    for split, names in listed.items():
        write_lines(folder / f"{split}.txt", sorted(names))


def _struct(labels: NDArray[np.uint8]) -> dict[str, Any]:
    boundaries = np.empty((len(Pascal.classes) - 1, 1), object)
    for number in range(1, len(Pascal.classes)):
        boundaries[number - 1, 0] = scipy.sparse.csc_matrix(_outline(labels == number))
    present = np.unique(labels[labels > 0])[:, None]
    return {"Boundaries": boundaries, "Segmentation": labels, "CategoriesPresent": present}


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of (H, W) `mask` with a neighbour outside it; the image's edge counts as inside."""
    outline: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask, border_value=1)
    return outline
