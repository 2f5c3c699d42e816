"""The trunks by name: how each is built, laid out and cut where the skips leave it.

A trunk is an ImageNet classifier's convolutional part (or `tiny`, which is ours) under the names of
its weights file: torchvision's, and for `caffenet` the layer names of the authors' Caffe files.
Fully connected layers stand as the convolutions they are equal to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from fcn_tutorial.vision import CNBlock
from fcn_tutorial.vision import models as vision

Alignment = Literal["same", "caffe"]
Stages = tuple[nn.Module, nn.Module, nn.Module]

#: Rows and columns of zeros around the image in the published nets (reference net.py, conv1_1).
CAFFE_PADDING = 100
#: Channels and convolutions of VGG16's five blocks, finest first.
VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
#: What ConvNeXt's residual branches start multiplied by (torchvision, convnext.py, layer_scale).
CONVNEXT_SCALE = 1e-6


@dataclass(frozen=True)
class Plan:
    """How one trunk comes about: `build` gives it whole, `cut` its stages at strides 8, 16, 32.

    Attributes:
        preprocessing: what its ImageNet weights expect (see `transforms.Preprocess`).
        alignments: the layouts it is offered in.
        caffe_layers: its convolutions in the authors' files, in order.
    """

    build: Callable[[], nn.Sequential]
    cut: Callable[[nn.Sequential], Stages]
    preprocessing: str = "imagenet"
    alignments: tuple[Alignment, ...] = ("same",)
    caffe_layers: tuple[str, ...] = ()


def build(plan: Plan, width: float, alignment: Alignment) -> nn.Sequential:
    """The whole trunk, its channel counts multiplied by `width`, padded as `alignment` says."""
    with torch.device("meta") if width != 1 else nullcontext():
        trunk = plan.build()
    if width != 1:
        _thin(trunk, width)
    lay_out(trunk, alignment)
    return trunk


def lay_out(trunk: nn.Sequential, alignment: Alignment) -> None:
    """Set every padding, in place.

    "same": windows are padded by half their size, so that n pixels give ceil(n / stride) features
    (one more where a window without stride is even, as AlexNet's 6×6 fc6); but windows that lie
    edge to edge, as ConvNeXt's, cover whole patches only, floor(n / stride). "caffe": 100 pixels
    around the image, pooling unpadded and rounded up, fc6 unpadded.
    """
    first = next(layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d))
    for layer in trunk.modules():
        if isinstance(layer, nn.MaxPool2d):
            kernel = cast(int, layer.kernel_size)
            layer.padding = (kernel - 1) // 2 if alignment == "same" else 0
            layer.ceil_mode = alignment == "caffe" or kernel % 2 == 0
        elif isinstance(layer, nn.Conv2d) and alignment == "same":
            patches = layer.kernel_size == layer.stride
            half = 0 if patches else layer.kernel_size[0] // 2
            layer.padding = (half, half)
    if alignment == "caffe":
        first.padding = (CAFFE_PADDING, CAFFE_PADDING)
        fc6 = next(layer for layer in trunk[-1].modules() if isinstance(layer, nn.Conv2d))
        fc6.padding = (0, 0)


def _thin(trunk: nn.Sequential, width: float) -> None:
    """Give every layer of a trunk on "meta" fewer channels, and memory, in place.

    torch's lazy layers find their input channels in a first pass, through joins of any kind.
    """
    convolutions = [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d)]
    # Channels come in whole groups; only a depthwise layer, a group a channel, has fewer of them.
    step = max(c.groups for c in convolutions if c.groups < c.in_channels)

    def scaled(channels: int) -> int:
        return max(1, round(channels * width / step)) * step

    for name, layer in list(trunk.named_modules()):
        if isinstance(layer, nn.Conv2d):
            out = scaled(layer.out_channels)
            thin: nn.Module = nn.LazyConv2d(
                out,
                cast(tuple[int, int], layer.kernel_size),
                cast(tuple[int, int], layer.stride),
                cast(tuple[int, int], layer.padding),
                groups=layer.groups if layer.groups < layer.in_channels else out,
                bias=layer.bias is not None,
            )
        elif isinstance(layer, nn.BatchNorm2d):
            thin = nn.LazyBatchNorm2d(layer.eps, layer.momentum)
        elif isinstance(layer, nn.Linear):
            thin = nn.LazyLinear(scaled(layer.out_features))
        elif isinstance(layer, nn.LayerNorm):
            thin = type(layer)(scaled(layer.normalized_shape[0]), layer.eps)
        elif isinstance(layer, CNBlock):
            channels = scaled(layer.layer_scale.shape[0])
            layer.layer_scale = nn.Parameter(torch.full((channels, 1, 1), CONVNEXT_SCALE))
            continue
        else:
            continue
        parent, _, leaf = name.rpartition(".")
        setattr(trunk.get_submodule(parent), leaf, thin)
    lay_out(trunk, "same")  # so that a small image gets through
    with torch.no_grad():
        trunk.eval()(torch.zeros(1, 3, 64, 64))
    trunk.train()


# ---- ours ----------------------------------------------------------------------------------------


def _tiny() -> nn.Sequential:
    """Five one-convolution blocks and a context layer: learns scenes in two minutes on a CPU."""
    layers: list[nn.Module] = []
    fan_in = 3
    for channels in (16, 32, 64, 96, 128):
        layers += [*_normed(fan_in, channels), nn.MaxPool2d(2)]
        fan_in = channels
    return _named(features=layers, context=_normed(fan_in, fan_in))


def _normed(fan_in: int, channels: int) -> list[nn.Module]:
    convolution = nn.Conv2d(fan_in, channels, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def initialise(layers: Iterable[nn.Module]) -> None:
    """He et al.'s weights ("msra" in Caffe's files) for the convolutions, biases zero, in place."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))


