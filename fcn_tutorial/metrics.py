"""Segmentation scores, all of them functions of one confusion matrix summed over a data set.

With n_ij the pixels of class i predicted as j and t_i = Σ_j n_ij the pixels of class i (Long,
Shelhamer, Darrell 2015, section 5): pixel accuracy Σ n_ii / Σ t_i, mean accuracy mean_i n_ii / t_i,
mean IU mean_i IU_i with IU_i = n_ii / (t_i + Σ_j n_ji − n_ii), and frequency-weighted IU
Σ t_i·IU_i / Σ t_i.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Absent = Literal["score_zero_if_predicted", "truth_only"]
CeilingMethod = Literal["nearest", "majority", "bilinear"]
FloatArray = npt.NDArray[np.float64]

_MAX_BINS = 1 << 16  # all pairs of bytes; more than this and labels are checked one by one


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one confusion matrix, as fractions of one; nan where nothing can be scored.

    iu, accuracy, precision: per class, (C,) float64. `iu` is nan for the classes that `absent`
    leaves out of the mean; `accuracy` (recall) is nan for classes without a pixel in the truth,
    `precision` for classes that were never predicted.
    support: pixels of each class in the truth, (C,) int64.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    fw_iu: float
    iu: FloatArray
    accuracy: FloatArray
    precision: FloatArray
    support: npt.NDArray[np.int64]
    absent: Absent


def score(matrix: Tensor | npt.ArrayLike, absent: Absent = "score_zero_if_predicted") -> Scores:
    """The scores of a confusion matrix (C, C) of counts, rows the truth and columns the prediction.

    absent: which classes without a pixel in the truth count in the mean IU.
        "score_zero_if_predicted": a class that was predicted anywhere counts with IU 0, one that
        was not is left out (reference score.py). "truth_only": all of them are left out
        (Shelhamer, Long, Darrell 2017). The two can differ by a factor of two: say which.
    Mean accuracy is over the classes in the truth, pixel accuracy and f.w. IU over its pixels; they
    do not depend on `absent`. Raises ValueError for a matrix that is not square and for an unknown
    `absent`.
    """
    if absent not in get_args(Absent):
        raise ValueError(f"absent must be one of {get_args(Absent)}, got {absent!r}")
    counts = matrix.cpu().numpy() if isinstance(matrix, Tensor) else np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"matrix must be square, (C, C), got shape {counts.shape}")
    hit, truth, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    union = truth + predicted - hit
    iu = _ratio(hit, union if absent == "score_zero_if_predicted" else union * (truth > 0))
    accuracy = _ratio(hit, truth)
    return Scores(
        pixel_accuracy=float(_ratio(hit.sum(), truth.sum())),
        mean_accuracy=_mean(accuracy),
        mean_iu=_mean(iu),
        fw_iu=float(_ratio(np.sum(truth[truth > 0] * iu[truth > 0]), truth.sum())),
        iu=iu,
        accuracy=accuracy,
        precision=_ratio(hit, predicted),
        support=truth.astype(np.int64),
        absent=absent,
    )


class ConfusionMatrix:
    """Counts of pixels by true and predicted class, summed over any number of images.

    num_classes: C. ignore_index: the label of void pixels, which are not counted whatever was
    predicted there; None counts every pixel. The counts are int64 and live on the device of the
    latest update, so that nothing has to leave an accelerator before `compute`.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = 255) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self._matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    @property
    def matrix(self) -> Tensor:
        """The counts, (C, C) int64, rows the truth; the live tensor, for instance to all-reduce."""
        return self._matrix

    def update(
        self, prediction: Tensor | npt.NDArray[Any], target: Tensor | npt.NDArray[Any]
    ) -> ConfusionMatrix:
        """Counts the pixels of one or more images; returns itself.

        prediction, target: class indices, integers of any width, of one shape (…, H, W).
        Raises ValueError if the shapes differ, a dtype is not integer, a label is neither a class
        nor `ignore_index`, or the prediction of a pixel that is not void is not a class. Nothing is
        counted then.
        """
        predicted, truth = _integers(prediction, "prediction"), _integers(target, "target")
        if predicted.shape != truth.shape:
            raise ValueError(
                "prediction and target must have the same shape, "
                f"got {tuple(predicted.shape)} and {tuple(truth.shape)}"
            )
        counts = _joint_counts(
            predicted, truth.to(predicted.device), self.num_classes, self.ignore_index
        )
        self._matrix = self._matrix.to(counts.device) + counts
        return self

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Adds the counts of another matrix, from another process or part of the data.

        Returns itself. Raises ValueError if its num_classes or ignore_index differ.
        """
        mine, theirs = ((m.num_classes, m.ignore_index) for m in (self, other))
        if mine != theirs:
            raise ValueError(
                f"other must have (num_classes, ignore_index) = {mine} as this one, got {theirs}"
            )
        self._matrix = self._matrix + other._matrix.to(self._matrix.device)
        return self

    def compute(self, absent: Absent = "score_zero_if_predicted") -> Scores:
        """The scores of what was counted so far; see `score` for `absent`."""
        return score(self._matrix, absent)

    def reset(self) -> None:
        """Forgets all counts."""
        self._matrix = torch.zeros_like(self._matrix)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs: the counts, and what they mean."""
        return {
            "matrix": self._matrix.clone(),
            "num_classes": self.num_classes,
            "ignore_index": self.ignore_index,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up the counts of `state_dict`. Raises ValueError as `merge`."""
        saved = ConfusionMatrix(state["num_classes"], state["ignore_index"])
        saved._matrix = state["matrix"].to(self._matrix.device)
        self.reset()
        self.merge(saved)

    def __repr__(self) -> str:
        return (
            f"ConfusionMatrix(num_classes={self.num_classes}, ignore_index={self.ignore_index}, "
            f"pixels={int(self._matrix.sum())})"
        )


def stride_ceiling(
    labels: Iterable[npt.NDArray[Any] | Tensor],
    factor: int,
    num_classes: int,
    ignore_index: int | None = 255,
    method: CeilingMethod = "nearest",
    absent: Absent = "score_zero_if_predicted",
) -> Scores:
    """How well labels survive a score map `factor` times coarser: down, up again, and scored.

    labels: (H, W) integer maps. They are cut into cells of factor × factor pixels from the top left
    corner, the last ones partial where a side is not a multiple. No method looks at void pixels,
    and void pixels are not scored.

    method:
        "nearest": a cell becomes the label of its pixel (factor // 2, factor // 2), counted from 0,
            or of its last row or column where it ends before that; if that pixel is void, the
            cell's majority label.
        "majority": a cell becomes its most frequent label, the lower class at a tie: the best that
            can be had with one label a cell.
        "bilinear": the classes' shares in each cell, interpolated between cell centres (constant
            beyond the outermost) and the largest taken, the lower class at a tie.

    This estimates what a stride costs. It is not an upper bound: interpolated scores can place an
    edge inside a cell. Compare Shelhamer, Long, Darrell 2017, appendix A, which does not say how it
    interpolates. Raises ValueError for factor < 1, an unknown method, maps that are not 2-D, and
    labels out of range.
    """
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    if method not in get_args(CeilingMethod):
        raise ValueError(f"method must be one of {get_args(CeilingMethod)}, got {method!r}")
    confusion = ConfusionMatrix(num_classes, ignore_index)
    for label in labels:
        truth = _integers(label, "labels").to("cpu", torch.int64)
        if truth.dim() != 2:
            raise ValueError(f"labels must be maps of shape (H, W), got {tuple(truth.shape)}")
        valid = _check_labels(truth, num_classes, ignore_index)
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


def _joint_counts(
    predicted: Tensor, truth: Tensor, num_classes: int, ignore_index: int | None
) -> Tensor:
    """(C, C) int64 counts of the pixels that are not void."""
    counts = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=truth.device)
    if truth.numel() == 0:
        return counts
    low_t, high_t, low_p, high_p = torch.stack(
        [end.to(torch.int64) for labels in (truth, predicted) for end in torch.aminmax(labels)]
    ).tolist()
    rows, columns = high_t + 1, high_p + 1
    if min(low_t, low_p) >= 0 and rows * columns <= _MAX_BINS:
        # Void and whatever is out of range get bins of their own: no pass over the pixels for them.
        bins = truth.to(torch.int32) * columns + predicted.to(torch.int32)
        table = torch.bincount(bins.reshape(-1), minlength=rows * columns).view(rows, columns)
        if ignore_index is not None and 0 <= ignore_index < rows:
            table[ignore_index] = 0
        inside = table[:num_classes, :num_classes]
        counts[: inside.shape[0], : inside.shape[1]] = inside
        if max(rows, columns) <= num_classes or bool(counts.sum() == table.sum()):
            return counts
    valid = _check_labels(truth, num_classes, ignore_index)
    predicted, truth = predicted[valid].to(torch.int64), truth[valid].to(torch.int64)
    wrong = predicted[(predicted < 0) | (predicted >= num_classes)]
    if wrong.numel():
        raise ValueError(
            f"prediction holds {int(wrong[0])}, which is not a class: "
            f"expected 0 … {num_classes - 1}"
        )
    bins = truth * num_classes + predicted
    return torch.bincount(bins, minlength=num_classes**2).view(num_classes, num_classes)


def _check_labels(truth: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Which pixels are not void; ValueError if one of them is not a class."""
    valid = (
        torch.ones_like(truth, dtype=torch.bool)
        if ignore_index is None
        else (truth != ignore_index)
    )
    wrong = valid & ((truth < 0) | (truth >= num_classes))
    if bool(wrong.any()):
        void = "no void label" if ignore_index is None else f"or the void label {ignore_index}"
        raise ValueError(
            f"target holds {int(truth[wrong][0])}, which is not a class: "
            f"expected 0 … {num_classes - 1} {void}"
        )
    return valid


def _integers(values: Tensor | npt.NDArray[Any], name: str) -> Tensor:
    if isinstance(values, Tensor):
        tensor = values.detach().as_subclass(Tensor)  # plain, if it was a tv_tensors.Mask
    else:  # torch warns of read-only arrays and takes neither reversed ones nor foreign byte orders
        array = np.asarray(values)
        array = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
        tensor = torch.from_numpy(array)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(
            f"{name} must hold class indices, got dtype {tensor.dtype}: "
            "take the argmax of scores, or convert to an integer type"
        )
    if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):  # torch can hardly compute these
        tensor = tensor.to(torch.int64)
    return tensor


def _ratio(part: Any, whole: Any) -> FloatArray:
    """The quotient in float64, nan where whole is zero, without a warning."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    ratio: FloatArray = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean(values: FloatArray) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")
