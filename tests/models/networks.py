"""Every kind of network the package builds, thin enough to test each of them in full."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fcn_tutorial.models import (
    FCN,
    DeepLab,
    Dilated8,
    FCNConfig,
    LateFusion,
    Magnified,
    Network,
    SegNet,
    SegNetBasic,
    UNet,
    ViT,
    backbones,
)


class OwnTrunk(nn.Module):
    """A trunk somebody brings: a branch, a functional pooling, a norm, and its taps by name."""

    taps = {8: "second", 16: "third", 32: "end"}  # noqa: RUF012 (read, not written)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 7, stride=4, padding=3)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.third = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.side = nn.Conv2d(12, 12, 1)
        self.end = nn.BatchNorm2d(12)

    def forward(self, images: Tensor) -> Tensor:
        third = self.third(torch.relu(self.second(torch.relu(self.first(images)))))
        half = nn.functional.max_pool2d(torch.relu(third), 3, 2, 1)
        return torch.relu(self.end(half + self.side(half)))


def _late() -> LateFusion:
    return LateFusion([FCN("tiny", 5), FCN("tiny", 5, width=1 / 2)])


def fcn(
    backbone: str = "tiny", num_classes: int = 5, magnification: float = 1.0, **settings: object
) -> Any:
    """An FCN of these settings, seldom ones included, on images enlarged by `magnification`."""
    network = FCN.from_config(FCNConfig(backbone, num_classes, **settings))  # type: ignore[arg-type]
    return network if magnification == 1 else Magnified(network, magnification)


def _own() -> FCN:
    return FCN(backbones.tap(OwnTrunk(), preprocessing="centred"), 5)


NETWORKS: dict[str, Callable[[], Network]] = {
    "tiny": lambda: FCN("tiny", 5),
    "tiny-32s": lambda: FCN("tiny", 5, 32),
    "tiny-16s": lambda: FCN("tiny", 5, 16),
    "alexnet": lambda: FCN("alexnet", 5, width=1 / 16),
    "caffenet": lambda: FCN("caffenet", 5, width=1 / 16),
    "vgg16": lambda: FCN("vgg16", 5, width=1 / 16),
    "googlenet": lambda: FCN("googlenet", 5, width=1 / 16),
    "resnet18": lambda: FCN("resnet18", 5, width=1 / 16),
    "resnet50": lambda: FCN("resnet50", 5, width=1 / 16),
    "mobilenet_v2": lambda: FCN("mobilenet_v2", 5, width=1 / 8),
    "squeezenet1_1": lambda: FCN("squeezenet1_1", 5, width=1 / 8),
    "vgg16-caffe": lambda: FCN("vgg16", 5, 8, "caffe", width=1 / 32),
    "caffenet-caffe-32s": lambda: FCN("caffenet", 5, 32, "caffe", width=1 / 16),
    "vgg16-caffe-learned": lambda: FCN("vgg16", 5, 8, "caffe", False, "learned", width=1 / 32),
    "at-once": lambda: FCN("tiny", 5, at_once=True),
    "learned": lambda: FCN("alexnet", 5, deconvolution="learned", width=1 / 16),
    "folded": lambda: fcn("mobilenet_v2", norms="folded", width=1 / 8),
    "two-tasks": lambda: FCN("tiny", {"semantic": 4, "geometric": 3}),
    "two-tasks-learned": lambda: FCN("tiny", {"a": 4, "b": 3}, deconvolution="learned"),
    "early-fusion": lambda: fcn(extra_channels=1),
    "late-fusion": _late,
    "magnified": lambda: fcn(magnification=1.5),
    "late-magnified": lambda: Magnified(_late(), 0.7),
    "own-trunk": _own,
    "segnet": lambda: SegNet(5, width=1 / 16, preprocessing="centred"),
    "segnet-basic": lambda: SegNetBasic({"a": 3, "b": 2}, width=1 / 8, preprocessing="centred"),
    "deeplab": lambda: DeepLab("largefov", 5, width=1 / 32),
    "deeplab-aspp": lambda: DeepLab("aspp-vgg16", {"a": 3, "b": 2}, width=1 / 32),
    "deeplab-resnet101": lambda: DeepLab("aspp-resnet101", 5, width=1 / 16),
    "deeplab-tiny": lambda: DeepLab("aspp-tiny", 5, width=1 / 4),
    "dilated8": lambda: Dilated8(5, width=1 / 64),
    "vit": lambda: ViT(5, depth=2, width=1 / 12, learned_on=64),
    "unet": lambda: UNet(5, width=1 / 16),
    "unet-same": lambda: UNet({"a": 3, "b": 2}, padding="same", width=1 / 16),
}


def make(name: str, seed: int = 0) -> Network:
    """The network with score layers that are not zero, so that every path shows in the scores.

    A copy of the one that was made at the first call: to copy takes a tenth of the time.
    """
    network = copy.deepcopy(_made(name, seed))
    torch.manual_seed(seed)
    return network


@functools.cache
def _made(name: str, seed: int) -> Network:
    torch.manual_seed(seed)
    network = NETWORKS[name]()
    for key, module in network.named_modules():
        if "score_" in key and isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
            nn.init.normal_(module.bias, std=0.1)  # type: ignore[arg-type]
        if isinstance(module, nn.BatchNorm2d):  # statistics that are not those of an identity
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network


def joined(scores: Tensor | dict[str, Tensor]) -> Tensor:
    """Scores of several tasks as one tensor (N, ΣC, H, W)."""
    return torch.cat(list(scores.values()), 1) if isinstance(scores, dict) else scores
