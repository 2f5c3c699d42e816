"""Inputs beyond colour: depth and HHA, as `fcn_tutorial.transforms` has them, and stacked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fcn_tutorial.transforms import HHA, Depth, Preprocess

__all__ = ["PARTS", "Depth", "HHA", "stack_modalities"]

#: What an item of each modality has; of one part it is the first half itself, of two a dict.
PARTS = {
    "rgb": ("rgb",),
    "depth": ("depth",),
    "hha": ("hha",),
    "rgbd": ("rgb", "depth"),
    "rgb-hha": ("rgb", "hha"),
}
_ORDER = ("rgb", "depth", "hha")


def stack_modalities(inputs: Mapping[str, Tensor]) -> Tensor:
    """What networks for NYUDv2 take: float32 (…, C, H, W) from the parts of an item or a batch.

    Args:
        inputs: any of "rgb" uint8 (…, 3, H, W), "depth" metres (…, 1, H, W) and "hha" uint8
            (…, 3, H, W), as items have them. One of them alone makes C = 3, 1 or 3; rgb and depth
            4, for early fusion; rgb and hha 6, of which the two streams of late fusion take three.

    Channels are, in this order, red, green, blue on 0–255; ln(depth in mm), the mean where depth is
    missing; disparity, height, angle on 0–255; each minus its mean over NYUDv2, as
    `transforms.Preprocess("nyud-rgb")`, "nyud-depth" and "nyud-hha" have it. The authors' files
    read blue, green, red; `surgery.load_caffemodel` turns the first layer of colour streams round,
    so that their networks, as all others here, take red first. HHA is in the order of its PNG files
    there and here.
    Raises ValueError for other keys and shapes, TypeError for other types.
    """
    if not inputs or not set(inputs) <= set(_ORDER):
        raise ValueError(f"inputs with the keys {sorted(inputs)}: use some of {', '.join(_ORDER)}")
    given = [(name, inputs[name]) for name in _ORDER if name in inputs]
    return torch.cat([Preprocess(f"nyud-{name}").to(x.device)(x) for name, x in given], -3)
