"""Generated street scenes: rendered from a seed, without files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fcn_tutorial.datasets.scenes import Scenes
from fcn_tutorial.datasets.source import Source
from fcn_tutorial.datasets.spec import Data

_MOST_PIXELS = 1 << 27  # of a split, which stays in memory: 8,192 scenes of 128×128
_LEAST_PIXELS = 1 << 14  # that a scene counts: smaller ones take as long to render
_LARGEST = 1 << 22  # pixels of a scene


class _Rendered(Source):
    def read(self, spec: Data, split: str, data: Path | None) -> Scenes:
        n = spec.train_images if split == "train" else spec.test_images
        pixels = math.prod(spec.crop)
        if pixels > _LARGEST or n * max(pixels, _LEAST_PIXELS) > _MOST_PIXELS:
            height, width = spec.crop
            raise ValueError(
                f"{n:,} scenes of {height}×{width} are too many to render and keep; lower "
                "data.train_images, data.test_images or data.crop"
            )
        return Scenes(
            n=n,
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
