"""Softmax cross-entropy of every pixel that is not void: `pixel_cross_entropy`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fcn_tutorial.losses._common import Reduction, check, mean, pixel_weights, same_size
from fcn_tutorial.void import Void, is_void

_VOID = -100  # void as one number, which no dtype of labels mistakes for a class


def pixel_cross_entropy(
    scores: Tensor,
    target: Tensor,
    ignore_index: Void = 255,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Softmax cross-entropy of every pixel that is not void, as one number.

    Labels out of range are looked for on the CPU only: on an accelerator that would wait for the
    device, whose own kernel stops at such a label.

    Args:
        scores: (N, C, H, W) floating point, before the softmax.
        target: (N, H, W) integer, uint8 included.
        ignore_index: the label of void pixels, or several; they neither count nor receive a
            gradient.
        weight: (C,) factors by true class.
        reduction: "mean" divides the sum by the number of valid pixels, or by the sum of their
            weights; where there are none, the loss and its gradient are 0, not nan. "sum" is the
            sum.

    Returns:
        A scalar, of float32 for half-precision scores.

    Raises:
        ValueError: for shapes that do not fit, a target that is not integer, an unknown reduction,
            and labels out of range.

    ::

        >>> import torch
        >>> target = torch.full((1, 4, 4), 255)  # void
        >>> target[0, 0, 0] = 3
        >>> pixel_cross_entropy(torch.zeros(1, 21, 4, 4), target)  # ln 21
        tensor(3.0445)
    """
    check(scores, target, ignore_index, weight, reduction)
    scores = same_size(scores, target)
    dtype = scores.dtype
    weight = None if weight is None else weight.to(scores.device, dtype)
    labels = target.long().masked_fill(is_void(target, ignore_index), _VOID)
    total = F.cross_entropy(scores, labels, weight=weight, ignore_index=_VOID, reduction="sum")
    if reduction == "sum":
        return total
    return mean(total, pixel_weights(labels, _VOID, weight, dtype)[1].sum())
