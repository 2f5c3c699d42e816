"""The fully convolutional network: a trunk, score layers at its taps, and skip fusion.

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
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from fcn_tutorial.models import backbones
from fcn_tutorial.models.backbones import Alignment, Norms
from fcn_tutorial.transforms import Preprocess
from fcn_tutorial.upsampling import Border, upsample

#: The score layer of each stride, finest last.
SCORE_LAYERS = {32: "score_fr", 16: "score_pool4", 8: "score_pool3"}
#: What "at once" training multiplies a tap by before scoring it (reference voc-fcn8s-atonce).
AT_ONCE_SCALES = {32: 1.0, 16: 0.01, 8: 0.0001}


class FCN(nn.Module):
    """FCN-32s, -16s or -8s over a classifier's trunk.

    Args:
        backbone: "tiny", "squeezenet1_1", "mobilenet_v2" or "vgg16".
        num_classes: how many classes, or {task: how many} for several tasks on one trunk.
        stride: of the finest fused map: 32 (no skip), 16 or 8.
        alignment: "same" pads every layer, ceil(n / stride) features for n pixels, and clamps at
            the border; "caffe" is the published layout: 100 pixels of padding, ceil pooling,
            deconvolution that counts the outside as zero, derived crops (vgg16).
        at_once: scale the taps as in the published all-at-once training, instead of relying on
            the stages 32s → 16s → 8s (`from_coarser`).
        deconvolution: "fixed", bilinear weights that are not learned, as in the reference.
        width: multiplies the trunk's channel counts; below 1 only for trying things out.
        norms: "batch" or "folded" (see `backbones.make`).
        dropout: share of feature channels dropped before each score layer while training.
        weights: safetensors file with the trunk's weights in torchvision's key names.

    Score layers start at zero, so the first loss is ln C. Raises ValueError for an argument out of
    its range and for weights that do not fit.
    """

    def __init__(
        self,
        backbone: str = "vgg16",
        num_classes: int | Mapping[str, int] = 21,
        stride: int = 8,
        alignment: Alignment = "same",
        at_once: bool = False,
        deconvolution: Literal["fixed"] = "fixed",
        *,
        width: float = 1.0,
        norms: Norms = "batch",
        dropout: float = 0.0,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        if stride not in SCORE_LAYERS:
            raise ValueError(f"stride={stride} is not offered; choose 32, 16 or 8")
        if deconvolution != "fixed":
            raise ValueError(f"deconvolution={deconvolution!r} is not offered; choose 'fixed'")
        self.tasks = dict(num_classes) if isinstance(num_classes, Mapping) else None
        total = sum(self.tasks.values()) if self.tasks else cast(int, num_classes)
        if total < 1:
            raise ValueError(f"num_classes={num_classes!r}: at least one class is needed")
        #: The arguments that build this network again (its weights aside), fit for JSON.
        self.config: dict[str, Any] = {
            "backbone": backbone,
            "num_classes": self.tasks or total,
            "stride": stride,
            "alignment": alignment,
            "at_once": at_once,
            "width": width,
            "norms": norms,
            "dropout": dropout,
        }
        self.num_classes = total
        self.stride = stride
        self.alignment = alignment
        self.at_once = at_once
        self.backbone = backbones.make(
            backbone, width=width, alignment=alignment, norms=norms, weights=weights
        )
        self.preprocess = Preprocess(self.backbone.preprocessing)
        self.drop = nn.Dropout2d(dropout)
        self.score_fr: nn.Conv2d
        for tap, name in SCORE_LAYERS.items():
            if tap >= stride:
                self.add_module(name, _score_layer(self.backbone.channels[tap], total))

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Images (N, 3, H, W) → scores (N, C, H, W), or {task: scores} for several tasks."""
        scores = self.enlarge(self.fused_scores(images), images.shape[-2:])
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
        scale, centre = self.backbone.coordinate_map(stride)
        fine_scale, fine_centre = (
            (Fraction(1), Fraction(0)) if finer is None else self.backbone.coordinate_map(finer)
        )
        factor = scale / fine_scale
        kernel = 2 * factor - factor % 2
        return int(factor), (kernel - 1) / 2 + (fine_centre - centre) / fine_scale

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """RGB image (3, H, W) uint8 → labels (H, W) int64, at the size of the image.

        Preprocesses as the trunk's weights expect. Raises ValueError for a network of several
        tasks, and RuntimeError in training mode, where norms and dropout would blur the answer.
        """
        if self.training:
            raise RuntimeError("predict: the network is in training mode; call .eval() first")
        batch = self.preprocess(image.to(self.score_fr.weight.device)[None])
        scores = self(batch.contiguous(memory_format=torch.channels_last))
        if isinstance(scores, dict):
            raise ValueError("predict: takes a network of one task")
        return cast(Tensor, scores[0].argmax(0))

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
        layer = _score_layer(finer.backbone.channels[finer.stride], finer.num_classes)
        finer.add_module(SCORE_LAYERS[finer.stride], layer.to(like.device, like.dtype))
        return finer


def _score_layer(channels: int, num_classes: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
