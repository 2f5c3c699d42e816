"""The ISBI 2012 challenge's stack of electron-microscopy frames."""

from __future__ import annotations

import dataclasses

from fcn_tutorial.datasets.readers.isbi import ISBIEM
from fcn_tutorial.datasets.source import Remote, Source
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.datasets.writers.isbi import write_isbi_em


class _Stack(Source):
    def small(self, spec: Data) -> Data:
        """Windows of 204×204, of which valid convolutions of a U-Net score 20×20."""
        return dataclasses.replace(super().small(spec), crop=(204, 204))


ISBI_EM = _Stack(
    name="isbi-em",
    title="ISBI 2012, electron microscopy: membranes and cells",
    reader=ISBIEM,
    disk=0.02,
    files=(
        # GitHub packs this archive on demand, so that its bytes may change: no checksum.
        Remote(
            ("https://github.com/zhixuhao/unet/archive/refs/heads/master.zip",),
            "zhixuhao-unet.zip",
            unpack=(("unet-master/data/membrane/train/", "ISBI-EM"),),
        ),
    ),
    note="the challenge's test labels are not public: the 30 labelled frames are split 20/5/5",
    in_memory=True,
    image_measures=("pixel_error", "rand_error", "warping_error"),
    writer=write_isbi_em,
)
