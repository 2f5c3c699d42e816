"""The loss a recipe asks for: cross-entropy, focal or not, and beside it a loss of regions."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from fcn_tutorial.losses._common import Reduction, pixel_weights, working_dtype
from fcn_tutorial.losses.banded import upsample_cross_entropy
from fcn_tutorial.losses.cross_entropy import pixel_cross_entropy
from fcn_tutorial.losses.focal import focal_loss
from fcn_tutorial.losses.region import Region, dice_loss, lovasz_softmax
from fcn_tutorial.upsampling import Border, Offset, upsample
from fcn_tutorial.void import Void

_REGIONS = {"dice": dice_loss, "lovasz": lovasz_softmax}


class Terms(NamedTuple):
    """What a loss is made of; without arguments it is the plain cross-entropy.

    Attributes:
        focal: exponent of `focal_loss`, 0 for the cross-entropy.
        region: the loss that is added to it.
        region_weight: its factor; beside a mean over pixels a region's loss is between 0 and 1.

    ::

        >>> import torch
        >>> scores, target = torch.zeros(1, 2, 4, 4), torch.ones(1, 4, 4, dtype=torch.int64)
        >>> upsample_loss(scores, target, factor=1, terms=Terms(focal=2.0))  # 0.5² · ln 2
        tensor(0.1733)
    """

    focal: float = 0.0
    region: Region = "none"
    region_weight: float = 1.0


def upsample_loss(
    scores: Tensor,
    target: Tensor,
    factor: int,
    offset: Offset | tuple[Offset, Offset] | None = None,
    terms: Terms = Terms(),  # noqa: B008  # immutable
    ignore_index: Void = 255,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    border: Border = "zero",
) -> Tensor:
    """The terms' loss of upsampled scores, as one number.

    The plain cross-entropy is `upsample_cross_entropy`, without the full-resolution scores; the
    other losses look at all of them at once. With reduction="sum" the region's loss is multiplied
    by what the pixels weigh, so that dividing by that gives the mean again: over parts of a batch,
    each part's regions then count by their pixels.

    Args:
        scores: (N, C, H, W) floating point.
        target: (N, H', W') integer, of the upsampled size.
        factor, offset, border: as in `upsampling.upsample`.
        terms: what the loss is made of.
        ignore_index, weight, reduction: as in `pixel_cross_entropy`; a region's loss weighs its
            classes alike, whatever `weight` says.

    Returns:
        A scalar.

    Raises:
        ValueError: as the losses it is made of, and for an unknown region.

    ::

        >>> import torch
        >>> scores, target = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
        >>> upsample_loss(scores, target, factor=1, terms=Terms(region="dice"))  # ln 2 + 1/2
        tensor(1.1931)
    """
    if terms.region != "none" and terms.region not in _REGIONS:
        known = ", ".join(("none", *_REGIONS))
        raise ValueError(f"region must be one of {known}, got {terms.region!r}")
    if terms.focal == 0 and terms.region == "none":
        return upsample_cross_entropy(
            scores, target, factor, offset, ignore_index, weight, reduction, border=border
        )
    size = (target.shape[-2], target.shape[-1])
    fine = upsample(scores, factor, size, offset, border=border)
    if terms.focal == 0:
        loss = pixel_cross_entropy(fine, target, ignore_index, weight, reduction)
    else:
        loss = focal_loss(fine, target, terms.focal, ignore_index, weight, reduction)
    if terms.region == "none":
        return loss
    region = terms.region_weight * _REGIONS[terms.region](fine, target, ignore_index)
    if reduction == "mean":
        return loss + region
    dtype = working_dtype(scores)
    return loss + region * pixel_weights(target, ignore_index, weight, dtype)[1].sum()
