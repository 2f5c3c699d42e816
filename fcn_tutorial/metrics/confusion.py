"""One confusion matrix summed over a data set, and the scores that are functions of it.

With n_ij the pixels of class i predicted as j and t_i = Σ_j n_ij the pixels of class i (Long,
Shelhamer, Darrell 2015, section 5): pixel accuracy Σ n_ii / Σ t_i, mean accuracy mean_i n_ii / t_i,
mean IU mean_i IU_i with IU_i = n_ii / (t_i + Σ_j n_ji − n_ii), and frequency-weighted IU
Σ t_i·IU_i / Σ t_i.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fcn_tutorial import display
from fcn_tutorial.metrics._labels import check_predictions, integers
from fcn_tutorial.void import Void, check_labels, void_labels

Absent = Literal["score_zero_if_predicted", "truth_only"]
FloatArray = npt.NDArray[np.float64]

_SHOWN = 40  # classes of a matrix that a notebook shows
_MAX_BINS = 1 << 16  # all pairs of bytes; more than this and labels are checked one by one


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one confusion matrix, as fractions of one; nan where nothing can be scored.

    Attributes:
        pixel_accuracy: the share of all pixels that are right.
        mean_accuracy: the mean of `accuracy`.
        mean_iu: the mean of `iu`.
        fw_iu: the mean of `iu`, each class weighing by its pixels.
        iu: per class, (C,) float64; nan for the classes that `absent` leaves out of the mean.
        accuracy: likewise, also called `recall`; nan for classes without a pixel in the truth.
        precision: likewise; nan for classes that were never predicted.
        support: pixels of each class in the truth, (C,) int64.
        absent: which classes without a pixel in the truth count, as in `score`.
        matrix: the counts that all of it follows from, (C, C).

    ::

        >>> scores = score([[3, 1], [0, 4]])
        >>> scores.iu, scores.accuracy  # 3/4 and 4/5; 3/4 and 4/4
        (array([0.75, 0.8 ]), array([0.75, 1.  ]))
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
    matrix: npt.NDArray[Any]

    @property
    def recall(self) -> FloatArray:
        """`accuracy` by its other name, the share of each class's pixels that were found."""
        return self.accuracy


def score(
    matrix: Tensor | npt.ArrayLike,
    absent: Absent = "score_zero_if_predicted",
    ignore_index: Void = None,
) -> Scores:
    """The scores of a confusion matrix.

    Mean accuracy is over the classes in the truth, pixel accuracy and f.w. IU over its pixels; they
    do not depend on `absent`.

    Args:
        matrix: (C, C) counts of pixels, rows the truth and columns the prediction.
        absent: which classes without a pixel in the truth count in the mean IU. The two can differ
            by a factor of two: say which.

            - "score_zero_if_predicted": a class that was predicted anywhere counts with IU 0, one
              that was not is left out (reference score.py).
            - "truth_only": all of them are left out (Shelhamer, Long, Darrell 2017).
        ignore_index: labels among the C that are void and no classes: left out of the mean IU
            however often they were predicted. A pixel of a class that was taken for one of them is
            an error.

    Returns:
        `Scores`, fractions of one.

    Raises:
        ValueError: for a matrix that is not square and for an unknown `absent`.

    ::

        >>> counts = [[2, 2], [0, 0]]  # half of class 0 was taken for class 1, which is not there
        >>> score(counts).mean_iu, score(counts, absent="truth_only").mean_iu
        (0.25, 0.5)
    """
    if absent not in get_args(Absent):
        raise ValueError(f"absent must be one of {get_args(Absent)}, got {absent!r}")
    counts = matrix.cpu().numpy() if isinstance(matrix, Tensor) else np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"matrix must be square, (C, C), got shape {counts.shape}")
    hit, truth, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    kept = np.ones(len(counts), bool) if absent == "score_zero_if_predicted" else truth > 0
    kept = kept & ~np.isin(np.arange(len(counts)), void_labels(ignore_index))
    iu = _ratio(hit, (truth + predicted - hit) * kept)
    accuracy = _ratio(hit, truth)
    return Scores(
        pixel_accuracy=float(_ratio(hit.sum(), truth.sum())),
        mean_accuracy=mean_known(accuracy),
        mean_iu=mean_known(iu),
        fw_iu=float(_ratio(np.sum(truth[truth > 0] * iu[truth > 0]), truth.sum())),
        iu=iu,
        accuracy=accuracy,
        precision=_ratio(hit, predicted),
        support=truth.astype(np.int64),
        absent=absent,
        matrix=counts,
    )


