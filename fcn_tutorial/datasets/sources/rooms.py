"""Generated rooms with depth: rendered from a seed, without files."""

from __future__ import annotations

from fcn_tutorial.datasets.rooms import Rooms
from fcn_tutorial.datasets.sources.rendered import Rendered
from fcn_tutorial.datasets.spec import Data


class _Rooms(Rendered):
    def rendered(self, spec: Data, split: str, n: int) -> Rooms:
        if spec.task != "semantic":
            raise ValueError(f"data.task={spec.task}: rooms have semantic labels only")
        return Rooms(n, split, spec.crop, modality=spec.modality)


ROOMS = _Rooms(
    name="rooms",
    title="generated rooms with depth",
    reader=Rooms,
    note="needs no files: recipes that name it render it",
    in_memory=True,
    shown=(("crop", (72, 96)), ("train_images", 300), ("test_images", 80)),
)
