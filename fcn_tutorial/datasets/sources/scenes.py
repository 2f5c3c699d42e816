"""Generated street scenes: rendered from a seed, without files."""

from __future__ import annotations

from fcn_tutorial.datasets.scenes import Scenes
from fcn_tutorial.datasets.sources.rendered import Rendered
from fcn_tutorial.datasets.spec import Data


class _Scenes(Rendered):
    def rendered(self, spec: Data, split: str, n: int) -> Scenes:
        return Scenes(n, split, spec.crop, task=spec.task, modality=spec.modality)


SCENES = _Scenes(
    name="scenes",
    title="generated street scenes",
    reader=Scenes,
    note="needs no files: recipes that name it render it",
    in_memory=True,
    shown=(("crop", (128, 128)), ("train_images", 500), ("test_images", 500)),
)
