"""Losses of how regions overlap, which weigh classes alike: `dice_loss` and `lovasz_softmax`.

Both are of a batch's pixels as one set: 1 minus a mean over the classes in the target of a soft
Dice score or a soft IU, so between 0 and 1. A class that no valid pixel has is left out, and where
all pixels are void, the loss and its gradient are 0.

A mean by nature, they have a "sum" too, so that they go with summed cross-entropies: the mean times
the number of valid pixels. `translate` between the conventions is then the same for all losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fcn_tutorial.losses._common import Reduction, check, same_size
from fcn_tutorial.void import Void, is_void

Region = Literal["none", "dice", "lovasz"]


def dice_loss(
    scores: Tensor, target: Tensor, ignore_index: Void = 255, reduction: Reduction = "mean"
) -> Tensor:
    """1 − the mean over classes of 2·Σ p·y / (Σ p + Σ y), over all valid pixels of the batch.

    p is the probability of the class after the softmax, y is 1 where it is the true one and 0
    elsewhere. Source: Milletari et al. 2016, V-Net, section 3, with p and y instead of their
    squares, for several classes as in Drozdzal et al. 2016; no smoothing is needed, because a
    class that counts has a pixel.

    Args:
        scores: (N, C, H, W) floating point, before the softmax.
        target: (N, H, W) integer.
        ignore_index: the label of void pixels, or several.
        reduction: "mean" over the classes, or "sum", that mean times the number of valid pixels.

    Returns:
        A scalar, of float32 for half-precision scores.

    Raises:
        ValueError: as `pixel_cross_entropy`.

    ::

        >>> target = torch.tensor([[[0, 1]]])
        >>> scores = torch.tensor([[[[99.0, 99.0]], [[0.0, 0.0]]]])  # class 0, twice
        >>> dice_loss(scores, target)  # Dice scores of 2/3 and 0
        tensor(0.6667)
    """

    def lost(p: Tensor, y: Tensor) -> Tensor:
        return 1 - 2 * (p * y).sum() / (p.sum() + y.sum())

    return _over_classes(lost, scores, target, ignore_index, reduction)


def lovasz_softmax(
    scores: Tensor, target: Tensor, ignore_index: Void = 255, reduction: Reduction = "mean"
) -> Tensor:
    """The Lovász extension of 1 − IU, averaged over classes, over all valid pixels of the batch.

    The loss 1 − IU of a class depends on the set of its wrong pixels. Its extension to errors
    between 0 and 1, here `|y − p|`, is linear between the sets that come of lowering a threshold on
    the errors, and convex. Source: Berman, Triki, Blaschko 2018, equations 8 to 11, the classes
    "present". It sorts the pixels once for every class.

    Args:
        scores, target, ignore_index, reduction: as in `dice_loss`.

    Returns:
        A scalar, of float32 for half-precision scores.

    Raises:
        ValueError: as `pixel_cross_entropy`.

    ::

        >>> target = torch.tensor([[[0, 1]]])
        >>> scores = torch.tensor([[[[99.0, 99.0]], [[0.0, 0.0]]]])  # class 0, twice
        >>> lovasz_softmax(scores, target)  # IU of 1/2 and 0
        tensor(0.7500)
    """

    def lost(p: Tensor, y: Tensor) -> Tensor:
        errors, order = (y - p).abs().sort(descending=True)
        found = y[order]
        # IU of a class whose first k pixels, in this order, are wrong; then what each one costs.
        kept = found.sum() - found.cumsum(0)
        union = found.sum() + (1 - found).cumsum(0)
        jaccard = 1 - kept / union
        return errors @ torch.diff(jaccard, prepend=jaccard.new_zeros(1))

    return _over_classes(lost, scores, target, ignore_index, reduction)


def _over_classes(
    lost: Callable[[Tensor, Tensor], Tensor],
    scores: Tensor,
    target: Tensor,
    ignore_index: Void,
    reduction: Reduction,
) -> Tensor:
    """The mean of `lost(p, y)`, each (pixels,), over the classes that the target has."""
    check(scores, target, ignore_index, None, reduction)
    scores = same_size(scores, target)
    valid = ~is_void(target, ignore_index)
    probabilities = F.softmax(scores, dim=1).movedim(1, 0)[:, valid]
    labels = target[valid]
    present = labels.unique().tolist()
    if not present:
        return 0 * scores.sum()
    losses = [lost(probabilities[c], (labels == c).to(scores.dtype)) for c in present]
    loss = torch.stack(losses).mean()
    return loss * len(labels) if reduction == "sum" else loss