# ---- the paper's ---------------------------------------------------------------------------------


def vgg16_features(width: float = 1.0) -> list[nn.Module]:
    """VGG16's convolutions and poolings, at the indices that torchvision's `features` have."""
    layers: list[nn.Module] = []
    fan_in = 3
    for channels, convolutions in VGG16_BLOCKS:
        for _ in range(convolutions):
            out = max(1, round(channels * width))
            layers += [nn.Conv2d(fan_in, out, 3, padding=1), nn.ReLU(inplace=True)]
            fan_in = out
        layers.append(nn.MaxPool2d(2))
    return layers


def _vgg16() -> nn.Sequential:
    """Configuration D of Simonyan & Zisserman 2015, its classifier as fc6 (7×7) and fc7 (1×1)."""
    layers, fan_in = vgg16_features(), 512
    # Indices 0 and 3 as in torchvision's classifier; element-wise dropout as in the reference.
    fc6, fc7 = nn.Conv2d(fan_in, 4096, 7), nn.Conv2d(4096, 4096, 1)
    classifier = [fc6, nn.ReLU(True), nn.Dropout(), fc7, nn.ReLU(True), nn.Dropout()]
    return _named(features=layers, classifier=classifier)


def _alexnet() -> nn.Sequential:
    """torchvision's AlexNet: the one-tower variant of Krizhevsky 2014, without norms."""
    layers = [
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(True), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(True), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(3, 2),
    ]  # fmt: skip
    fc6, fc7 = nn.Conv2d(256, 4096, 6), nn.Conv2d(4096, 4096, 1)  # indices 1 and 4
    classifier = [nn.Dropout(), fc6, nn.ReLU(True), nn.Dropout(), fc7, nn.ReLU(True)]
    return _named(features=layers, classifier=classifier)


def _caffenet() -> nn.Sequential:
    """The reference's AlexNet: two groups, and responses normalised after pooling (net.py)."""
    features = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(3, 96, 11, stride=4), relu1=nn.ReLU(True), pool1=nn.MaxPool2d(3, 2),
        norm1=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75),
        conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2), relu2=nn.ReLU(True),
        pool2=nn.MaxPool2d(3, 2), norm2=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75),
        conv3=nn.Conv2d(256, 384, 3, padding=1), relu3=nn.ReLU(True),
        conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2), relu4=nn.ReLU(True),
        conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2), relu5=nn.ReLU(True),
        pool5=nn.MaxPool2d(3, 2),
    )  # fmt: skip
    classifier = OrderedDict[str, nn.Module](
        fc6=nn.Conv2d(256, 4096, 6), relu6=nn.ReLU(True), drop6=nn.Dropout(),
        fc7=nn.Conv2d(4096, 4096, 1), relu7=nn.ReLU(True), drop7=nn.Dropout(),
    )  # fmt: skip
    return nn.Sequential(
        OrderedDict(features=nn.Sequential(features), classifier=nn.Sequential(classifier))
    )


# ---- torchvision's -------------------------------------------------------------------------------


def _of(name: str, tail: int, **options: bool) -> Callable[[], nn.Sequential]:
    """What builds torchvision's classifier of that name, without its `tail` last parts."""

    def built() -> nn.Sequential:
        parts = getattr(vision, name)(weights=None, **options).named_children()
        return nn.Sequential(OrderedDict(list(parts)[:-tail]))

    return built


def _named(**parts: Sequence[nn.Module]) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, nn.Sequential(*part)) for name, part in parts.items()))


