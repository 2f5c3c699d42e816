"""DeepLab: a trunk that stops halving at stride 8, and heads that look wide instead.

Poolings beyond stride 8 keep every pixel, and the convolutions behind them step over as many as
were to be dropped (à trous). Kernels and padding are chosen so that score i lies on pixel 8i: the
loss takes the label there, and prediction interpolates between.

Sources: Chen et al., ICLR 2015 (arXiv 1412.7062, "LargeFOV") and arXiv 1606.00915v2 (ASPP); layers
and their names as in the authors' Caffe files.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, cast

from torch import Tensor, nn

from fcn_tutorial import geometry, surgery
from fcn_tutorial.files import did_you_mean
from fcn_tutorial.models import backbones, trunks
from fcn_tutorial.models.caffe_layers import load_layers, vgg16_blobs
from fcn_tutorial.models.eighth import STRIDE, Eighth
from fcn_tutorial.models.network import Placement
from fcn_tutorial.upsampling import default_kernel_size, upsample
from fcn_tutorial.vision import models as vision

Variant = Literal["largefov", "aspp-vgg16", "aspp-resnet101", "aspp-tiny"]

#: Channels of fc6 and fc7, a quarter of VGG16's (ICLR 2015, §4.3).
_FC = 1024


@dataclass(frozen=True)
class DeepLabConfig:
    """What decides a `DeepLab`; the attributes are its arguments.

    Raises:
        ValueError: for a variant that is not known, and for `average` with another than "largefov".
    """

    variant: Annotated[Variant, "which net"] = "largefov"
    num_classes: int | Mapping[str, int] = 21
    average: Annotated[bool, "largefov of 2015: an average over 3×3 behind the last pooling"] = (
        False
    )
    width: Annotated[float, "multiplies the channels; below 1 only for trying things out"] = 1.0
    dropout: Annotated[float, "share of values dropped behind fc6 and fc7"] = 0.5
    preprocessing: Annotated[str, "of transforms.Preprocess; empty: as published"] = ""

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(
                f"variant={self.variant!r} is not known{did_you_mean(self.variant, VARIANTS)}"
            )
        if self.average and self.variant != "largefov":
            raise ValueError("average=True is for variant='largefov'; the later nets have none")


class DeepLab(Eighth):
    """DeepLab-LargeFOV, or one with atrous spatial pyramid pooling (ASPP), its branches summed.

    `from_config` takes weights: the authors' `.caffemodel`; VGG16's, also torchvision's, of whose
    fc6 and fc7 it takes every third row and column and every fourth channel; or ResNet-101's
    `.caffemodel`.

    Args:
        variant: "largefov", one 3×3 fc6 of dilation 12 on VGG16; "aspp-vgg16", four whole branches
            fc6–fc7–fc8 of dilations 6 to 24; "aspp-resnet101", four 3×3 score layers of the same
            dilations on ResNet-101, which strides in the 1×1 as Caffe's does; "aspp-tiny", ours,
            four score layers on the package's small trunk.
        num_classes: how many classes, or {task: how many}.
        average: with "largefov", the 3×3 average behind pool5 that the net of 2015 has.
        width: multiplies the channels; below 1 only for trying things out.
        dropout: share of values dropped behind fc6 and fc7 in training.
        preprocessing: a name of `transforms.PREPROCESSING`; by default what was published.

    Raises:
        ValueError: as `DeepLabConfig`.

    Scores lie on pixels 0, 8, …, 64 and 0, 8, …, 96::

        >>> import torch
        >>> model = DeepLab("aspp-tiny", num_classes=5, width=1 / 16)
        >>> images = torch.zeros(1, 3, 65, 97)
        >>> model.training_scores(images).shape, model(images).shape
        (torch.Size([1, 5, 9, 13]), torch.Size([1, 5, 65, 97]))
    """

    Config = DeepLabConfig
    config: DeepLabConfig

    def __init__(
        self,
        variant: Variant = "largefov",
        num_classes: int | Mapping[str, int] = 21,
        average: bool = False,
        width: float = 1.0,
        dropout: float = 0.5,
        preprocessing: str = "",
    ) -> None:
        config = DeepLabConfig(variant, num_classes, average, width, dropout, preprocessing)
        plan = VARIANTS[variant]
        super().__init__(config, num_classes, preprocessing or plan.preprocessing)
        self.features, channels = plan.trunk(width)
        if average:
            self.features.append(nn.AvgPool2d(3, 1, 1))
        fc = max(1, round(_FC * width)) if plan.wide else 0
        self.branches = nn.ModuleList(
            _branch(channels, fc, self.num_classes, rate, dropout) for rate in plan.rates
        )
        widest = nn.Sequential(self.features, self.branches[-1])
        self.path = surgery.trace(widest, backbones.TRACED_SIZE)

    # ---- What it is ------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """As in "DeepLab aspp-vgg16"."""
        return f"DeepLab {self.config.variant}"

    def trunk(self) -> frozenset[str]:
        """See `Network.trunk`: all but the score layers, which alone start from nothing."""
        scores = {f"branches.{i}.fc8" for i in range(len(self.branches))}
        names = (name for name, _ in self.named_parameters())
        return frozenset(name for name in names if name.rpartition(".")[0] not in scores)

    # ---- Scores ----------------------------------------------------------------------------------

    def training_scores(self, images: Tensor) -> Tensor:
        """See `Network.training_scores`: (N, ΣC, h, w), score i on pixel 8i."""
        features = self.features(images)
        scores: Tensor = self.branches[0](features)
        for branch in self.branches[1:]:
            scores = scores + branch(features)
        return scores

    def supervised(self, target: Tensor) -> Tensor:
        """See `Network.supervised`: every eighth label of (N, H, W), as the authors shrink them."""
        return target[..., ::STRIDE, ::STRIDE]

    def placement(self) -> Placement:
        """See `Network.placement`: a score a label; one beyond the last is dropped."""
        return Placement(1, 0, "replicate")

    def full_scores(self, images: Tensor) -> Tensor:
        """See `Network.full_scores`: between the scores of pixels 8i and 8i + 8, bilinear."""
        scores, size = self.training_scores(images), images.shape[-2:]
        _, centre = geometry.coordinate_map(self.path)
        offset = Fraction(default_kernel_size(STRIDE) - 1, 2) - centre
        return upsample(scores, STRIDE, (size[0], size[1]), offset, border="replicate")

    # ---- Weights ---------------------------------------------------------------------------------

    def caffe_layers(self) -> dict[str, nn.Module]:
        """Convolutions and norms by their names in the authors' files."""
        found = VARIANTS[self.config.variant].caffe_layers(self.features)
        several = len(self.branches) > 1
        for i, branch in enumerate(self.branches):
            names = dict(branch.named_children())
            if "fc7" not in names:
                found[f"fc1_voc12_c{i}"] = names["fc8"]
                continue
            suffix = f"_{i + 1}" if several else ""
            found |= {f"fc{n}{suffix}": names[f"fc{n}"] for n in (6, 7)}
            found[f"fc8_voc12{suffix}"] = names["fc8"]
        return found

    def start_from(self, weights: Path | str) -> None:
        """See `Network.start_from`: the files that the class names.

        Raises:
            ValueError: for a variant without published weights, and for a file that does not fit.
        """
        layers = self.caffe_layers()
        trunk = {*self.features.modules()}
        required = [n for n, m in layers.items() if m in trunk and isinstance(m, nn.Conv2d)]
        if not required:
            raise ValueError(f"weights={str(weights)!r}: {self.title} has no published weights")
        wide = VARIANTS[self.config.variant].wide
        if not wide and Path(weights).suffix != ".caffemodel":
            raise ValueError(
                f"weights={str(weights)!r}: torchvision's ResNet-101 strides in its 3×3 "
                "convolutions, DeepLab's in the 1×1; give a .caffemodel"
            )
        blobs = vgg16_blobs(weights) if wide else surgery.load_caffemodel(weights)
        for name, layer in layers.items():
            plain, _, _ = name.partition("_")
            if plain in ("fc6", "fc7"):
                required.append(name)
                blobs |= _decimated(name, plain, blobs, cast(nn.Conv2d, layer))
        load_layers(self, layers, blobs, weights, required)


