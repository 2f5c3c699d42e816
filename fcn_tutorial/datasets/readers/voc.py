"""PASCAL VOC segmentation of 2011 and 2012, and the pairs of splits it forms with SBD.

torchvision's `VOCSegmentation` reads the same files; it has no seg11valid, and leaves damaged
files to whoever meets them. The tests hold both readers equal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from fcn_tutorial.datasets.formats.images import Transforms
from fcn_tutorial.datasets.readers import sbd
from fcn_tutorial.datasets.readers.pascal import Pascal, locate, pair_up, read_names
from fcn_tutorial.datasets.readers.reader import Pair
from fcn_tutorial.files import fcn_data, one_of

_LICENCE = "the organisers hold the labels; the pictures come under Flickr's terms of use"


class VOCSegmentation(Pascal):
    """PASCAL VOC segmentation (Everingham et al., 2010), 21 classes with background.

    Items are (Image uint8 (3, H, W), Mask uint8 (H, W)) before `transforms`, 255 where VOC draws
    its void border.

    Args:
        root: the folder that holds `VOCdevkit`, or `VOCdevkit`, or `VOC2012` inside it. The archive
            of 2011 puts `VOCdevkit` into a folder `TrainVal`, which is looked into as well.
        split: "train", "val", "trainval", or "seg11valid": VOC 2011 val without SBD's training
            images, 736 of 1,111. FCN's published VOC scores are on seg11valid, because FCN trains
            on SBD's train, which holds the others.
        year: "2011" or "2012"; seg11valid exists in 2011 only.
        sbd_root: for seg11valid, where SBD is; as a rule `SBD` beside `VOCdevkit`, or in the folder
            that FCN_DATA names. Only its `train.txt` is read.
        transforms: joint transform of (image, mask).

    Raises:
        ValueError: for an unknown split or year, a damaged file, or a label above 20.
        FileNotFoundError: naming the list or file that is missing.

    On generated pictures in its layout, a third of val being in SBD's train::

        >>> import tempfile
        >>> from fcn_tutorial.datasets import writers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     voc = writers.write_voc(folder, n=3, size=(32, 32), year="2011")
        ...     {split: len(VOCSegmentation(voc, split, "2011")) for split in ("val", "seg11valid")}
        {'val': 3, 'seg11valid': 2}
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "trainval", "seg11valid")
    years: ClassVar[tuple[str, ...]] = ("2011", "2012")
    counts: ClassVar[dict[str, dict[str, int]]] = {
        "2011": {"train": 1112, "val": 1111, "trainval": 2223, "seg11valid": 736},
        "2012": {"train": 1464, "val": 1449, "trainval": 2913},
    }
    folder: ClassVar[str] = "VOCdevkit"  # inside the folder that FCN_DATA names
    source: ClassVar[str] = "host.robots.ox.ac.uk/pascal/VOC"
    citation: ClassVar[str] = (
        "M. Everingham, L. Van Gool, C. K. I. Williams, J. Winn, A. Zisserman. "
        "The PASCAL Visual Object Classes (VOC) Challenge. IJCV 88, 2010."
    )
    licence: ClassVar[str] = _LICENCE

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        year: str = "2012",
        transforms: Transforms = None,
        sbd_root: str | Path | None = None,
    ) -> None:
        super().__init__(root, split, transforms)
        self.year = one_of("year", str(year), self.years)
        if split == "seg11valid" and self.year != "2011":
            raise ValueError(f"split='seg11valid' with year={year!r}: it is a part of VOC 2011")
        self.root = _find(self.root, self.year)
        listed = _list(self.root, "val" if split == "seg11valid" else split)
        names = read_names(listed)
        if split == "seg11valid":
            seen = set(read_names(_find_sbd(self.root, sbd_root) / "train.txt"))
            names = {name: line for name, line in names.items() if name not in seen}
        self.files = _pairs(self.root, names, listed)


