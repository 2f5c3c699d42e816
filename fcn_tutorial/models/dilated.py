"""Dilated8: VGG16 without its last two poolings, and a context module of dilated convolutions.

The front end pads nothing, so that what it misses at the border is mirrored: 186 pixels on every
side, and 900 seen give 66 scores at stride 8. The context module lets each score look further, up
to 67 of them, without losing resolution; it starts as the identity.

Source: Yu & Koltun, ICLR 2016 (arXiv 1511.07122), equations 4 and 5, Table 1; layers and names as
in the released files, github.com/fyu/dilation, models/dilation8_pascal_voc_deploy.prototxt.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from fcn_tutorial import geometry, surgery
from fcn_tutorial.models import backbones, trunks
from fcn_tutorial.models.caffe_layers import load_layers, vgg16_blobs
from fcn_tutorial.models.eighth import STRIDE, Eighth
from fcn_tutorial.models.network import Placement
from fcn_tutorial.models.unet import mirrored
from fcn_tutorial.upsampling import default_kernel_size

Context = Literal["none", "basic", "large"]

#: Channels of VGG16's fc6 and fc7.
_FC = 4096
#: Dilation of each 3×3 convolution of the context module (Table 1).
_DILATIONS = (1, 1, 2, 4, 8, 16, 1)
#: Its channels as multiples of the number of classes (Table 1).
_CHANNELS = {"basic": (1, 1, 1, 1, 1, 1, 1), "large": (2, 2, 4, 8, 16, 32, 32)}
_NAMES = (
    "ct_conv1_1", "ct_conv1_2", "ct_conv2_1", "ct_conv3_1", "ct_conv4_1", "ct_conv5_1", "ct_fc1",
)  # fmt: skip
#: Spread of what breaks the ties between copies at the start (equation 5: σ ≪ C / c).
_NOISE = 1e-3


@dataclass(frozen=True)
class Dilated8Config:
    """What decides a `Dilated8`; the attributes are its arguments.

    Raises:
        ValueError: for a context that is not known.
    """

    num_classes: int | Mapping[str, int] = 21
    context: Annotated[Context, "module behind the front end"] = "large"
    width: Annotated[float, "multiplies the trunk's channels; below 1 only to try things"] = 1.0
    dropout: Annotated[float, "share of values dropped behind fc6 and fc7"] = 0.5
    preprocessing: Annotated[str, "of transforms.Preprocess"] = "caffe"

    def __post_init__(self) -> None:
        if self.context not in ("none", *_CHANNELS):
            raise ValueError(f"context={self.context!r} is not known; choose none, basic or large")


class Dilated8(Eighth):
    """The front end at stride 8, and a context module that keeps its scores' places.

    Scores are compared at the full resolution of the labels, as an FCN's; the authors take a label
    a score. `from_config` takes weights: a released `.caffemodel` or VGG16's, also torchvision's.

    Args:
        num_classes: how many classes, or {task: how many}.
        context: "large", as released for VOC, padded once by 33; "basic", with as many channels as
            classes, padded layer by layer; "none", the front end alone.
        width: multiplies the trunk's channels; below 1 only for trying things out.
        dropout: share of values dropped behind fc6 and fc7 in training.
        preprocessing: a name of `transforms.PREPROCESSING`.

    Raises:
        ValueError: for a context that is not known.

    ::

        >>> model = Dilated8(num_classes=5, context="basic", width=1 / 64)
        >>> model.border, model.training_scores(torch.zeros(1, 3, 64, 96)).shape
        (186, torch.Size([1, 5, 8, 12]))
    """

    Config = Dilated8Config
    config: Dilated8Config

    def __init__(
        self,
        num_classes: int | Mapping[str, int] = 21,
        context: Context = "large",
        width: float = 1.0,
        dropout: float = 0.5,
        preprocessing: str = "caffe",
    ) -> None:
        config = Dilated8Config(num_classes, context, width, dropout, preprocessing)
        super().__init__(config, num_classes, preprocessing)
        self.features = _front(width)
        channels, fc = (max(1, round(width * n)) for n in (512, _FC))
        self.head = nn.Sequential(
            OrderedDict(
                fc6=nn.Conv2d(channels, fc, 7, dilation=4), relu6=nn.ReLU(inplace=True),
                drop6=nn.Dropout(dropout),
                fc7=nn.Conv2d(fc, fc, 1), relu7=nn.ReLU(inplace=True), drop7=nn.Dropout(dropout),
                final=nn.Conv2d(fc, self.num_classes, 1),
            )
        )  # fmt: skip
        trunks.initialise((*self.features, *self.head))
        self.context = _context(context, self.num_classes)
        front = nn.Sequential(self.features, self.head)
        field = geometry.receptive_field(surgery.trace(front, backbones.TRACED_SIZE)).size
        #: Pixels mirrored at every side, so that n of them have n / 8 scores: 186.
        self.border = (field - STRIDE) // 2
        self.path = surgery.trace(nn.Sequential(front, self.context), backbones.TRACED_SIZE)

    # ---- What it is ------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """As in "Dilated8, large context"."""
        return f"Dilated8, {self.config.context} context"

    def trunk(self) -> frozenset[str]:
        """See `Network.trunk`: the layers of VGG16."""
        pretrained = ("features.", "head.fc6.", "head.fc7.")
        return frozenset(n for n, _ in self.named_parameters() if n.startswith(pretrained))

    # ---- Scores ----------------------------------------------------------------------------------

    def training_scores(self, images: Tensor) -> Tensor:
        """See `Network.training_scores`: (N, ΣC, ⌈H/8⌉, ⌈W/8⌉), of all of the image."""
        for axis in (-2, -1):
            rest = (STRIDE - images.shape[axis] % STRIDE) % STRIDE
            images = mirrored(images, axis, self.border, self.border + rest)
        scores: Tensor = self.context(self.head(self.features(images)))
        return scores

    def placement(self) -> Placement:
        """See `Network.placement`: scores in the middle of 8×8 pixels."""
        _, centre = geometry.coordinate_map(self.path)
        offset = Fraction(default_kernel_size(STRIDE) - 1, 2) - (centre - self.border)
        return Placement(STRIDE, offset, "replicate")

    # ---- Weights ---------------------------------------------------------------------------------

    def caffe_layers(self) -> dict[str, nn.Module]:
        """Convolutions by their names in the released files."""
        convolutions = [layer for layer in self.features if isinstance(layer, nn.Conv2d)]
        head = dict(self.head.named_children())
        names = trunks.PLANS["vgg16"].caffe_layers
        found = dict(zip(names, [*convolutions, head["fc6"], head["fc7"]], strict=True))
        found["fc-final"] = head["final"]
        return found | {n: m for n, m in self.context.named_children() if isinstance(m, nn.Conv2d)}

    def start_from(self, weights: Path | str) -> None:
        """See `Network.start_from`: the files that the class names."""
        blobs = vgg16_blobs(weights)
        load_layers(self, self.caffe_layers(), blobs, weights, trunks.PLANS["vgg16"].caffe_layers)


def _front(width: float) -> nn.Sequential:
    """VGG16's convolutions without padding, the last two poolings out and conv5 dilated by 2.

    What is left out stays as `nn.Identity`, so that the others keep torchvision's indices.
    """
    layers, pools = trunks.vgg16_features(width), 0
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            pools += 1
            if pools > 3:
                layers[i] = nn.Identity()
        elif isinstance(layer, nn.Conv2d):
            rate = 2 if pools > 3 else 1
            layer.padding, layer.dilation = (0, 0), (rate, rate)
    return nn.Sequential(*layers)


def _context(kind: Context, classes: int) -> nn.Sequential:
    """The context module as the identity (of what is not negative), its 3×3 one by one wider."""
    if kind == "none":
        return nn.Sequential()
    channels = [classes, *(factor * classes for factor in _CHANNELS[kind])]
    layers: dict[str, nn.Module] = {}
    for i, (name, rate) in enumerate(zip(_NAMES, _DILATIONS, strict=True)):
        padding = rate if kind == "basic" else sum(_DILATIONS) if i == 0 else 0
        fan_in, out = channels[i : i + 2]
        convolution = nn.Conv2d(fan_in, out, 3, padding=padding, dilation=rate)
        layers |= {name: convolution, f"{name}_relu": nn.ReLU(inplace=True)}
    layers["ct_final"] = nn.Conv2d(channels[-1], classes, 1)
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d):
            _pass_on(layer, classes, 0.0 if kind == "basic" else _NOISE)
    return nn.Sequential(OrderedDict(layers))


def _pass_on(layer: nn.Conv2d, classes: int, noise: float) -> None:
    """Let a convolution hand on what it is given, each class through as many channels (eq. 4, 5).

    With c channels for C classes, channel a is a copy of class ⌊aC / c⌋, divided by c / C.
    """
    of = [torch.arange(n) * classes // n for n in (layer.out_channels, layer.in_channels)]
    same = of[0][:, None] == of[1]
    share = classes / layer.out_channels
    middle = layer.kernel_size[0] // 2
    with torch.no_grad():
        layer.weight.normal_(std=noise * share)
        here = layer.weight[..., middle, middle]
        here.copy_(torch.where(same.to(here.device), share, here))
        cast(Tensor, layer.bias).zero_()
