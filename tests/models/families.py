"""torchvision's families of classifiers in small: their own layers, fewer of them and narrower."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from fcn_tutorial.vision import models as vision

Taps = dict[int, str]


def _efficientnet() -> nn.Module:
    block = partial(vision.efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    settings = [
        block(1, 3, 1, 8, 8, 1),
        block(4, 3, 2, 8, 8, 2),
        block(4, 5, 2, 8, 16, 1),
        block(4, 3, 2, 16, 16, 2),
        block(4, 5, 2, 16, 24, 1),
    ]
    return vision.EfficientNet(settings, 0.2, num_classes=10, last_channel=32)


def _efficientnet_v2() -> nn.Module:
    fused, block = vision.efficientnet.FusedMBConvConfig, vision.efficientnet.MBConvConfig
    settings = [
        fused(1, 3, 1, 8, 8, 1),
        fused(4, 3, 2, 8, 8, 1),
        fused(4, 3, 2, 8, 16, 2),
        block(4, 3, 2, 16, 16, 1),
        block(4, 3, 2, 16, 24, 2),
    ]
    return vision.EfficientNet(settings, 0.2, num_classes=10, last_channel=32)


def _convnext() -> nn.Module:
    stage = vision.convnext.CNBlockConfig
    settings = [stage(8, 12, 1), stage(12, 16, 2), stage(16, 24, 1), stage(24, None, 1)]
    return vision.ConvNeXt(settings, stochastic_depth_prob=0.1, layer_scale=0.5, num_classes=10)


def _regnet(se_ratio: float | None) -> nn.Module:
    widths, ones = [8, 16, 24, 32], [1.0] * 4
    params = vision.regnet.BlockParams([1, 1, 2, 1], widths, [8] * 4, ones, [2] * 4, se_ratio)
    return vision.RegNet(params, num_classes=10, stem_width=8)


def _shufflenet() -> nn.Module:
    return vision.ShuffleNetV2([2, 3, 2], [8, 16, 24, 32, 48], num_classes=10)


def _resnext() -> nn.Module:
    block = vision.resnet.Bottleneck
    return vision.ResNet(block, [1, 1, 2, 1], num_classes=10, groups=4, width_per_group=4)


def _densenet() -> nn.Module:
    return vision.DenseNet(8, (2, 2, 2, 2), 16, 2, num_classes=10)


def _inception() -> nn.Module:
    return vision.Inception3(num_classes=10, aux_logits=False, init_weights=False)


def _swin(version: int) -> nn.Module:
    module = vision.swin_transformer
    kinds = {
        1: (module.SwinTransformerBlock, module.PatchMerging),
        2: (module.SwinTransformerBlockV2, module.PatchMergingV2),
    }
    block, merging = kinds[version]
    swin: nn.Module = vision.SwinTransformer(
        [4, 4], 8, [2, 2, 2, 2], [1, 2, 2, 4], [3, 3], num_classes=10, stochastic_depth_prob=0.1,
        block=block, downsample_layer=merging,
    )  # fmt: skip
    return swin


def _vit() -> nn.Module:
    return vision.VisionTransformer(64, 16, 2, 2, 16, 32, num_classes=10)


def _maxvit() -> nn.Module:
    return vision.MaxVit((224, 224), 8, 7, [8] * 4, [1] * 4, 4, 0.1, num_classes=10)


FEATURES = {8: "features.3", 16: "features.5", 32: "features.7"}
BLOCKS = {8: "trunk_output.block2", 16: "trunk_output.block3", 32: "trunk_output.block4"}

#: Those that are trunks as they are: how each is made, and names at each stride.
TRUNKS: dict[str, tuple[Callable[[], nn.Module], Taps]] = {
    "mobilenet_v3_small": (
        lambda: vision.mobilenet_v3_small(width_mult=0.25, num_classes=10),
        {8: "features.3", 16: "features.8", 32: "features.12"},
    ),
    "mobilenet_v3_large": (
        lambda: vision.mobilenet_v3_large(width_mult=0.25, num_classes=10),
        {8: "features.7.block.0", 16: "features.12", 32: "features.16"},
    ),
    "efficientnet": (_efficientnet, {8: "features.3", 16: "features.4", 32: "features.6"}),
    "efficientnet_v2": (_efficientnet_v2, {8: "features.3", 16: "features.4", 32: "features.6"}),
    "convnext": (_convnext, FEATURES),
    "regnet_y": (lambda: _regnet(0.25), BLOCKS),
    "regnet_x": (lambda: _regnet(None), BLOCKS),
    "shufflenet_v2": (_shufflenet, {8: "stage2", 16: "stage3", 32: "conv5"}),
    "mnasnet": (
        lambda: vision.MNASNet(0.2, num_classes=10),
        {8: "layers.9", 16: "layers.11", 32: "layers.16"},
    ),
    "densenet": (
        _densenet,
        {8: "features.denseblock2", 16: "features.denseblock3", 32: "features.norm5"},
    ),
    "resnext": (_resnext, {8: "layer2", 16: "layer3", 32: "layer4"}),
    "swin": (lambda: _swin(1), FEATURES),
    "swin_v2": (lambda: _swin(2), FEATURES | {32: "permute"}),
}
#: Those whose field is not that of their convolutions alone.
SEE_ALL = {"mobilenet_v3_small", "mobilenet_v3_large", "efficientnet", "efficientnet_v2"} | {
    "regnet_y",
    "swin",
    "swin_v2",
}
#: Those that are not: how each is made, names, and what the refusal says.
REFUSED: dict[str, tuple[Callable[[], nn.Module], Taps, str]] = {
    "inception_v3": (
        _inception,
        {8: "Mixed_5d", 16: "Mixed_6e", 32: "Mixed_7c"},
        r"kernel_size=\(1, 7\) differs between the axes; square layers only",
    ),
    "vit": (_vit, {32: "encoder"}, "VisionTransformer must take images of every size"),
    "maxvit": (
        _maxvit,
        {8: "blocks.1", 16: "blocks.2", 32: "blocks.3"},
        "MaxVit must take images of every size",
    ),
}


def make(name: str, seed: int = 0) -> nn.Module:
    """A network of the family, its batch norms with statistics that change something."""
    torch.manual_seed(seed)
    family = TRUNKS[name] if name in TRUNKS else REFUSED[name]
    network = family[0]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network