# ---- where to cut --------------------------------------------------------------------------------


def _after_pools(third: int, fourth: int) -> Callable[[nn.Sequential], Stages]:
    """Cut after two of the poolings of `features`; what follows them belongs to stride 32."""

    def cut(trunk: nn.Sequential) -> Stages:
        features, rest = cast(nn.Sequential, trunk[0]), trunk[1:]
        pools = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
        a, b = pools[third - 1] + 1, pools[fourth - 1] + 1
        return features[:a], features[a:b], nn.Sequential(features[b:], *rest.children())

    return cut


def _before(second: str, third: str) -> Callable[[nn.Sequential], Stages]:
    """Cut before two children, by name."""

    def cut(trunk: nn.Sequential) -> Stages:
        names = [name for name, _ in trunk.named_children()]
        a, b = names.index(second), names.index(third)
        return trunk[:a], trunk[a:b], trunk[b:]

    return cut


def _cut_squeezenet1_1(trunk: nn.Sequential) -> Stages:
    """The trunk ends at stride 16; one more 3×3 maximum, without weights, makes stride 32."""
    features = cast(nn.Sequential, trunk[0])
    pools = [i for i, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    return features[: pools[2]], features[pools[2] :], nn.MaxPool2d(3, 2, padding=1)


def _cut_convnext(trunk: nn.Sequential) -> Stages:
    """The patches, then blocks and what halves the map by turns: cut before it is halved."""
    features = cast(nn.Sequential, trunk[0])
    return features[:4], features[4:6], features[6:]


def _cut_inverted_residuals(trunk: nn.Sequential) -> Stages:
    """Taps inside the two last striding blocks, after their 1×1 expansion, before the stride.

    The expanded features (192 and 576 channels in MobileNetV2, rectified) say more to a linear
    scorer than the 32 and 96 unrectified ones between blocks, and the trunk computes them anyway.
    A striding block has no residual connection, so the cut changes nothing.
    """
    blocks: list[nn.Module] = []
    for part in cast(nn.Sequential, trunk[0]):
        blocks += part if type(part) is nn.Sequential else [part]
    striding = [i for i, block in enumerate(blocks) if _strides(block)]
    i, j = striding[-2:]
    first, second = (cast(nn.Sequential, next(blocks[k].children())) for k in (i, j))
    return (
        nn.Sequential(*blocks[:i], first[:1]),
        nn.Sequential(first[1:], *blocks[i + 1 : j], second[:1]),
        nn.Sequential(second[1:], *blocks[j + 1 :]),
    )


def _strides(block: nn.Module) -> bool:
    layers = (layer for layer in block.modules() if isinstance(layer, nn.Conv2d))
    return any(layer.stride != (1, 1) for layer in layers)


_VGG16_LAYERS = tuple(
    f"conv{block}_{i}" for block, (_, n) in enumerate(VGG16_BLOCKS, 1) for i in range(1, n + 1)
)
_ALEXNET_LAYERS = tuple(f"conv{i}" for i in range(1, 6))

PLANS = {
    "tiny": Plan(_tiny, _after_pools(3, 4), preprocessing="centred"),
    "alexnet": Plan(_alexnet, _after_pools(1, 2), alignments=("same", "caffe")),
    "caffenet": Plan(
        _caffenet,
        _after_pools(1, 2),
        preprocessing="caffe",
        alignments=("same", "caffe"),
        caffe_layers=(*_ALEXNET_LAYERS, "fc6", "fc7"),
    ),
    "vgg16": Plan(
        _vgg16,
        _after_pools(3, 4),
        alignments=("same", "caffe"),
        caffe_layers=(*_VGG16_LAYERS, "fc6", "fc7"),
    ),
    # torchvision's weights are TensorFlow's: pixels in [-1, 1] (its transform_input).
    "googlenet": Plan(
        _of("googlenet", 3, aux_logits=False, init_weights=False),
        _before("maxpool3", "maxpool4"),
        preprocessing="centred",
    ),
    "resnet18": Plan(_of("resnet18", 2), _before("layer3", "layer4")),
    "resnet50": Plan(_of("resnet50", 2), _before("layer3", "layer4")),
    "mobilenet_v2": Plan(_of("mobilenet_v2", 1), _cut_inverted_residuals),
    "mobilenet_v3_large": Plan(_of("mobilenet_v3_large", 2), _cut_inverted_residuals),
    "efficientnet_b0": Plan(_of("efficientnet_b0", 2), _cut_inverted_residuals),
    "convnext_tiny": Plan(_of("convnext_tiny", 2), _cut_convnext),
    "squeezenet1_1": Plan(_of("squeezenet1_1", 1), _cut_squeezenet1_1),
}
