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
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fcn_tutorial.models import backbones
from fcn_tutorial.models.backbones import Backbone, Norms
from fcn_tutorial.models.trunks import Alignment
from fcn_tutorial.transforms import Preprocess, map_sample
from fcn_tutorial.upsampling import Border, Deconvolution, default_kernel_size, kernel_for, upsample

#: The score layer of each stride, finest last.
SCORE_LAYERS = {32: "score_fr", 16: "score_pool4", 8: "score_pool3"}
#: The learned deconvolution that leaves each stride; the last one, to the image, stays fixed.
UPSCORE_LAYERS = {32: "upscore2", 16: "upscore_pool4"}
#: What "at once" training multiplies a tap by before scoring it (reference voc-fcn8s-atonce).
AT_ONCE_SCALES = {32: 1.0, 16: 0.01, 8: 0.0001}


class FCN(nn.Module):
    """FCN-32s, -16s or -8s over a classifier's trunk.

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
        norms: "batch" or "folded" (see `backbones.make`).
        dropout: share of feature channels dropped before each score layer while training.
        extra_channels: input channels beside RGB (early fusion, see `backbones.make`).
        weights: safetensors file with the trunk's weights in torchvision's key names.
        preprocessing: what the trunk's weights expect, where it is not what comes with its name.
        magnification: the image is enlarged by this (bilinearly) before the trunk, and the scores
            are brought back to its size; finer maps of the scene, for so many times squared the
            work. `fused_scores` takes what is enlarged already.

    Score layers start at zero, so the first loss is ln C. Raises ValueError for an argument out of
    its range and for weights that do not fit.
    """

    def __init__(
        self,
        backbone: str | nn.Module = "vgg16",
        num_classes: int | Mapping[str, int] = 21,
        stride: int = 8,
        alignment: Alignment = "same",
        at_once: bool = False,
        deconvolution: Literal["fixed", "learned"] = "fixed",
        *,
        width: float = 1.0,
        norms: Norms = "batch",
        dropout: float = 0.0,
        extra_channels: int = 0,
        weights: Path | None = None,
        preprocessing: str | None = None,
        magnification: float = 1.0,
    ) -> None:
        super().__init__()
        self.backbone: Backbone
        if not magnification > 0:
            raise ValueError(f"magnification={magnification}: expected more than 0")
        if stride not in SCORE_LAYERS:
            raise ValueError(f"stride={stride} is not offered; choose 32, 16 or 8")
        if deconvolution not in ("fixed", "learned"):
            raise ValueError(
                f"deconvolution={deconvolution!r} is not offered; choose 'fixed' or 'learned'"
            )
        self.tasks = dict(num_classes) if isinstance(num_classes, Mapping) else None
        counts = list(self.tasks.values()) if self.tasks is not None else [cast(int, num_classes)]
        if min(counts, default=0) < 1:
            raise ValueError(f"num_classes={num_classes!r}: at least one class is needed")
        if isinstance(backbone, nn.Module):
            named_only = (
                width != 1,
                norms != "batch",
                weights,
                extra_channels,
                alignment != "same",
            )
            if any(named_only):
                raise ValueError(
                    "width, norms, weights, extra_channels and alignment are for a backbone by "
                    "name; set up a module of your own before handing it over"
                )
            self.backbone = backbones.tap(backbone)
        else:
            self.backbone = backbones.make(
                backbone,
                width=width,
                alignment=alignment,
                norms=norms,
                extra_channels=extra_channels,
                weights=weights,
            )
        if stride not in self.backbone.channels:
            raise ValueError(f"stride={stride} needs a tap there, and the backbone has none")
        if preprocessing is not None:
            self.backbone.preprocessing = preprocessing
        #: The arguments that build this network again (its weights aside), fit for JSON.
        self.config: dict[str, Any] = {
            "backbone": self.backbone.name,
            "num_classes": self.tasks or counts[0],
            "stride": stride,
            "alignment": alignment,
            "at_once": at_once,
            "deconvolution": deconvolution,
            "width": width,
            "norms": norms,
            "dropout": dropout,
            "extra_channels": extra_channels,
            "preprocessing": self.backbone.preprocessing,
            "magnification": magnification,
        }
        self.num_classes = sum(counts)
        self.stride = stride
        self.alignment = alignment
        self.at_once = at_once
        self.in_channels = 3 + extra_channels
        self.magnification = magnification
        self.preprocess = Preprocess(self.backbone.preprocessing)
        self.drop = nn.Dropout2d(dropout)
        self.score_fr: nn.Conv2d
        for tap, name in SCORE_LAYERS.items():
            if tap >= stride:
                self.add_module(name, _score_layer(self.backbone.channels[tap], self.num_classes))
        self._add_upscore_layers()

    def _add_upscore_layers(self) -> None:
        if self.config["deconvolution"] == "fixed":
            return
        counts = list(self.tasks.values()) if self.tasks else [self.num_classes]
        for stride, name in UPSCORE_LAYERS.items():
            if stride > self.stride and not hasattr(self, name):
                factor, kernel, _ = self._whole_placement(stride, stride // 2)
                self.add_module(name, _Upscore(counts, factor, kernel))

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Images (N, 3, H, W) → scores (N, C, H, W), or {task: scores} for several tasks."""
        size = images.shape[-2:]
        if self.magnification != 1:
            larger = [max(1, round(n * self.magnification)) for n in size]
            images = interpolate(images, larger, mode="bilinear", antialias=True)
        scores = self.enlarge(self.fused_scores(images), images.shape[-2:])
        if self.magnification != 1:
            scores = interpolate(scores, list(size), mode="bilinear", antialias=True)
        return self.by_task(scores)

    def by_task(self, scores: Tensor) -> Tensor | dict[str, Tensor]:
        """Scores of all tasks one after the other, as {task: scores}; unchanged for one task."""
        if self.tasks is None:
            return scores
        return dict(zip(self.tasks, scores.split(list(self.tasks.values()), 1), strict=True))

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
        if self.at_once:
            features = features * AT_ONCE_SCALES[stride]
        layer = cast(nn.Module, getattr(self, SCORE_LAYERS[stride]))
        return cast(Tensor, layer(self.drop(features)))

    def _onto(
        self, scores: Tensor, stride: int, finer: int | None, size: torch.Size | tuple[int, int]
    ) -> Tensor:
        """Resample the map at `stride` onto the map at `finer`, or onto the image (None)."""
        factor, offset = self.placement(stride, finer)
        learned = getattr(self, UPSCORE_LAYERS.get(stride, ""), None) if finer else None
        if learned is not None:
            _, _, whole = self._whole_placement(stride, stride // 2)
            return cast(Tensor, learned(scores, (size[0], size[1]), whole, self.border))
        return upsample(scores, factor, (size[0], size[1]), offset, border=self.border)

    @property
    def border(self) -> Border:
        """What upsampling takes the outside of a map to be (see `alignment`)."""
        return "zero" if self.alignment == "caffe" else "replicate"

    def placement(self, stride: int, finer: int | None = None) -> tuple[int, Fraction]:
        """(factor, offset) of a deconvolution that carries the map at `stride` onto a finer one.

        `offset` rows are dropped from the full deconvolution so that the first row left lies on
        the first row of the finer map (of the image, for `finer=None`). It is whole for trunks
        whose strided windows are even (VGG16: 19, 5, 27, 9, 31 with alignment="caffe"), and lies
        between two rows for odd ones, where only the two-matrix form of `upsample` can follow.
        """
        factor, centre = self._relative(stride, finer)
        return factor, Fraction(default_kernel_size(factor) - 1, 2) - centre

    def _whole_placement(self, stride: int, finer: int | None) -> tuple[int, int, int]:
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

    @torch.no_grad()
    def predict(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """RGB image (3, H, W) uint8 → labels (H, W) int64, at the size of the image.

        A network on other inputs takes the dict of its parts, as items of `NYUDv2` have them; one
        of several tasks gives {task: labels}. Preprocesses as the trunk's weights expect. Raises
        RuntimeError in training mode, where norms and dropout would blur the answer, and as
        `transforms.Preprocess`.
        """
        return predict(self, inputs)

    @classmethod
    def from_coarser(cls, coarser: FCN) -> FCN:
        """A 32s becomes a 16s, a 16s an 8s: the same layers plus one score layer at zero.

        The paper's staged training: the finer net starts from what the coarser one has learned.
        Raises ValueError for an 8s, which has nothing finer.
        """
        if coarser.stride == min(SCORE_LAYERS):
            raise ValueError("from_coarser: an FCN-8s is the finest; give a 32s or a 16s")
        finer = copy.deepcopy(coarser)
        finer.stride = coarser.stride // 2
        finer.config["stride"] = finer.stride
        like = coarser.score_fr.weight
        if finer.stride not in finer.backbone.channels:
            raise ValueError(f"from_coarser: the backbone has no tap at stride {finer.stride}")
        layer = _score_layer(finer.backbone.channels[finer.stride], finer.num_classes)
        finer.add_module(SCORE_LAYERS[finer.stride], layer)
        finer._add_upscore_layers()
        return finer.to(like.device, like.dtype)


@torch.no_grad()
def predict(model: Any, inputs: Tensor | Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
    """What `FCN.predict` and `LateFusion.predict` do."""
    if model.training:
        raise RuntimeError("predict: the network is in training mode; call .eval() first")
    if isinstance(inputs, Tensor) and model.in_channels != 3:
        raise ValueError(
            f"predict: got one image, this network reads {model.in_channels} channels: give a dict "
            "of its parts"
        )
    device = next(model.parameters()).device
    batch = model.preprocess(map_sample(lambda part: part.to(device)[None], inputs))
    scores = model(batch.contiguous(memory_format=torch.channels_last))
    if isinstance(scores, dict):
        return {task: part[0].argmax(0) for task, part in scores.items()}
    return cast(Tensor, scores[0].argmax(0))


class _Upscore(nn.Module):
    """A learned deconvolution for each task: classes of one task do not mix with another's."""

    def __init__(self, counts: Sequence[int], factor: int, kernel: int) -> None:
        super().__init__()
        self.counts = list(counts)
        self.tasks = nn.ModuleList(Deconvolution(n, factor, kernel) for n in counts)

    def forward(self, scores: Tensor, size: tuple[int, int], offset: int, border: Border) -> Tensor:
        parts = zip(self.tasks, scores.split(self.counts, 1), strict=True)
        return torch.cat([layer(part, size, offset, border) for layer, part in parts], 1)


def _score_layer(channels: int, num_classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