# ---- Parts ---------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """One variant: its trunk for a width and what that gives out, and its branches.

    wide: whether a branch has fc6 and fc7 before its scores.
    """

    trunk: Callable[[float], tuple[nn.Sequential, int]]
    rates: tuple[int, ...]
    wide: bool
    preprocessing: str
    caffe_layers: Callable[[nn.Sequential], dict[str, nn.Module]]


def _branch(channels: int, fc: int, classes: int, rate: int, dropout: float) -> nn.Sequential:
    """A dilated 3×3 convolution to scores, or to fc6, which 1×1 fc7 and fc8 follow."""
    if not fc:
        score = nn.Conv2d(channels, classes, 3, padding=rate, dilation=rate)
        layers: dict[str, nn.Module] = {"fc8": score}
    else:
        score = nn.Conv2d(fc, classes, 1)
        layers = {
            "fc6": nn.Conv2d(channels, fc, 3, padding=rate, dilation=rate),
            "relu6": nn.ReLU(inplace=True),
            "drop6": nn.Dropout(dropout),
            "fc7": nn.Conv2d(fc, fc, 1),
            "relu7": nn.ReLU(inplace=True),
            "drop7": nn.Dropout(dropout),
            "fc8": score,
        }
    nn.init.normal_(score.weight, std=0.01)  # the authors' files: weight_filler
    nn.init.zeros_(cast(Tensor, score.bias))
    return nn.Sequential(OrderedDict(layers))


def _dense(layers: Iterable[nn.Module]) -> nn.Sequential:
    """Layers in a row that stop halving at `STRIDE`, in place.

    Poolings look at 3×3, padded by one and rounded up, so that each lies on pixels of the map
    before; those beyond the stride keep every pixel, and convolutions behind them are dilated.
    """
    stride, rate = 1, 1
    found = list(layers)
    for layer in found:
        if isinstance(layer, nn.MaxPool2d):
            dropped = stride == STRIDE
            layer.kernel_size, layer.padding, layer.ceil_mode = 3, 1, True
            layer.stride = 1 if dropped else 2
            stride, rate = (stride, 2 * rate) if dropped else (2 * stride, rate)
        elif isinstance(layer, nn.Conv2d):
            layer.dilation = layer.padding = (rate, rate)
    return nn.Sequential(*found)


def _vgg16(width: float) -> tuple[nn.Sequential, int]:
    layers = trunks.vgg16_features(width)
    trunks.initialise(layers)
    return _dense(layers), _last_channels(layers)


def _tiny(width: float) -> tuple[nn.Sequential, int]:
    parts = trunks.build(trunks.PLANS["tiny"], width, "same")
    layers = [layer for part in parts for layer in part.children()]
    return _dense(layers), _last_channels(layers)


def _last_channels(layers: Sequence[nn.Module]) -> int:
    return [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)][-1]


def _resnet101(width: float) -> tuple[nn.Sequential, int]:
    """ResNet-101 without its classifier, at stride 8; strides lie in each block's first 1×1."""
    plan = trunks.Plan(lambda: _children(vision.resnet101(weights=None)), lambda trunk: trunk)  # type: ignore[arg-type, return-value]
    trunk = trunks.build(plan, width, "same")
    pool = cast(nn.MaxPool2d, trunk.get_submodule("maxpool"))
    pool.ceil_mode = True
    for name, stride, rate in (("layer2", 2, 1), ("layer3", 1, 2), ("layer4", 1, 4)):
        for i, block in enumerate(cast(nn.Sequential, trunk.get_submodule(name))):
            first, middle = (cast(nn.Conv2d, block.get_submodule(n)) for n in ("conv1", "conv2"))
            middle.stride, middle.dilation, middle.padding = (1, 1), (rate, rate), (rate, rate)
            if i == 0:
                first.stride = (stride, stride)
                cast(nn.Conv2d, block.get_submodule("downsample.0")).stride = (stride, stride)
    last = cast(nn.Conv2d, trunk.get_submodule("layer4.2.conv3"))
    return trunk, last.out_channels


