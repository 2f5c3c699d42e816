"""SegNet and SegNet-Basic: a decoder that puts each value back where pooling found it.

Pooling remembers the place of each maximum; unpooling sets the value there again and zeros
everywhere else, and convolutions fill the rest. Poolings round up, so that 360×480 goes through
180×240, 90×120, 45×60 and 23×30 to 12×15, and each unpooling back to the size that was pooled.

Sources: Badrinarayanan, Kendall, Cipolla, PAMI 2017; layers and their names as in the released
files, github.com/alexgkendall/SegNet-Tutorial, Models/segnet_train.prototxt and
segnet_basic_train.prototxt (whose convolutions have biases, other than the article says).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from fcn_tutorial import geometry, surgery
from fcn_tutorial.models import backbones
from fcn_tutorial.models.caffe_layers import load_layers
from fcn_tutorial.models.network import Network
from fcn_tutorial.models.trunks import VGG16_BLOCKS, initialise

#: SegNet-Basic has four encoders and decoders of one 7×7 convolution each.
_BASIC, _BASIC_CHANNELS, _BASIC_KERNEL = 4, 64, 7
#: The blocks from which on Bayesian SegNet drops values (its "central" variant, half of them).
_DROPPED_FROM = 3


@dataclass(frozen=True)
class SegNetConfig:
    """What decides a `SegNet`; the attributes are its arguments."""

    num_classes: int | Mapping[str, int] = 11
    width: Annotated[float, "multiplies the channels; below 1 only for trying things out"] = 1.0
    dropout: Annotated[float, "share of values dropped around the three deepest blocks"] = 0.0
    preprocessing: Annotated[str, "of transforms.Preprocess"] = "raw"


@dataclass(frozen=True)
class SegNetBasicConfig:
    """What decides a `SegNetBasic`; the attributes are its arguments."""

    num_classes: int | Mapping[str, int] = 11
    width: Annotated[float, "multiplies the channels; below 1 only for trying things out"] = 1.0
    preprocessing: Annotated[str, "of transforms.Preprocess"] = "raw"


def unpool(values: Tensor, places: Tensor, size: Sequence[int]) -> Tensor:
    """Each value at its place in a map of zeros: the adjoint of pooling at these places.

    Places must differ, as those of windows side by side do.

    Args:
        values: (N, C, h, w).
        places: (N, C, h, w) int64, row · W + column of each, as `max_pool2d` returns them.
        size: (H, W) of the result. It must be given: 23 rows may have been 45 or 46.

    Returns:
        (N, C, H, W), in the dtype of `values`: what `max_unpool2d` gives, which autocast and
        deterministic algorithms do not take.
    """
    zeros = values.new_zeros(*values.shape[:2], size[0] * size[1])
    filled: Tensor = zeros.scatter(2, places.flatten(2), values.flatten(2))
    return filled.view(*values.shape[:2], size[0], size[1])


class Unpooling(Network):
    """What both have in common: encoders, as many decoders, and indices between them."""

    encoders: nn.ModuleList  # finest first
    decoders: nn.ModuleList  # coarsest first

    def start_from(self, weights: Path | str) -> None:
        """Take the weights of a released `.caffemodel`, in place.

        Its layers "BN" hold the batch statistics within scale and shift; the norms then keep mean 0
        and variance 1.

        Raises:
            ValueError: for a file that does not fit.
        """
        if Path(weights).suffix != ".caffemodel":
            raise ValueError(f"weights={str(weights)!r}: {self.title} starts from a .caffemodel")
        layers = self.caffe_layers()
        encoding = {module for block in self.encoders for module in block.children()}
        required = [n for n, m in layers.items() if m in encoding and isinstance(m, nn.Conv2d)]
        load_layers(self, layers, surgery.load_caffemodel(weights), weights, required)

    def training_scores(self, images: Tensor) -> Tensor:
        """See `Network.training_scores`: (N, ΣC, H, W), at the size of the images."""
        x, pooled = images, []
        for encode in self.encoders:
            x = encode(x)
            size = x.shape[-2:]
            x, places = max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            pooled.append((places, size))
        for decode in self.decoders:
            x = decode(unpool(x, *pooled.pop()))
        return x

    def layers(self) -> list[geometry.Layer]:
        """The layers from image to scores, unpooling as the deconvolution that it is."""
        found = []
        for encode in self.encoders:
            found += [*_convolutions(encode), geometry.Layer(2, 2, kind="pool", ceil=True)]
        for decode in self.decoders:
            found += [geometry.Layer(2, 2, kind="deconv"), *_convolutions(decode)]
        return found

    def margin(self) -> int:
        """See `Network.margin`."""
        return geometry.reach(self.layers())

    def grid(self) -> int:
        """See `Network.grid`; the stride of the coarsest map."""
        return 1 << len(self.encoders)

    def freezable(self, stride: int) -> Iterator[nn.Parameter]:
        """See `Network.freezable`; of the encoders."""
        for i, encode in enumerate(self.encoders):
            if 2**i <= stride:
                yield from encode.parameters()

    def caffe_layers(self) -> dict[str, nn.Module]:
        """Convolutions and norms by their names in the released files."""
        return {
            name: module
            for block in (*self.encoders, *self.decoders)
            for name, module in block.named_children()
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
        }


class SegNet(Unpooling):
    """SegNet on VGG16's thirteen convolutions, each with a batch norm.

    `from_config` takes weights: a `.caffemodel` of a released SegNet, or of VGG16, whose
    convolutions the encoder has; or torchvision's vgg16_bn, safetensors or .pth, which was trained
    with preprocessing="imagenet".

    Args:
        num_classes: how many classes, or {task: how many}.
        width: multiplies the channels; below 1 only for trying things out.
        dropout: share of values that training drops behind the three deepest encoders and
            decoders: 0.5 makes it the Bayesian SegNet (Kendall et al. 2017).
        preprocessing: "raw" pixels, as published; a name of `transforms.PREPROCESSING`.

    Five poolings make the coarsest map one of stride 32::

        >>> import torch
        >>> model = SegNet(num_classes=5, width=1 / 16)
        >>> model.grid(), model.training_scores(torch.zeros(1, 3, 45, 60)).shape
        (32, torch.Size([1, 5, 45, 60]))
    """

    Config = SegNetConfig
    config: SegNetConfig

    def __init__(
        self,
        num_classes: int | Mapping[str, int] = 11,
        width: float = 1.0,
        dropout: float = 0.0,
        preprocessing: str = "raw",
    ) -> None:
        config = SegNetConfig(num_classes, width, dropout, preprocessing)
        super().__init__(config, num_classes, preprocessing)
        widths = [_scaled(own, width) for own, _ in VGG16_BLOCKS]
        drops = [dropout if block >= _DROPPED_FROM else 0.0 for block in range(1, 6)]
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        fan_in = self.in_channels
        for block, (_, count) in enumerate(VGG16_BLOCKS, 1):
            names = [f"conv{block}_{i}" for i in range(1, count + 1)]
            outs = [widths[block - 1]] * count
            self.encoders.append(_sequence(_layers(names, fan_in, outs), drops[block - 1]))
            fan_in = outs[-1]
        for block in range(len(VGG16_BLOCKS), 0, -1):
            count = VGG16_BLOCKS[block - 1][1]
            names = [f"conv{block}_{i}_D" for i in range(count, 0, -1)]
            outs = [*[widths[block - 1]] * (count - 1), *widths[block - 2 : block - 1]]
            layers = _layers(names[: len(outs)], fan_in, outs)
            fan_in = outs[-1]
            if block == 1:  # the last convolution scores
                layers[names[-1]] = nn.Conv2d(fan_in, self.num_classes, 3, padding=1)
            self.decoders.append(_sequence(layers, drops[block - 1]))
        initialise(self.modules())

    def trunk(self) -> frozenset[str]:
        """See `Network.trunk`; the encoder, whose norms no file of VGG16 has."""
        return frozenset(n for n, _ in self.named_parameters() if n.startswith("encoders."))

    def start_from(self, weights: Path | str) -> None:
        """See `Unpooling.start_from`; also the encoder from torchvision's vgg16_bn or VGG16."""
        if Path(weights).suffix == ".caffemodel":
            super().start_from(weights)
            return
        # torchvision's vgg16_bn: convolution, norm, ReLU, …, a pooling at the end of each block.
        layers = [m for block in self.encoders for m in [*block.children(), nn.Identity()]]
        features = nn.ModuleList(m for m in layers if not isinstance(m, nn.Dropout))
        backbones.load_trunk(nn.ModuleDict({"features": features}), weights)


