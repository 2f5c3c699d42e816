"""Generated street scenes: rendered from a seed, without files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fcn_tutorial.datasets.scenes import Scenes
from fcn_tutorial.datasets.source import Source
from fcn_tutorial.datasets.spec import Data


class _Rendered(Source):
    def read(self, spec: Data, split: str, data: Path | None) -> Scenes:
        return Scenes(
            n=spec.train_images if split == "train" else spec.test_images,
            split=split,
            size=spec.crop,
            task=spec.task,
            modality=spec.modality,
        )

    def settings(self, **changes: Any) -> Data:
        shown = {"crop": (128, 128), "train_images": 500, "test_images": 500}
        return super().settings(**{**shown, **changes})

    def checked(self, spec: Data) -> tuple[str, ...]:
        raise ValueError("scenes are rendered from a seed: there are no files to check")


SCENES = _Rendered(
    name="scenes",
    title="generated street scenes",
    reader=Scenes,
    note="needs no files: recipes that name it render it",
    in_memory=True,
)