def _children(classifier: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict([*classifier.named_children()][:-2]))


# ---- Names in the authors' files -----------------------------------------------------------------


def _vgg16_layers(features: nn.Sequential) -> dict[str, nn.Module]:
    convolutions = [layer for layer in features if isinstance(layer, nn.Conv2d)]
    names = trunks.PLANS["vgg16"].caffe_layers[: len(convolutions)]
    return dict(zip(names, convolutions, strict=True))


def _resnet_layers(features: nn.Sequential) -> dict[str, nn.Module]:
    """ "res4b3_branch2a", "bn4b3_branch2a", …: letters count blocks where there are few of them."""
    found: dict[str, nn.Module] = {
        "conv1": features.get_submodule("conv1"), "bn_conv1": features.get_submodule("bn1")
    }  # fmt: skip
    for number in range(2, 6):
        blocks = [*cast(nn.Sequential, features.get_submodule(f"layer{number - 1}"))]
        for i, block in enumerate(blocks):
            letter = chr(ord("a") + i) if len(blocks) <= 3 else f"b{i}" if i else "a"
            parts = {f"branch2{c}": (f"conv{j}", f"bn{j}") for j, c in enumerate("abc", 1)}
            if i == 0:
                parts["branch1"] = ("downsample.0", "downsample.1")
            for branch, (convolution, norm) in parts.items():
                found[f"res{number}{letter}_{branch}"] = block.get_submodule(convolution)
                found[f"bn{number}{letter}_{branch}"] = block.get_submodule(norm)
    return found


