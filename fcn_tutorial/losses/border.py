"""U-Net's weights: a pixel between two regions that almost touch counts more."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fcn_tutorial.losses._common import check, same_size
from fcn_tutorial.upsampling import Border, Offset, upsample
from fcn_tutorial.void import Void, is_void

#: Standard deviations beyond which a region is too far: there the weight is below w0 · e^(-18).
_FAR = 6


def border_weights(
    labels: Tensor,
    w0: float = 10.0,
    sigma: float = 5.0,
    background: int = 0,
    ignore_index: Void = 255,
) -> Tensor:
    """What each background pixel counts more, for how close the two nearest regions are.

    ::

        w0 · exp(−(d1 + d2)² / (2 sigma²)),

    d1 and d2 being the distances to the nearest pixels of the nearest region and of the next. It is
    what equation 2 of the source adds to the weight of the pixel's class (a loss of class weights
    and one of these add up). Equation 1, the loss, lacks its minus sign there: the sum of w · log p
    is at its smallest where the net is most wrong. Source: Ronneberger, Fischer, Brox, MICCAI 2015,
    equation 2 (w0 = 10, sigma about 5).

    Args:
        labels: (N, H, W) integer. A region is what hangs together, over edges of pixels, of one
            image's pixels that are neither background nor void.
        w0: weight of a pixel at no distance from both.
        sigma: in pixels.
        background: the label of what is between the regions.
        ignore_index: the label of void pixels, or several.

    Returns:
        (N, H, W) float32 on the CPU: 0 in regions, in void, where there are fewer than two regions,
        and where the next is further than 6 sigma.

    Raises:
        ValueError: for labels of another shape or kind, and a weight or sigma that is not positive.

    ::

        >>> labels = torch.tensor([[[1, 0, 1, 0, 0, 1]]])  # a gap of one pixel, and one of two
        >>> border_weights(labels, w0=1, sigma=1)  # e^(−2²/2) and e^(−3²/2)
        tensor([[[0.0000, 0.1353, 0.0000, 0.0111, 0.0111, 0.0000]]])
    """
    if labels.dim() != 3 or labels.is_floating_point():
        raise ValueError(
            f"labels must be whole numbers (N, H, W), got {labels.dtype} {tuple(labels.shape)}"
        )
    if not (w0 > 0 and sigma > 0):
        raise ValueError(f"w0={w0} and sigma={sigma} must be positive")
    maps = [
        _of_image(image, void, w0, sigma, background)
        for image, void in zip(
            labels.cpu().numpy(), is_void(labels, ignore_index).cpu().numpy(), strict=True
        )
    ]
    return torch.from_numpy(np.stack(maps)) if maps else torch.zeros(labels.shape)


def _of_image(
    labels: NDArray[np.generic], void: NDArray[np.bool_], w0: float, sigma: float, background: int
) -> NDArray[np.float32]:
    between = (labels == background) & ~void
    regions, _ = ndimage.label(~between & ~void)
    nearest, next_one = (np.full(labels.shape, np.inf) for _ in range(2))
    far = math.ceil(_FAR * sigma)
    for number, box in enumerate(ndimage.find_objects(regions), 1):
        around = tuple(slice(max(0, side.start - far), side.stop + far) for side in box)
        distance = ndimage.distance_transform_edt(regions[around] != number)
        next_one[around] = np.minimum(next_one[around], np.maximum(nearest[around], distance))
        nearest[around] = np.minimum(nearest[around], distance)
    weights: NDArray[np.float64] = w0 * np.exp(-((nearest + next_one) ** 2) / (2 * sigma**2))
    weights[~between | (next_one > _FAR * sigma)] = 0
    return weights.astype(np.float32)


def weighted_cross_entropy(
    scores: Tensor,
    target: Tensor,
    weights: Tensor,
    factor: int = 1,
    offset: Offset | tuple[Offset, Offset] | None = None,
    border: Border = "zero",
    ignore_index: Void = 255,
) -> Tensor:
    """The sum of each pixel's weight times its softmax cross-entropy.

    Args:
        scores: (N, C, h, w) floating point, upsampled as in `upsampling.upsample` before that.
        target: (N, H, W) integer; void pixels do not count, whatever their weight.
        weights: (N, H, W), such as of `border_weights`.
        factor, offset, border: as in `upsampling.upsample`; 1 for scores of the target's size.
        ignore_index: the label of void pixels, or several.

    Returns:
        A scalar, of float32 for half-precision scores.

    Raises:
        ValueError: where weights and target differ in shape, and as `pixel_cross_entropy`.

    ::

        >>> scores, target = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
        >>> weighted_cross_entropy(scores, target, torch.tensor([[[1.0, 3.0]]]))  # 4 · ln 2
        tensor(2.7726)
    """
    check(scores, target, ignore_index, None, "sum")
    if weights.shape != target.shape:
        raise ValueError(
            f"weights have shape {tuple(weights.shape)} and target {tuple(target.shape)}: "
            "pass a weight for each pixel"
        )
    fine = upsample(scores, factor, (target.shape[-2], target.shape[-1]), offset, border=border)
    fine = same_size(fine, target)
    void = is_void(target, ignore_index)
    each = F.cross_entropy(fine, target.long().masked_fill(void, -100), reduction="none")
    total: Tensor = (each * weights.to(each)).sum()
    return total
