"""PASCAL VOC, SBD on its pictures, and the two together as the paper trains and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fcn_tutorial.datasets.readers import sbd, voc
from fcn_tutorial.datasets.readers.pascal import Pascal
from fcn_tutorial.datasets.source import Remote, Source
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.datasets.writers.pascal import write_sbd, write_voc
from fcn_tutorial.files import one_of

_HOSTS = (  # where the official host redirects to, over https; and itself
    "https://thor.robots.ox.ac.uk/pascal/VOC/",
    "http://host.robots.ox.ac.uk/pascal/VOC/",
)


@dataclass(frozen=True)
class _OfYear(Source):
    year: str = ""

    @property
    def counts(self) -> Mapping[str, int]:
        return voc.VOCSegmentation.counts[self.year]

    def read(self, spec: Data, split: str, data: Path | None) -> voc.VOCSegmentation:
        return voc.VOCSegmentation(self.root(data), split, self.year)


VOC2011 = _OfYear(
    name="voc2011",
    title="PASCAL VOC 2011, segmentation",
    reader=voc.VOCSegmentation,
    year="2011",
    disk=1.8,
    parts=("train", "val"),
    files=(
        Remote(
            tuple(host + "voc2011/VOCtrainval_25-May-2011.tar" for host in _HOSTS),
            "VOCtrainval_25-May-2011.tar",
            md5="6c3384ef61512963050cb5d687e5bf1e",  # torchvision.datasets.voc
            unpack=(("TrainVal/VOCdevkit/VOC2011/", "VOCdevkit/VOC2011"),),
        ),
    ),
    note="seg11valid is computed, and needs SBD's list of training images beside it",
    optional=("seg11valid",),
    writer=partial(write_voc, year="2011", sbd=False),
)

VOC2012 = _OfYear(
    name="voc2012",
    title="PASCAL VOC 2012, segmentation",
    reader=voc.VOCSegmentation,
    year="2012",
    disk=2.0,
    parts=("train", "val"),
    files=(
        Remote(
            tuple(host + "voc2012/VOCtrainval_11-May-2012.tar" for host in _HOSTS),
            "VOCtrainval_11-May-2012.tar",
            size=1_999_639_040,
            md5="6cd6e144f989b92b3379bac3b3de84fd",  # torchvision.datasets.voc
            unpack=(("VOCdevkit/VOC2012/", "VOCdevkit/VOC2012"),),
        ),
    ),
    writer=partial(write_voc, year="2012", sbd=False),
)

SBD = Source(
    name="sbd",
    title="Semantic Boundaries Dataset, on VOC 2011 pictures",
    reader=sbd.SBD,
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
    writer=write_sbd,
)


class _Together(Source):
    """Splits: SBD's train, seg11valid, trainaug, and VOC's own with their year, as "2012-val"."""

    @property
    def counts(self) -> Mapping[str, int]:
        found = dict(voc.VOCPlusSBD.counts)
        return {"train": found["train"], "seg11valid": found["val"], "trainaug": found["trainaug"]}

    def read(self, spec: Data, split: str, data: Path | None) -> Pascal:
        by_year = [f"{year}-{part}" for year, parts in voc.VOCSegmentation.counts.items()
                   for part in parts]  # fmt: skip
        one_of("split", split, [*self.counts, *by_year])
        root = self.root(data)
        if split in by_year:
            year, _, part = split.partition("-")
            return voc.VOCSegmentation(root, part, year)
        return voc.VOCPlusSBD(root, "val" if split == "seg11valid" else split)


def _write(root: str | Path, **how: object) -> Path:
    """Both years of VOC, and SBD, in one folder."""
    for source in (VOC2011, VOC2012, SBD):
        assert source.writer is not None, "all of them have one"
        source.writer(root, **how)
    return Path(root)


VOC = _Together(
    name="voc",
    title="PASCAL VOC 2011 and 2012 with SBD, as the paper uses them",
    reader=voc.VOCPlusSBD,
    disk=5.3,
    parts=("train", "seg11valid"),
    files=(*VOC2011.files, *VOC2012.files, *SBD.files),
    note="train is SBD's, seg11valid what it leaves of VOC 2011 val; trainaug goes with 2012-val",
    writer=_write,
)
