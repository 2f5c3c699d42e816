"""What a coarse score map costs by itself: `stride_ceiling`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fcn_tutorial.metrics._labels import integers
from fcn_tutorial.metrics.confusion import Absent, ConfusionMatrix, Scores
from fcn_tutorial.void import Void, check_labels

CeilingMethod = Literal["nearest", "majority", "bilinear"]


def stride_ceiling(
    labels: Iterable[npt.NDArray[Any] | Tensor],
    factor: int,
    num_classes: int,
    ignore_index: Void = 255,
    method: CeilingMethod = "nearest",
    absent: Absent = "score_zero_if_predicted",
) -> Scores:
    """How well labels survive a score map `factor` times coarser: down, up again, and scored.

    This estimates what a stride costs. It is not an upper bound: interpolated scores can place an
    edge inside a cell. Compare Shelhamer, Long, Darrell 2017, appendix A, which does not say how it
    interpolates.

    Args:
        labels: (H, W) integer maps. They are cut into cells of factor × factor pixels from the top
            left corner, the last ones partial where a side is not a multiple. No method looks at
            void pixels, and void pixels are not scored.
        factor: the stride of the score map, in pixels.
        num_classes: how many there are, C.
        ignore_index: the label of void pixels, or several; None if there are none.
        method: what becomes of a cell.

            - "nearest": the label of its pixel (factor // 2, factor // 2), counted from 0, or of
              its last row or column where it ends before that; if that pixel is void, the cell's
              majority label.
            - "majority": its most frequent label, the lower class at a tie: the best that can be
              had with one label a cell.
            - "bilinear": the classes' shares in each cell, interpolated between cell centres
              (constant beyond the outermost) and the largest taken, the lower class at a tie.
        absent: which classes without a pixel count, as in `score`.

    Returns:
        The `Scores` of all maps together, as of `score`.

    Raises:
        ValueError: for factor < 1, an unknown method, maps that are not 2-D, and labels out of
            range.

    ::

        >>> import numpy as np
        >>> stripes = np.arange(16 * 16).reshape(16, 16) // 4 % 2  # 4 pixels wide
        >>> [stride_ceiling([stripes], factor, 2).mean_iu for factor in (4, 8)]
        [1.0, 0.25]
    """
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    if method not in get_args(CeilingMethod):
        raise ValueError(f"method must be one of {get_args(CeilingMethod)}, got {method!r}")
    confusion = ConfusionMatrix(num_classes, ignore_index)
    for label in labels:
        truth = integers(label, "labels").to("cpu", torch.int64)
        if truth.dim() != 2:
            raise ValueError(f"labels must be maps of shape (H, W), got {tuple(truth.shape)}")
        valid = check_labels(truth, num_classes, ignore_index)
        restored = _coarsen_and_restore(truth, valid, factor, num_classes, method)
        confusion.update(restored, truth)
    return confusion.compute(absent)


def _coarsen_and_restore(
    truth: Tensor, valid: Tensor, factor: int, num_classes: int, method: CeilingMethod
) -> Tensor:
    height, width = truth.shape
    votes = truth.new_zeros(num_classes + 1, height, width, dtype=torch.float32)
    votes.scatter_(0, torch.where(valid, truth, num_classes)[None], 1.0)
    votes = F.pad(votes[:num_classes], (0, -width % factor, 0, -height % factor))
    shares = F.avg_pool2d(votes, factor)  # (C, rows, columns); only their order matters
    if method == "bilinear":
        shares = shares / shares.sum(dim=0).clamp(min=torch.finfo(shares.dtype).tiny)
        fine = F.interpolate(
            shares[None], scale_factor=factor, mode="bilinear", align_corners=False
        )
        return fine[0, :, :height, :width].argmax(dim=0)
    cells = shares.argmax(dim=0)
    if method == "nearest":
        rows = (torch.arange(cells.shape[0]) * factor + factor // 2).clamp(max=height - 1)
        columns = (torch.arange(cells.shape[1]) * factor + factor // 2).clamp(max=width - 1)
        sampled = (rows[:, None], columns)
        cells = torch.where(valid[sampled], truth[sampled], cells)
    fine = cells.repeat_interleave(factor, dim=0).repeat_interleave(factor, dim=1)
    return fine[:height, :width]
