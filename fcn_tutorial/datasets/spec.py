"""What a recipe says of its data: the data set, its splits, and what augmentation shows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

Modality = Literal["rgb", "depth", "hha", "rgbd", "rgb-hha"]
#: What an item of each modality has; of one part it is the first half itself, of two a dict.
PARTS: dict[str, tuple[str, ...]] = {
    "rgb": ("rgb",),
    "depth": ("depth",),
    "hha": ("hha",),
    "rgbd": ("rgb", "depth"),
    "rgb-hha": ("rgb", "hha"),
}
#: The geometric classes of Tighe and Lazebnik 2010, and colours for them.
GEOMETRIC = {"sky": (135, 206, 235), "horizontal": (120, 200, 60), "vertical": (150, 80, 40)}


def of_task(task: str, semantic: Any, geometric: Any) -> Any:
    """What there is for a task, "semantic" or "geometric"; a dict of the two for "both"."""
    both = {"semantic": semantic, "geometric": geometric}
    return both if task == "both" else both[task]


@dataclass(frozen=True)
class Data:
    """What is read, and what augmentation shows the network of it.

    A data set with settings of its own derives from this and names its class in its `Source`.
    """

    name: Annotated[str, "data set"]
    crop: Annotated[
        tuple[int, int], "rows, columns of a training window; scenes are rendered so; 0,0: whole"
    ]
    scale: Annotated[tuple[float, float], "range of the random magnification"] = (1.0, 1.0)
    flip: Annotated[bool, "mirror half the images"] = True
    jitter: Annotated[float, "largest change of brightness, contrast, saturation"] = 0.0
    elastic: Annotated[float, "pixels by which a smooth random field moves others; 0: none"] = 0.0
    train_images: Annotated[int, "the first so many; 0: all there are"] = 0
    test_images: Annotated[int, "the same for val and for test"] = 0
    modality: Annotated[Modality, "what of NYUDv2 is read"] = "rgb"
    task: Annotated[
        Literal["semantic", "geometric", "both"], "labels of SIFT Flow and scenes; both: two heads"
    ] = "semantic"
    train_split: Annotated[str, "the data set's name of what is trained on"] = "train"
    val_split: Annotated[str, "likewise, of what chooses the weights"] = "val"
    test_split: Annotated[str, "likewise, scored once at the end; empty: none"] = "test"
    replacement: Annotated[bool, "draw images with replacement, as the reference does"] = False
    multiple: Annotated[int, "sides of a batch become multiples of it, for few shapes"] = 1