class SegNetBasic(Unpooling):
    """SegNet-Basic: four encoders and decoders of one 7×7 convolution with 64 channels.

    The decoders have no ReLU. `from_config` takes a released `.caffemodel` as weights.

    Args:
        num_classes: how many classes, or {task: how many}.
        width: multiplies the channels; below 1 only for trying things out.
        preprocessing: "raw" pixels, as published; a name of `transforms.PREPROCESSING`.

    ::

        >>> import torch
        >>> model = SegNetBasic(num_classes=5, width=1 / 16)
        >>> model.grid(), model.training_scores(torch.zeros(1, 3, 45, 60)).shape
        (16, torch.Size([1, 5, 45, 60]))
    """

    Config = SegNetBasicConfig
    config: SegNetBasicConfig

    def __init__(
        self,
        num_classes: int | Mapping[str, int] = 11,
        width: float = 1.0,
        preprocessing: str = "raw",
    ) -> None:
        super().__init__(
            SegNetBasicConfig(num_classes, width, preprocessing), num_classes, preprocessing
        )
        channels = _scaled(_BASIC_CHANNELS, width)
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        layers: dict[str, nn.Module]
        for i in range(1, _BASIC + 1):
            fan_in = self.in_channels if i == 1 else channels
            layers = _layers([f"conv{i}"], fan_in, [channels], _BASIC_KERNEL)
            if i == 1:
                layers = {"norm": nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75), **layers}
            self.encoders.append(_sequence(layers))
        for i in range(_BASIC, 0, -1):
            name = f"conv_decode{i}"
            layers = _layers([name], channels, [channels], _BASIC_KERNEL)
            del layers[f"{name}_relu"]
            if i == 1:
                layers["conv_classifier"] = nn.Conv2d(channels, self.num_classes, 1)
            self.decoders.append(_sequence(layers))
        initialise(self.modules())


def _layers(
    names: Sequence[str], fan_in: int, outs: Sequence[int], kernel: int = 3
) -> dict[str, nn.Module]:
    """A convolution, a norm and a ReLU for each name, padded to keep the size."""
    found: dict[str, nn.Module] = {}
    for name, out in zip(names, outs, strict=True):
        found[name] = nn.Conv2d(fan_in, out, kernel, padding=kernel // 2)
        found[f"{name}_bn"] = nn.BatchNorm2d(out)
        found[f"{name}_relu"] = nn.ReLU(inplace=True)
        fan_in = out
    return found


def _sequence(layers: Mapping[str, nn.Module], dropout: float = 0.0) -> nn.Sequential:
    dropped = {"drop": nn.Dropout(dropout)} if dropout else {}
    return nn.Sequential(OrderedDict({**layers, **dropped}))


def _convolutions(block: nn.Module) -> list[geometry.Layer]:
    sizes = (m.kernel_size[0] for m in block.modules() if isinstance(m, nn.Conv2d))
    return [geometry.Layer(kernel, padding=kernel // 2) for kernel in sizes]


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))