class VOCPlusSBD(Pascal):
    """VOC and SBD together, in the two ways they are used; train and evaluation never overlap.

    "train" needs SBD alone, "val" VOC 2011, and "trainaug" VOC 2012. Items are those of
    `VOCSegmentation`; SBD's labels have no void. Source of "train" and "val": Long et al. 2015,
    section 5, and the authors' published lists.

    Args:
        root: where VOC is, as for `VOCSegmentation`.
        split: "train" and "val" are the paper's: SBD's 8,498 training images with SBD's labels, and
            VOC's seg11valid, 736 images with VOC's labels. "trainaug" is what later papers,
            such as DeepLab's, train on before they evaluate on `VOCSegmentation(root, "val")`: VOC
            2012 train with VOC's labels, and all other images of SBD with SBD's, without VOC 2012
            val; 10,582.
        sbd_root: where SBD is; as for `VOCSegmentation`.
        transforms: joint transform of (image, mask).

    Raises:
        ValueError: as `VOCSegmentation`, like the one below.
        FileNotFoundError: likewise.

    On generated pictures in its layout::

        >>> import tempfile
        >>> from fcn_tutorial.datasets import writers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     voc = writers.write_voc(folder, n=3, size=(32, 32), year="2011")
        ...     {split: len(VOCPlusSBD(voc, split)) for split in ("train", "val")}
        {'train': 6, 'val': 2}
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "val", "trainaug")
    counts: ClassVar[dict[str, int]] = {"train": 8498, "val": 736, "trainaug": 10582}
    folder: ClassVar[str] = VOCSegmentation.folder
    source: ClassVar[str] = f"{VOCSegmentation.source}, {sbd.SBD.source}"
    citation: ClassVar[str] = f"{VOCSegmentation.citation} {sbd.SBD.citation}"
    licence: ClassVar[str] = _LICENCE

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        transforms: Transforms = None,
        sbd_root: str | Path | None = None,
    ) -> None:
        super().__init__(root, split, transforms)
        if split == "trainaug":
            self.root = _find(self.root, "2012")
            self.files = _augmented(self.root, sbd_root)
            return
        part: Pascal
        if split == "train":
            part = sbd.SBD(_find_sbd(self.root, sbd_root), "train")
        else:
            part = VOCSegmentation(root, "seg11valid", "2011", sbd_root=sbd_root)
        self.root, self.files = part.root, part.files


def _augmented(voc: Path, sbd_root: str | Path | None) -> list[Pair]:
    listed = _list(voc, "train")
    own = read_names(listed)
    files = _pairs(voc, own, listed)
    taken = {*own, *read_names(_list(voc, "val"))}
    folder = _find_sbd(voc, sbd_root)
    for split in sbd.SBD.splits:
        source = folder / f"{split}.txt"
        more = {n: line for n, line in read_names(source).items() if n not in taken}
        files += pair_up(folder / "img", folder / "cls", ".mat", more, source)
        taken.update(more)
    return files


def _list(voc: Path, split: str) -> Path:
    return voc / "ImageSets" / "Segmentation" / f"{split}.txt"


def _pairs(voc: Path, names: dict[str, str], listed: Path) -> list[Pair]:
    return pair_up(voc / "JPEGImages", voc / "SegmentationClass", ".png", names, listed)


def _find(root: Path, year: str) -> Path:
    """The folder VOC<year> at, below or beside `root`."""
    below = f"VOC{year}", f"VOCdevkit/VOC{year}", f"TrainVal/VOCdevkit/VOC{year}"
    places = [root / place for place in below]
    if re.fullmatch(r"VOC20\d\d", root.name):
        places.append(root.parent / below[0])  # VOC2012 was named, and 2011 lies beside it
    if root.name not in (f"VOC{other}" for other in VOCSegmentation.years if other != year):
        places.insert(0, root)
    return locate(places, "ImageSets/Segmentation", f"VOC {year} data")


def _find_sbd(voc: Path, sbd_root: str | Path | None) -> Path:
    """SBD's folder: the one given, one beside VOCdevkit, or the one inside FCN_DATA."""
    if sbd_root is not None:
        return sbd.find(Path(sbd_root))
    data = fcn_data()
    places = [folder / sbd.SBD.folder for folder in (voc, *list(voc.absolute().parents)[:4])]
    for place in [*places, *([data / sbd.SBD.folder] if data else [])]:
        if place.is_dir():
            return sbd.find(place)
    raise FileNotFoundError(
        f"no folder {sbd.SBD.folder} beside {voc} or in FCN_DATA ({data}); give sbd_root"
    )
