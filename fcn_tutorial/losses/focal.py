"""Cross-entropy in which pixels that are right already count less: `focal_loss`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fcn_tutorial.losses._common import Reduction, check, mean, pixel_weights, same_size
from fcn_tutorial.void import Void


def focal_loss(
    scores: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    ignore_index: Void = 255,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Σ (1 − p)^gamma · (−ln p) over the pixels, p the probability of a pixel's true class.

    Source: Lin et al. 2017, Focal loss for dense object detection, equation 5; its α is `weight`.

    Args:
        scores: (N, C, H, W) floating point, before the softmax.
        target: (N, H, W) integer.
        gamma: 0 is `pixel_cross_entropy`; the paper's best is 2.
        ignore_index, weight, reduction: as in `pixel_cross_entropy`. "mean" divides by what the
            pixels weigh without the focal factor, so a better network has a smaller mean.

    Returns:
        A scalar, of float32 for half-precision scores.

    Raises:
        ValueError: for a negative gamma, and as `pixel_cross_entropy`.

    ::

        >>> scores, target = torch.zeros(1, 2, 4, 4), torch.ones(1, 4, 4, dtype=torch.int64)
        >>> focal_loss(scores, target, gamma=2)  # 0.5² · ln 2
        tensor(0.1733)
    """
    if not gamma >= 0:
        raise ValueError(f"gamma must be 0 or more, got {gamma}")
    check(scores, target, ignore_index, weight, reduction)
    scores = same_size(scores, target)
    labels, factors = pixel_weights(target, ignore_index, weight, scores.dtype)
    log_p = F.log_softmax(scores, dim=1).gather(1, labels[:, None])[:, 0]
    # 1 − p without cancellation; above 0, where a power below 1 would have an infinite slope.
    doubt = (-torch.expm1(log_p)).clamp(min=torch.finfo(scores.dtype).tiny)
    total = -(doubt.pow(gamma) * log_p * factors).sum()
    return total if reduction == "sum" else mean(total, factors.sum())
