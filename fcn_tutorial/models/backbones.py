"""Classifier trunks cut where the skips leave them: features at strides 8, 16 and 32.

Every trunk here is an ImageNet classifier's (or `tiny`, which is ours) in three consecutive stages.
Cutting changes no value: the stages run one after the other are the original trunk. What the cut
adds is the geometry of each tap, traced from the layers themselves.

With `alignment="same"` every strided layer is padded so that n pixels give ceil(n / stride)
features, whatever n. With `alignment="caffe"` the trunk is the published one: 100 pixels of padding
on the first layer, ceil-rounded pooling, and an unpadded fc6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

import fcn_tutorial._torchvision  # noqa: F401
from fcn_tutorial import geometry, surgery

from torchvision.models import mobilenet_v2, squeezenet1_1
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.squeezenet import Fire

Alignment = Literal["same", "caffe"]
Norms = Literal["batch", "folded"]
Cut = tuple[list[nn.Module], list[int]]
STRIDES = (8, 16, 32)

#: Rows and columns of zeros around the image in the published nets (reference net.py, conv1_1).
CAFFE_PADDING = 100
#: Side of the image on which a trunk is traced: large enough for every layer to have work.
TRACED_SIZE = 512


class Backbone(nn.Module):
    """Three stages of a trunk; `forward` maps (N, 3, H, W) to {8: …, 16: …, 32: …}."""

    def __init__(
        self, stages: Sequence[nn.Module], channels: Sequence[int], preprocessing: str
    ) -> None:
        super().__init__()
        self.stage8, self.stage16, self.stage32 = stages
        self.channels = dict(zip(STRIDES, channels, strict=True))
        self.preprocessing = preprocessing
        self._layers = {
            stride: surgery.trace(nn.Sequential(*stages[: i + 1]), TRACED_SIZE)
            for i, stride in enumerate(STRIDES)
        }

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Images (N, 3, H, W) → features by stride, (N, channels[s], ~H/s, ~W/s)."""
        pool3 = self.stage8(images)
        pool4 = self.stage16(pool3)
        return {8: pool3, 16: pool4, 32: self.stage32(pool4)}

    def layers(self, stride: int) -> list[geometry.Layer]:
        """The widest path from the image to the tap at `stride`, as geometry reads it."""
        return list(self._layers[stride])

    def coordinate_map(self, stride: int) -> tuple[Fraction, Fraction]:
        """(scale, offset): feature i of the tap at `stride` sits at pixel scale·i + offset."""
        return geometry.coordinate_map(self._layers[stride])


def names() -> tuple[str, ...]:
    """The trunks `make` knows."""
    return tuple(_PLANS)


def make(
    name: str,
    *,
    width: float = 1.0,
    alignment: Alignment = "same",
    norms: Norms = "batch",
    weights: Path | None = None,
) -> Backbone:
    """A trunk by name, cut at strides 8, 16 and 32.

    Args:
        name: one of `names()`.
        width: multiplies every channel count; below 1 only for trying things out.
        alignment: "same", or "caffe" for trunks the reference published.
        norms: "batch" keeps batch normalisation; "folded" merges its stored statistics into the
            convolutions, for trunks whose norms would stay frozen (fewer passes over memory).
        weights: a safetensors file in torchvision's key names; the classifier may be absent.

    Raises:
        ValueError: unknown name, an alignment the trunk does not have, or weights that do not fit.
    """
    if name not in _PLANS:
        raise ValueError(f"backbone={name!r} is not known; choose one of {', '.join(_PLANS)}")
    plan = _PLANS[name]
    if alignment not in plan.alignments:
        raise ValueError(
            f"alignment={alignment!r} is not offered for backbone={name!r}; "
            f"choose one of {', '.join(plan.alignments)}"
        )
    if norms not in ("batch", "folded"):
        raise ValueError(f"norms={norms!r} is not known; choose 'batch' or 'folded'")
    trunk = plan.build(width, alignment)
    if weights is not None:
        load_trunk(trunk, weights)
    if norms == "folded":
        trunk = surgery.fold_norms(trunk)
    stages, channels = plan.cut(trunk)
    return Backbone(stages, channels, plan.preprocessing)


