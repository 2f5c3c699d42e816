"""Scores near the borders of things: the trimap band and its IU, and the boundary F1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fcn_tutorial.metrics._labels import check_predictions, integers
from fcn_tutorial.metrics.confusion import Absent, ConfusionMatrix
from fcn_tutorial.void import Void, check_labels, is_void, writable_void

Labels = Tensor | npt.NDArray[Any]


def boundary_band(
    target: Labels, width: int, ignore_index: Void = 255, void_is_boundary: bool = True
) -> Tensor:
    """Which pixels have a pixel of another label within `width` pixels: the trimap band.

    A boundary runs between two labels, and the band covers `width` pixels on either side of it.
    Distance is the larger of rows and columns apart (chessboard), so that corners stay square. The
    image's own edge is no boundary. Void pixels are never in the band.

    After Kohli, Ladický, Torr 2009 and Krähenbühl, Koltun 2011.

    Args:
        target: (…, H, W) integer tensor or array, each map by itself.
        width: of the band on either side of a boundary, in pixels.
        ignore_index: the label of void pixels, or several; None if there are none.
        void_is_boundary: whether the edge of a void region counts as a boundary. It does on VOC,
            whose void pixels are drawn over the boundaries (Chen et al. 2015, DeepLab, measure from
            them); False takes void for unknown and looks for another class only, where void pixels
            mean that nobody labelled a region.

    Returns:
        (…, H, W) bool on the target's device.

    Raises:
        ValueError: for width < 1, a target that is not integer or has less than two dimensions.

    ::

        >>> import torch
        >>> boundary_band(torch.tensor([[0, 0, 0, 1, 1, 1]]), width=1).long()
        tensor([[0, 0, 1, 1, 0, 0]])
    """
    labels = integers(target, "target")
    if width < 1:
        raise ValueError(f"width must be at least 1 pixel, got {width}")
    if labels.dim() < 2:
        raise ValueError(f"target must be of shape (…, H, W), got {tuple(labels.shape)}")
    if labels.numel() == 0:
        return torch.zeros_like(labels, dtype=torch.bool)
    void: Tensor = is_void(labels, ignore_index)
    largest = smallest = labels
    if not void_is_boundary:  # neither larger nor smaller than any label around it
        limits = torch.iinfo(labels.dtype)
        largest = labels.masked_fill(void, limits.min)
        smallest = labels.masked_fill(void, limits.max)
    for dim in (-2, -1):
        largest = _window(largest, width, dim, torch.maximum)
        smallest = _window(smallest, width, dim, torch.minimum)
    return ~void & ((largest != labels) | (smallest != labels))


def boundary_only(
    target: Labels, width: int, ignore_index: Void = 255, void_is_boundary: bool = True
) -> Tensor:
    """A copy of `target` in which all pixels outside `boundary_band` are void.

    Scores near the boundaries are then those of `ConfusionMatrix.update(prediction,
    boundary_only(target, width))`, and a curve of them over widths shows how far from the boundary
    a network errs.

    Args:
        target, width, void_is_boundary: as in `boundary_band`.
        ignore_index: the label of void pixels; of several, the first is written.

    Returns:
        An integer tensor of the target's shape.

    Raises:
        ValueError: as `boundary_band`, and for an ignore_index that the target's dtype cannot hold.

    ::

        >>> import torch
        >>> boundary_only(torch.tensor([[0, 0, 0, 1, 1, 1]]), width=1)
        tensor([[255, 255,   0,   1, 255, 255]])
    """
    labels = integers(target, "target")
    void = writable_void(labels.dtype, ignore_index)
    band = boundary_band(labels, width, ignore_index, void_is_boundary)
    return labels.masked_fill(~band, void)


def boundary_iu(
    pairs: Iterable[tuple[Labels, Labels]],
    num_classes: int,
    width: int = 2,
    ignore_index: Void = 255,
    absent: Absent = "score_zero_if_predicted",
) -> float:
    """The mean IU of the pixels near a boundary, over all images: the trimap score as one number.

    Args:
        pairs: (prediction, target) of each image, integer maps (H, W) or batches of them.
        num_classes: how many there are, C.
        width: of the band on either side of a boundary, in pixels, as in `boundary_band`.
        ignore_index: the label of void pixels, or several. Their edge counts as a boundary.
        absent: which classes without a pixel in the bands count, as in `score`.

    Returns:
        A fraction of one, nan where no pixel is near a boundary.

    Raises:
        ValueError: as `boundary_only` and `ConfusionMatrix.update`.

    ::

        >>> import torch
        >>> truth = torch.tensor([[0, 0, 0, 1, 1, 1]])
        >>> prediction = torch.tensor([[0, 0, 1, 1, 1, 1]])
        >>> boundary_iu([(prediction, truth)], num_classes=2, width=1)  # of the middle two: 0, 1/2
        0.25
    """
    confusion = ConfusionMatrix(num_classes, ignore_index)
    for prediction, target in pairs:
        confusion.update(prediction, boundary_only(target, width, ignore_index))
    return confusion.compute(absent).mean_iu


def boundary_f1(
    prediction: Labels,
    target: Labels,
    num_classes: int,
    tolerance: float | None = None,
    ignore_index: Void = 255,
) -> float:
    """The boundary F1 (BF) of one image: how well the contours of its classes match.

    The contour of a class is its pixels with a direct neighbour of another class. Precision is the
    share of predicted contour pixels with a true one within `tolerance`, recall the share of true
    ones with a predicted one, F1 their harmonic mean; the image's score is the mean over classes
    in the truth. That of a data set is the mean over its images (`numpy.nanmean`).

    A class with a contour in one map alone scores 0; one without a contour in either is left out,
    and without any left the score is nan. Source: Csurka et al. 2013, averaged as in Badrinarayanan
    et al. 2017.

    Args:
        prediction, target: (H, W) integer tensors or arrays.
        num_classes: how many there are, C.
        tolerance: Euclidean distance in pixels; by default 0.75% of the image's diagonal.
        ignore_index: the label of void pixels, or several; None if there are none. They belong to
            no class in the prediction either, and next to them there is no contour: where void is
            drawn over the boundaries, as on VOC, use `boundary_only` instead.

    Returns:
        A fraction of one, or nan.

    Raises:
        ValueError: for shapes that differ or are not (H, W), a tolerance that is negative, and
            labels as `ConfusionMatrix.update`.

    ::

        >>> import torch
        >>> labels = torch.zeros(8, 8, dtype=torch.int64)
        >>> labels[2:6, 2:6] = 1
        >>> boundary_f1(labels, labels, num_classes=2)
        1.0
    """
    truth = integers(target, "target").to("cpu", torch.int64)
    predicted = integers(prediction, "prediction").to("cpu", torch.int64)
    if truth.dim() != 2 or predicted.shape != truth.shape:
        raise ValueError(
            "prediction and target must be maps of one shape (H, W), "
            f"got {tuple(predicted.shape)} and {tuple(truth.shape)}"
        )
    if tolerance is None:
        tolerance = 0.0075 * math.hypot(*truth.shape)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must not be negative, got {tolerance}")
    valid = check_labels(truth, num_classes, ignore_index)
    check_predictions(predicted[valid], num_classes)
    on_truth, on_predicted = (_contour(labels, valid).numpy() for labels in (truth, predicted))
    scores = []
    for c in truth[valid].unique().tolist():
        true, guessed = on_truth & (truth == c).numpy(), on_predicted & (predicted == c).numpy()
        if true.any() and guessed.any():
            precision = _share_within(guessed, true, tolerance)
            recall = _share_within(true, guessed, tolerance)
            both = precision + recall
            scores.append(2 * precision * recall / both if both else 0.0)
        elif true.any() or guessed.any():
            scores.append(0.0)
    return float(np.mean(scores)) if scores else float("nan")


def _window(
    values: Tensor, width: int, dim: int, extreme: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The extreme of the 2·width + 1 values around each, along one dimension.

    The extremes over 1, 2, 4, … neighbours follow from each other, so the cost grows with the
    logarithm of the width, and labels of any integer type stay what they are.
    """
    size = values.shape[dim]
    width = min(width, size - 1)
    if width == 0:
        return values
    # Repeating the edge adds nothing: it is in every window that reaches beyond it.
    around = torch.arange(-width, size + width, device=values.device).clamp(0, size - 1)
    values = values.index_select(dim, around)
    length, reach = 2 * width + 1, 1
    while 2 * reach <= length:
        values = _shifted(values, reach, dim, extreme)
        reach *= 2
    return _shifted(values, length - reach, dim, extreme)


def _shifted(
    values: Tensor, by: int, dim: int, extreme: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    length = values.shape[dim] - by
    return extreme(values.narrow(dim, 0, length), values.narrow(dim, by, length))


def _contour(labels: Tensor, valid: Tensor) -> Tensor:
    """Which valid pixels (H, W) have a valid neighbour above, below or beside of another label."""
    contour = torch.zeros_like(valid)
    down = (labels[1:] != labels[:-1]) & valid[1:] & valid[:-1]
    right = (labels[:, 1:] != labels[:, :-1]) & valid[:, 1:] & valid[:, :-1]
    contour[1:] |= down
    contour[:-1] |= down
    contour[:, 1:] |= right
    contour[:, :-1] |= right
    return contour


def _share_within(points: npt.NDArray[Any], others: npt.NDArray[Any], tolerance: float) -> float:
    """Share of the pixels set in `points` that have one set in `others` within `tolerance`."""
    from scipy import ndimage  # takes longer to import than all else here; only this needs it

    distance = ndimage.distance_transform_edt(~others)
    return float((distance[points] <= tolerance).mean())