class ConfusionMatrix:
    """Counts of pixels by true and predicted class, summed over any number of images.

    Args:
        num_classes: how many there are, C.
        ignore_index: the label of void pixels, or several, which are not counted whatever was
            predicted there; None counts every pixel. A void label below C is no class, and the
            scores leave it out. The counts are int64 and live on the device of the latest update,
            so that nothing has to leave an accelerator before `compute`.

    Raises:
        ValueError: for fewer than one class, and for a void label that is no integer.

    ::

        >>> matrix = ConfusionMatrix(num_classes=2)
        >>> matrix.update(torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
        ConfusionMatrix(num_classes=2, ignore_index=255, pixels=2)
        >>> matrix.compute().mean_iu, matrix.compute(absent="truth_only").mean_iu
        (0.25, 0.5)
    """

    def __init__(self, num_classes: int, ignore_index: Void = 255) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        void_labels(ignore_index)  # complain now
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

        Args:
            prediction, target: class indices, integers of any width, of one shape (…, H, W).

        Raises:
            ValueError: if the shapes differ, a dtype is not integer, a label is neither a class nor
                `ignore_index`, or the prediction of a pixel that is not void is not a class;
                nothing is counted then.
        """
        predicted, truth = integers(prediction, "prediction"), integers(target, "target")
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

        Returns:
            Itself.

        Raises:
            ValueError: if num_classes or ignore_index differ.
        """
        mine, theirs = ((m.num_classes, m.ignore_index) for m in (self, other))
        if mine[0] != theirs[0] or {*void_labels(mine[1])} != {*void_labels(theirs[1])}:
            raise ValueError(
                f"other must have (num_classes, ignore_index) = {mine} as this one, got {theirs}"
            )
        self._matrix = self._matrix + other._matrix.to(self._matrix.device)
        return self

    def compute(self, absent: Absent = "score_zero_if_predicted") -> Scores:
        """The scores of what was counted so far; see `score` for `absent`."""
        return score(self._matrix, absent, self.ignore_index)

    def __repr__(self) -> str:
        return (
            f"ConfusionMatrix(num_classes={self.num_classes}, ignore_index={self.ignore_index}, "
            f"pixels={int(self._matrix.sum())})"
        )

    def _repr_html_(self) -> str:
        """In a notebook: the counts, shaded by their share of a row, and each class's IU."""
        scores, shown = self.compute(), min(self.num_classes, _SHOWN)
        counts = scores.matrix[:shown, :shown]
        shares = counts / np.maximum(scores.support[:shown, None], 1)
        rows = [
            (i, *(f"{n:,}" for n in row), "–" if math.isnan(iu) else f"{100 * iu:.1f}")
            for i, (row, iu) in enumerate(zip(counts, scores.iu, strict=False))
        ]
        caption = (
            f"{self.num_classes} classes, {int(self._matrix.sum()):,} pixels: mean IU "
            f"{100 * scores.mean_iu:.1f}, pixel accuracy {100 * scores.pixel_accuracy:.1f}"
        )
        if shown < self.num_classes:
            caption += f"; the first {shown} classes"
        shades = [(0.0, *row, 0.0) for row in shares]
        return display.table(("truth ↓ predicted →", *range(shown), "IU"), rows, caption, shades)


def _joint_counts(predicted: Tensor, truth: Tensor, num_classes: int, ignore_index: Void) -> Tensor:
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
        narrow = torch.int16 if rows * columns <= 1 << 15 else torch.int32  # half the memory moved
        bins = truth.to(narrow, copy=True).mul_(columns).add_(predicted)
        table = torch.bincount(bins.reshape(-1), minlength=rows * columns).view(rows, columns)
        for label in void_labels(ignore_index):
            if 0 <= label < rows:
                table[label] = 0
        inside = table[:num_classes, :num_classes]
        counts[: inside.shape[0], : inside.shape[1]] = inside
        if max(rows, columns) <= num_classes or bool(counts.sum() == table.sum()):
            return counts
    valid = check_labels(truth, num_classes, ignore_index)
    predicted, truth = predicted[valid].to(torch.int64), truth[valid].to(torch.int64)
    check_predictions(predicted, num_classes)
    bins = truth * num_classes + predicted
    return torch.bincount(bins, minlength=num_classes**2).view(num_classes, num_classes)


def _ratio(part: Any, whole: Any) -> FloatArray:
    """The quotient in float64, nan where whole is zero, without a warning."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    ratio: FloatArray = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def mean_known(values: FloatArray) -> float:
    """The mean of those that are not nan; nan where none is."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")