def load_trunk(trunk: nn.Module, path: Path) -> None:
    """Fill a trunk from a safetensors file in torchvision's key names.

    A fully connected weight (out, c·k·k) fills the (out, c, k, k) convolution it is equal to.
    Tensors of the file that the trunk has no place for (the scorer) are left aside.

    Raises:
        ValueError: the file is not readable as safetensors, lacks a tensor, or one does not fit.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"weights={str(path)!r}: not a readable safetensors file") from error
    own = trunk.state_dict()
    missing = [key for key in own if key not in stored]
    if missing:
        raise ValueError(
            f"weights={str(path)!r} lacks {len(missing)} of {len(own)} tensors of this trunk, "
            f"the first being {missing[0]!r}; it must hold torchvision's key names"
        )
    for key, value in own.items():
        if stored[key].numel() != value.numel():
            raise ValueError(
                f"weights={str(path)!r}: {key!r} has shape {tuple(stored[key].shape)}, "
                f"the trunk needs {tuple(value.shape)}"
            )
        own[key] = stored[key].reshape(value.shape)
    trunk.load_state_dict(own)


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _same_padding(trunk: nn.Module) -> None:
    """Pad unpadded windows by (k − 1) // 2, so that n pixels give ceil(n / stride) features."""
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d):
            k = layer.kernel_size[0]
            layer.padding = ((k - 1) // 2, (k - 1) // 2)
        elif isinstance(layer, nn.MaxPool2d):
            assert isinstance(layer.kernel_size, int)
            layer.padding = (layer.kernel_size - 1) // 2
            layer.ceil_mode = layer.kernel_size % 2 == 0


# One block of `tiny` or of VGG: 3×3 convolutions, each with ReLU, then a 2×2 maximum.
def _block(fan_in: int, channels: int, convolutions: int, *, norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers.append(nn.Conv2d(fan_in, channels, 3, padding=1, bias=not norm))
        if norm:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU(inplace=True))
        fan_in = channels
    return [*layers, nn.MaxPool2d(2, ceil_mode=True)]


def _blocks(widths: Sequence[int], convolutions: Sequence[int], *, norm: bool) -> nn.Sequential:
    fan_ins = [3, *widths[:-1]]
    blocks = zip(fan_ins, widths, convolutions, strict=True)
    return nn.Sequential(*(layer for a, b, n in blocks for layer in _block(a, b, n, norm=norm)))


def _cut_after_pools(features: nn.Sequential) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Cut after the third and the fourth pooling: strides 8 and 16."""
    pools = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    a, b = pools[2] + 1, pools[3] + 1
    return features[:a], features[a:b], features[b:]


def _build_tiny(width: float, alignment: Alignment) -> nn.Module:
    """Five one-convolution blocks and a context layer: learns scenes in two minutes on a CPU."""
    widths = [_scaled(c, width) for c in (16, 32, 64, 96, 128)]
    trunk = nn.Module()
    trunk.features = _blocks(widths, (1,) * 5, norm=True)
    trunk.context = nn.Sequential(
        nn.Conv2d(widths[4], widths[4], 3, padding=1, bias=False),
        nn.BatchNorm2d(widths[4]),
        nn.ReLU(inplace=True),
    )
    return trunk


def _cut_tiny(trunk: nn.Module) -> Cut:
    pool3, pool4, pool5 = _cut_after_pools(cast(nn.Sequential, trunk.features))
    stages: list[nn.Module] = [pool3, pool4]
    stages.append(nn.Sequential(pool5, cast(nn.Module, trunk.context)))
    return stages, _channels_after(stages)


def _build_vgg16(width: float, alignment: Alignment) -> nn.Module:
    """Configuration D of Simonyan & Zisserman 2015, its classifier as fc6 (7×7) and fc7 (1×1)."""
    widths = [_scaled(c, width) for c in (64, 128, 256, 512, 512)]
    hidden = _scaled(4096, width)
    features = _blocks(widths, (2, 2, 3, 3, 3), norm=False)
    fc6, fc7 = nn.Conv2d(widths[4], hidden, 7, padding=3), nn.Conv2d(hidden, hidden, 1)
    if alignment == "caffe":
        cast(nn.Conv2d, features[0]).padding = (CAFFE_PADDING, CAFFE_PADDING)
        fc6.padding = (0, 0)
    trunk = nn.Module()
    trunk.features = features
    # Indices 0 and 3 as in torchvision's classifier; element-wise dropout as in the reference.
    trunk.classifier = nn.Sequential(
        fc6, nn.ReLU(inplace=True), nn.Dropout(), fc7, nn.ReLU(inplace=True), nn.Dropout()
    )
    return trunk


def _cut_vgg16(trunk: nn.Module) -> Cut:
    pool3, pool4, pool5 = _cut_after_pools(cast(nn.Sequential, trunk.features))
    stages: list[nn.Module] = [pool3, pool4]
    stages.append(nn.Sequential(pool5, cast(nn.Module, trunk.classifier)))
    return stages, _channels_after(stages)


def _build_squeezenet1_1(width: float, alignment: Alignment) -> nn.Module:
    trunk = nn.Module()
    trunk.features = squeezenet1_1(num_classes=1).features
    if width != 1:
        features = cast(nn.Sequential, trunk.features)
        first = cast(nn.Conv2d, features[0])
        fan_in = _scaled(first.out_channels, width)
        features[0] = nn.Conv2d(3, fan_in, 3, stride=2)
        for i, layer in enumerate(features):
            if isinstance(layer, Fire):
                squeeze = _scaled(layer.squeeze.out_channels, width)
                expand = _scaled(layer.expand1x1.out_channels, width)
                features[i] = Fire(fan_in, squeeze, expand, expand)
                fan_in = 2 * expand
    _same_padding(trunk)
    return trunk


def _cut_squeezenet1_1(trunk: nn.Module) -> Cut:
    """The trunk ends at stride 16; one more 3×3 maximum, without weights, makes stride 32."""
    features = cast(nn.Sequential, trunk.features)
    pools = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    stages = [features[: pools[2]], features[pools[2] :], nn.MaxPool2d(3, 2, padding=1)]
    a, b = (cast(Fire, stage[-1]) for stage in cast(list[nn.Sequential], stages[:2]))
    channels = [2 * a.expand1x1.out_channels, 2 * b.expand1x1.out_channels]
    return stages, [*channels, channels[-1]]


def _build_mobilenet_v2(width: float, alignment: Alignment) -> nn.Module:
    trunk = nn.Module()
    trunk.features = mobilenet_v2(width_mult=width).features
    return trunk


def _cut_mobilenet_v2(trunk: nn.Module) -> Cut:
    """Taps inside the two striding blocks, after their 1×1 expansion and before the stride.

    The expanded features (192 and 576 channels, rectified) say more to a linear scorer than the
    32 and 96 unrectified ones between blocks, and the trunk computes them anyway. A striding block
    has no residual connection, so the cut changes nothing.
    """
    features = cast(nn.Sequential, trunk.features)
    blocks = list(features)
    striding = [
        i
        for i, block in enumerate(blocks)
        if isinstance(block, InvertedResidual) and block.stride == 2
    ]
    i, j = striding[-2:]
    first, second = (cast(nn.Sequential, cast(InvertedResidual, blocks[k]).conv) for k in (i, j))
    stages: list[nn.Module] = [
        nn.Sequential(*blocks[:i], first[:1]),
        nn.Sequential(first[1:], *blocks[i + 1 : j], second[:1]),
        nn.Sequential(second[1:], *blocks[j + 1 :]),
    ]
    return stages, _channels_after(stages)


def _channels_after(stages: Sequence[nn.Module]) -> list[int]:
    """Channels each stage ends with: those of its last convolution."""
    last = ([m for m in stage.modules() if isinstance(m, nn.Conv2d)][-1] for stage in stages)
    return [convolution.out_channels for convolution in last]


@dataclass(frozen=True)
class _Plan:
    build: Callable[[float, Alignment], nn.Module]
    cut: Callable[[nn.Module], Cut]
    preprocessing: str = "imagenet"
    alignments: tuple[Alignment, ...] = ("same",)


_PLANS = {
    "tiny": _Plan(_build_tiny, _cut_tiny, preprocessing="centred"),
    "squeezenet1_1": _Plan(_build_squeezenet1_1, _cut_squeezenet1_1),
    "mobilenet_v2": _Plan(_build_mobilenet_v2, _cut_mobilenet_v2),
    "vgg16": _Plan(_build_vgg16, _cut_vgg16, alignments=("same", "caffe")),
}
