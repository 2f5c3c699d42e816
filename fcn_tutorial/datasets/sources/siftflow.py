"""SIFT Flow, with its semantic and its geometric labels."""

from __future__ import annotations

from pathlib import Path

from fcn_tutorial.datasets.readers.siftflow import SIFTFlow
from fcn_tutorial.datasets.source import Remote, Source
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.datasets.writers.siftflow import write_siftflow

_ARCHIVE = "www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip"


class _Tasks(Source):
    def read(self, spec: Data, split: str, data: Path | None) -> SIFTFlow:
        return SIFTFlow(self.root(data), split, spec.task)


SIFTFLOW = _Tasks(
    name="siftflow",
    title="SIFT Flow (LabelMe Outdoor), semantic and geometric",
    reader=SIFTFlow,
    disk=0.2,
    parts=("trainval", "test"),
    files=(
        Remote(
            (f"https://{_ARCHIVE}", f"http://{_ARCHIVE}"),
            "SiftFlowDataset.zip",
            unpack=(("SiftFlowDataset/", "SiftFlowDataset"), ("", "SiftFlowDataset")),
        ),
    ),
    note="2,688 pictures, of which two are not annotated; 33 semantic, 3 geometric classes",
    writer=write_siftflow,
)
