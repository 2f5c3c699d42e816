"""The fully convolutional network: a trunk, score layers at its taps, and skip fusion.

::

    scores32 = score_fr(stride 32)
    scores16 = upsample(scores32) + score_pool4(stride 16)
    scores8  = upsample(scores16) + score_pool3(stride 8)
    output   = upsample(…) at the size of the image

Where each map lies on the image comes from its coordinate map (`geometry`), so nothing here knows
an offset: the same lines give the published crops and the half-pixel alignment of padded trunks.

Source: Long, Shelhamer, Darrell, CVPR 2015, §3 and §4; layer names as in the reference net.py.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from fcn_tutorial import geometry
from fcn_tutorial.models import backbones
from fcn_tutorial.models.backbones import Backbone, Norms
from fcn_tutorial.models.network import Network, Placement, named, score_layer
from fcn_tutorial.models.published import load_published
from fcn_tutorial.models.trunks import Alignment
from fcn_tutorial.transforms import Preprocess
from fcn_tutorial.upsampling import Border, Deconvolution, default_kernel_size, kernel_for, upsample

#: The score layer of each stride, finest last.
SCORE_LAYERS = {32: "score_fr", 16: "score_pool4", 8: "score_pool3"}
#: The learned deconvolution that leaves each stride; the last one, to the image, stays fixed.
_BESIDE_COLOUR = {"depth": 1, "hha": 3}  # channels of what early fusion reads with it
UPSCORE_LAYERS = {32: "upscore2", 16: "upscore_pool4"}
#: What "at once" training multiplies a tap by before scoring it (reference voc-fcn8s-atonce).
AT_ONCE_SCALES = {32: 1.0, 16: 0.01, 8: 0.0001}


@dataclass(frozen=True)
class FCNConfig:
    """All that decides an `FCN`, its weights aside; fit for JSON.

    Attributes:
        backbone: the name of a trunk, or the class of a module of one's own.
        num_classes: as `FCN` takes it, like the five below.
        stride: likewise.
        alignment: likewise.
        at_once: likewise.
        deconvolution: likewise.
        width: likewise.
        norms: "batch" or "folded" (see `backbones.make`).
        dropout: share of feature channels dropped before each score layer while training.
        extra_channels: input channels beside RGB (early fusion, see `backbones.make`).
        preprocessing: of `transforms.Preprocess`; what comes with the trunk where it is empty.

    Raises:
        ValueError: for a stride or a deconvolution that is not offered.

    ::

        >>> config = FCNConfig("tiny", num_classes=5, stride=16, extra_channels=1)
        >>> model = FCN.from_config(config)
        >>> model.title, model.in_channels
        ('FCN-16s on tiny', 4)
    """

    backbone: Annotated[str, "trunk"] = "vgg16"
    num_classes: int | Mapping[str, int] = 21
    stride: Annotated[int, "of the finest fused map: 32, 16 or 8"] = 8
    alignment: Annotated[Alignment, "padded layers, or the published layout"] = "same"
    at_once: Annotated[bool, "the published tap scales of all-at-once training"] = False
    deconvolution: Annotated[
        Literal["fixed", "learned"], "bilinear for good, or learned between strides"
    ] = "fixed"
    width: Annotated[float, "multiplies the trunk's channels"] = 1.0
    norms: Annotated[Norms, "batch, or folded into the convolutions"] = "batch"
    dropout: Annotated[float, "share of channels dropped before each score layer"] = 0.0
    extra_channels: Annotated[int, "input channels beside RGB (early fusion)"] = 0
    preprocessing: Annotated[str, "of the input; empty: what the trunk's weights expect"] = ""

    def __post_init__(self) -> None:
        if self.stride not in SCORE_LAYERS:
            raise ValueError(f"stride={self.stride} is not offered; choose 32, 16 or 8")
        if self.deconvolution not in ("fixed", "learned"):
            raise ValueError(
                f"deconvolution={self.deconvolution!r} is not offered; choose 'fixed' or 'learned'"
            )


class FCN(Network):
    """FCN-32s, -16s or -8s over a classifier's trunk.

    What is wanted less often (`norms`, `dropout`, `extra_channels`, `preprocessing`) stands in
    `FCNConfig`, which `FCN.from_config` takes. Score layers start at zero, so the first loss is
    ln C.

    Args:
        backbone: one of `backbones.names()` ("vgg16", "resnet50", "tiny", …); or a module of
            one's own whose attribute `taps` names its nodes at each stride, or what
            `backbones.tap(module, taps)` made of it.
        num_classes: how many classes, or {task: how many} for several tasks on one trunk.
        stride: of the finest fused map: 32 (no skip), 16 or 8.
        alignment: "same" pads every layer, ceil(n / stride) features for n pixels, and clamps at
            the border; "caffe" is the published layout: 100 pixels of padding, ceil pooling,
            deconvolution that counts the outside as zero, derived crops (vgg16, caffenet, alexnet).
        at_once: scale the taps as in the published all-at-once training, instead of relying on
            the stages 32s → 16s → 8s (`from_coarser`).
        deconvolution: "fixed", bilinear weights that are not learned, as in the reference;
            "learned", the ×2 steps between strides start bilinear and learn, as in the paper,
            while the last step stays fixed.
        width: multiplies the trunk's channel counts; below 1 only for trying things out.
        weights: file with the trunk's weights: safetensors or .pth in torchvision's key names, or
            one of the authors' .caffemodel.

    Raises:
        ValueError: for an argument out of its range and for weights that do not fit.

    ::

        >>> model = FCN("tiny", num_classes={"semantic": 33, "geometric": 3})
        >>> {task: tuple(scores.shape) for task, scores in model(torch.zeros(1, 3, 61, 90)).items()}
        {'semantic': (1, 33, 61, 90), 'geometric': (1, 3, 61, 90)}
    """

    Config = FCNConfig
    config: FCNConfig

    def __init__(
        self,
        backbone: str | nn.Module = "vgg16",
        num_classes: int | Mapping[str, int] = 21,
        stride: int = 8,
        alignment: Alignment = "same",
        at_once: bool = False,
        deconvolution: Literal["fixed", "learned"] = "fixed",
        width: float = 1.0,
        weights: Path | str | None = None,
    ) -> None:
        named = backbone if isinstance(backbone, str) else ""
        config = FCNConfig(named, num_classes, stride, alignment, at_once, deconvolution, width)
        self._build(config, weights, None if isinstance(backbone, str) else backbone)

    @classmethod
    def from_config(
        cls,
        config: FCNConfig,
        weights: Path | str | None = None,
        backbone: nn.Module | None = None,
    ) -> Self:
        """See `Network.from_config`; weights: as the constructor takes them."""
        network = cls.__new__(cls)
        network._build(config, weights, backbone)
        return network

    def _build(
        self, config: FCNConfig, weights: Path | str | None, module: nn.Module | None
    ) -> None:
        published = weights is not None and Path(weights).suffix == ".caffemodel"
        trunk = _trunk(config, None if published else weights, module)
        if config.stride not in trunk.channels:
            raise ValueError(f"stride={config.stride} needs a tap there, and the backbone has none")
        expected = config.preprocessing or ("caffe" if published else trunk.preprocessing)
        config = replace(config, backbone=trunk.name, preprocessing=expected)
        super().__init__(config, config.num_classes, expected)
        self.in_channels = 3 + config.extra_channels
        self.backbone: Backbone = trunk
        self.drop = nn.Dropout2d(config.dropout)
        self.score_fr: nn.Conv2d
        self._add_layers()
        if published:
            load_published(self, cast(Path, weights))
            self.expect(expected)

    def _add_layers(self) -> None:
        """Score layers and learned deconvolutions down to the stride, where they are missing."""
        for tap, name in SCORE_LAYERS.items():
            if tap >= self.stride and not hasattr(self, name):
                self.add_module(name, score_layer(self.backbone.channels[tap], self.num_classes))
        if self.config.deconvolution == "fixed":
            return
        for stride, name in UPSCORE_LAYERS.items():
            if stride > self.stride and not hasattr(self, name):
                factor, kernel, _ = self._whole_upscore(stride, stride // 2)
                self.add_module(name, _Upscore([*self.tasks.values()], factor, kernel))

    @classmethod
    def configured(
        cls,
        options: Mapping[str, Any],
        num_classes: int | Mapping[str, int],
        inputs: Sequence[str] = ("rgb",),
    ) -> FCNConfig:
        """See `Network.configured`; depth or HHA beside colour is read by further channels.

        Raises:
            ValueError: for inputs of another kind, and as `Network.configured`.
        """
        if len(inputs) == 2 and inputs[0] == "rgb" and inputs[1] in _BESIDE_COLOUR:
            options, inputs = {**options, "extra_channels": _BESIDE_COLOUR[inputs[1]]}, ("rgb",)
        if len(inputs) > 1:
            raise ValueError(
                f"an FCN reads rgb, and depth or hha beside it; not {' and '.join(inputs)}"
            )
        return cast(FCNConfig, super().configured(options, num_classes))

    @classmethod
    def from_trained(cls, config: FCNConfig, trained: Sequence[Network]) -> Self:
        """See `Network.from_trained`; a trained FCN of the same stride, or of the next coarser.

        Raises:
            ValueError: for another number or kind of networks, and for an FCN that differs.
        """
        if len(trained) != 1 or not isinstance(other := trained[0].plain, FCN):
            titles = ", ".join(one.title for one in trained)
            raise ValueError(f"an FCN starts from one network, an FCN; not from {titles}")
        for key in ("backbone", "width", "alignment", "norms", "extra_channels"):
            found, wanted = (getattr(c, key) for c in (other.config, config))
            if found != wanted:
                raise ValueError(f"it has {key}={found!r}, {key}={wanted!r} is wanted")
        if [*named(other.config.num_classes).items()] != [*named(config.num_classes).items()]:
            raise ValueError(
                f"it has num_classes={other.config.num_classes!r}, {config.num_classes!r} wanted"
            )
        if other.stride not in (config.stride, 2 * config.stride):
            raise ValueError(
                f"it is an FCN-{other.stride}s; an FCN-{config.stride}s starts from an "
                f"FCN-{config.stride}s or FCN-{2 * config.stride}s"
            )
        return cls._grown(other, config)

    @classmethod
    def from_coarser(cls, coarser: FCN) -> Self:
        """A 32s becomes a 16s, a 16s an 8s: the same layers plus one score layer at zero.

        The paper's staged training: the finer net starts from what the coarser one has learned.

        Raises:
            ValueError: for an 8s, which has nothing finer.
        """
        if coarser.stride == min(SCORE_LAYERS):
            raise ValueError("from_coarser: an FCN-8s is the finest; give a 32s or a 16s")
        return cls._grown(coarser, replace(coarser.config, stride=coarser.stride // 2))

    @classmethod
    def _grown(cls, other: FCN, config: FCNConfig) -> Self:
        """A copy of `other` with another config, and the layers that this one has more."""
        grown = cast(Self, copy.deepcopy(other))
        if config.stride not in grown.backbone.channels:
            raise ValueError(f"from_coarser: the backbone has no tap at stride {config.stride}")
        expected = config.preprocessing or other.config.preprocessing
        grown.config = replace(config, preprocessing=expected)
        grown.expect(expected)
        grown.drop = nn.Dropout2d(config.dropout)
        for name in UPSCORE_LAYERS.values():
            if config.deconvolution == "fixed" and hasattr(grown, name):
                raise ValueError("it has learned deconvolutions, deconvolution='fixed' is wanted")
        grown._add_layers()
        like = other.score_fr.weight
        return grown.to(like.device, like.dtype)

    def expect(self, preprocessing: str) -> None:
        """Say what the weights expect of the input, in place (see `transforms.Preprocess`)."""
        self.config = replace(self.config, preprocessing=preprocessing)
        self.preprocess = Preprocess(preprocessing).to(self.score_fr.weight.device)

    # ---- What it is ------------------------------------------------------------------------------

    @property
    def stride(self) -> int:
        """Of the finest fused map."""
        return self.config.stride

    @property
    def title(self) -> str:
        """As in "FCN-8s on vgg16"."""
        return f"FCN-{self.stride}s on {self.config.backbone}"

    @property
    def border(self) -> Border:
        """What upsampling takes the outside of a map to be (see `alignment`)."""
        return "zero" if self.config.alignment == "caffe" else "replicate"

    def scorers(self) -> tuple[str, ...]:
        """The names of its score layers, coarsest first."""
        return tuple(name for tap, name in SCORE_LAYERS.items() if tap >= self.stride)

    def trunk(self) -> frozenset[str]:
        """See `Network.trunk`."""
        return frozenset(n for n, _ in self.named_parameters() if n.startswith("backbone."))

    def freezable(self, stride: int) -> Iterator[nn.Parameter]:
        """See `Network.freezable`; of the trunk's layers."""
        return backbones.parameters_within(self.backbone, stride)

    def margin(self) -> int | None:
        """See `Network.margin`.

        The field of a tap, and for each upsampling the reach of its tent: a stride of what it
        leaves. None for a trunk with factors of the whole image, or attention.
        """
        if self.backbone.sees_all:
            return None
        widest, reach = Fraction(0), 0
        for stride in sorted(SCORE_LAYERS):
            if stride >= self.stride:
                reach += stride
                field = geometry.receptive_field(self.backbone.layers(stride))
                widest = max(widest, reach + Fraction(field.size - 1, 2))
        return math.ceil(widest)

    def grid(self) -> int:
        """See `Network.grid`; that of the coarsest tap."""
        return max(SCORE_LAYERS)

    # ---- Scores ----------------------------------------------------------------------------------

    def training_scores(self, images: Tensor) -> Tensor:
        """See `Network.training_scores`: `fused_scores`."""
        return self.fused_scores(images)

    def fused_scores(self, images: Tensor) -> Tensor:
        """The scores before the last upsampling, (N, C, h, w) at `self.stride`."""
        taps = self.backbone(images)
        scores = self._score(taps, 32)
        for finer in (16, 8):
            if finer < self.stride:
                break
            skip = self._score(taps, finer)
            scores = skip + self._onto(scores, 2 * finer, finer, skip.shape[-2:])
        return scores

    def enlarge(self, scores: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
        """The last upsampling: `fused_scores` brought to the (H, W) of the image."""
        return self._onto(scores, self.stride, None, size)

    def _score(self, taps: dict[int, Tensor], stride: int) -> Tensor:
        features = taps[stride]
        if self.config.at_once:
            features = features * AT_ONCE_SCALES[stride]
        layer = cast(nn.Module, getattr(self, SCORE_LAYERS[stride]))
        return cast(Tensor, layer(self.drop(features)))

    def _onto(
        self, scores: Tensor, stride: int, finer: int | None, size: torch.Size | tuple[int, int]
    ) -> Tensor:
        """Resample the map at `stride` onto the map at `finer`, or onto the image (None)."""
        factor, offset = self.upscore(stride, finer)
        learned = getattr(self, UPSCORE_LAYERS.get(stride, ""), None) if finer else None
        if learned is not None:
            _, _, whole = self._whole_upscore(stride, stride // 2)
            return cast(Tensor, learned(scores, (size[0], size[1]), whole, self.border))
        return upsample(scores, factor, (size[0], size[1]), offset, border=self.border)

    def placement(self) -> Placement:
        """See `Network.placement`: the last upsampling."""
        return Placement(*self.upscore(self.stride), self.border)

    def upscore(self, stride: int, finer: int | None = None) -> tuple[int, Fraction]:
        """(factor, offset) of a deconvolution that carries the map at `stride` onto a finer one.

        `offset` rows are dropped from the full deconvolution so that the first row left lies on
        the first row of the finer map (of the image, for `finer=None`). It is whole for trunks
        whose strided windows are even (VGG16: 19, 5, 27, 9, 31 with alignment="caffe"), and lies
        between two rows for odd ones, where only the two-matrix form of `upsample` can follow.
        """
        factor, centre = self._relative(stride, finer)
        return factor, Fraction(default_kernel_size(factor) - 1, 2) - centre

    def _whole_upscore(self, stride: int, finer: int | None) -> tuple[int, int, int]:
        """(factor, kernel, offset) with a whole offset: k = 2·factor, or one less where odd fits.

        The reference's FCN-AlexNet has k = 63 for this reason, and VGG16's nets 64.
        """
        factor, centre = self._relative(stride, finer)
        return factor, *kernel_for(factor, centre)

    def _relative(self, stride: int, finer: int | None) -> tuple[int, Fraction]:
        """Pixels of the finer map per score, and where score 0 lies among them."""
        scale, centre = self.backbone.coordinate_map(stride)
        fine_scale, fine_centre = (
            (Fraction(1), Fraction(0)) if finer is None else self.backbone.coordinate_map(finer)
        )
        return int(scale / fine_scale), (centre - fine_centre) / fine_scale


def _trunk(config: FCNConfig, weights: Path | str | None, module: nn.Module | None) -> Backbone:
    """The backbone by the name in the config, or of a module of one's own."""
    if module is None:
        return backbones.make(
            config.backbone,
            width=config.width,
            alignment=config.alignment,
            norms=config.norms,
            extra_channels=config.extra_channels,
            weights=weights,
        )
    default = FCNConfig()
    keys = ("width", "norms", "extra_channels", "alignment")
    if weights or any(getattr(config, key) != getattr(default, key) for key in keys):
        raise ValueError(
            "width, norms, weights, extra_channels and alignment are for a backbone by "
            "name; set up a module of your own before handing it over"
        )
    return backbones.tap(module)


class _Upscore(nn.Module):
    """A learned deconvolution for each task: classes of one task do not mix with another's."""

    def __init__(self, counts: Sequence[int], factor: int, kernel: int) -> None:
        super().__init__()
        self.counts = list(counts)
        self.tasks = nn.ModuleList(Deconvolution(n, factor, kernel) for n in counts)

    def forward(self, scores: Tensor, size: tuple[int, int], offset: int, border: Border) -> Tensor:
        parts = zip(self.tasks, scores.split(self.counts, 1), strict=True)
        return torch.cat([layer(part, size, offset, border) for layer, part in parts], 1)