def _no_layers(features: nn.Sequential) -> dict[str, nn.Module]:
    return {}


def _decimated(
    name: str, plain: str, blobs: Mapping[str, Tensor], layer: nn.Conv2d
) -> dict[str, Tensor]:
    """fc6 or fc7 of VGG16 with so few rows, columns and channels as `layer` has ("decimation").

    Nothing where the file has the layer under its own name and in its shape.
    """
    weight, bias = blobs.get(f"{plain}.weight"), blobs.get(f"{plain}.bias")
    wanted = layer.weight.shape
    own = blobs.get(f"{name}.weight")
    if weight is None or bias is None or (own is not None and own.shape == wanted):
        return {}
    if weight.dim() == 2:  # as a fully connected layer
        side = math.isqrt(weight.shape[1] // wanted[1]) if plain == "fc6" else 1
        weight = weight.reshape(len(weight), -1, side, side)
    steps = [
        max(1, (have - 1) // max(1, want - 1))
        for have, want in zip(weight.shape, wanted, strict=True)
    ]
    steps[:2] = [
        max(1, have // want) for have, want in zip(weight.shape[:2], wanted[:2], strict=True)
    ]
    weight = weight[:: steps[0], :: steps[1], :: steps[2], :: steps[3]]
    return {f"{name}.weight": weight, f"{name}.bias": bias[:: steps[0]]}


#: By variant; dilations of arXiv 1606.00915v2, §3.1 ("LargeFOV", "ASPP-L").
VARIANTS: dict[str, _Plan] = {
    "largefov": _Plan(_vgg16, (12,), True, "caffe", _vgg16_layers),
    "aspp-vgg16": _Plan(_vgg16, (6, 12, 18, 24), True, "caffe", _vgg16_layers),
    "aspp-resnet101": _Plan(_resnet101, (6, 12, 18, 24), False, "caffe", _resnet_layers),
    "aspp-tiny": _Plan(_tiny, (2, 4, 6, 8), False, "centred", _no_layers),
}
