"""NYUDv2: the labelled frames, their split and the mapping to 40 classes, from three places."""

from __future__ import annotations

from pathlib import Path

from fcn_tutorial.datasets.readers.nyud import NYUDv2
from fcn_tutorial.datasets.source import Remote, Source
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.datasets.writers.nyud import write_nyud

_SILBERMAN = "horatio.cs.nyu.edu/mit/silberman/"
# The last commit of the authors' repository.
_AUTHORS = (
    "https://raw.githubusercontent.com/shelhamer/fcn.berkeleyvision.org/"
    "1305c7378a9f0ab44b2c936f4d60e4687e3d8743/data/nyud/"
)


def _either(place: str) -> tuple[str, str]:
    return f"https://{place}", f"http://{place}"


class _Frames(Source):
    def read(self, spec: Data, split: str, data: Path | None) -> NYUDv2:
        root = self.root(data)
        whole = NYUDv2(root, split, spec.modality)
        if whole.frame_size != NYUDv2.sensor:
            return whole
        # The frames of the official file have a white border (see `NYUDv2`).
        return NYUDv2(root, split, spec.modality, crop=NYUDv2.valid_region)


NYUD = _Frames(
    name="nyud",
    title="NYU Depth v2, 40 classes, with depth",
    reader=NYUDv2,
    disk=3.0,
    files=(
        Remote(
            _either(_SILBERMAN + "nyu_depth_v2/nyu_depth_v2_labeled.mat"),
            "nyu_depth_v2_labeled.mat",
            size=2_972_037_809,
            md5="520609c519fba3ba5ac58c8fefcc3530",  # the same in several public loaders
            into="nyud/",
        ),
        Remote(
            _either(_SILBERMAN + "indoor_seg_sup/splits.mat"),
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
    writer=write_nyud,
)
