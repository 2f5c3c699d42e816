"""How well things are found that are little more than their border: poles, fences, people far off.

They hold few pixels, so that pixel accuracy does not see them and the mean IU hides them among the
large classes. Which classes they are is asked of the labels, not of their names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fcn_tutorial.metrics._labels import integers
from fcn_tutorial.metrics.boundary import boundary_band
from fcn_tutorial.metrics.confusion import Scores, mean_known
from fcn_tutorial.void import Void, check_labels


def thin_classes(
    labels: Iterable[npt.NDArray[Any] | Tensor],
    num_classes: int,
    width: int = 2,
    share: float = 0.5,
    ignore_index: Void = 255,
) -> list[int]:
    """The classes of whose pixels at least `share` are within `width` pixels of another class.

    Args:
        labels: (H, W) integer maps, of the data set's truth.
        num_classes: how many there are, C.
        width: of the band along boundaries, in pixels, as in `boundary_band`. What is less than
            2·width wide lies in it whole.
        share: of the class's pixels that are not void, over all maps.
        ignore_index: the label of void pixels, or several; None if there are none. The edge of a
            void region is no boundary here: nobody knows what is behind it.

    Returns:
        The class indices, thinnest first.

    Raises:
        ValueError: for labels out of range and for a share outside (0, 1].

    ::

        >>> pole = np.zeros((20, 21), dtype=np.int64)
        >>> pole[:, 10] = 1  # of the rest, 4 columns of 20 are within 2 pixels of it
        >>> thin_classes([pole], num_classes=2), thin_classes([pole], num_classes=2, share=0.2)
        ([1], [1, 0])
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    near, all_pixels = (np.zeros(num_classes, np.int64) for _ in range(2))
    for label in labels:
        truth = integers(label, "labels").to("cpu", torch.int64)
        valid = check_labels(truth, num_classes, ignore_index)
        band = boundary_band(truth, width, ignore_index, void_is_boundary=False)
        for counts, chosen in ((near, band), (all_pixels, valid)):
            counts += np.bincount(truth[chosen].numpy(), minlength=num_classes)
    found = np.divide(near, all_pixels, out=np.zeros(num_classes), where=all_pixels > 0)
    order = np.argsort(-found, kind="stable")
    return [int(c) for c in order if found[c] >= share]


def thin_iu(scores: Scores, thin: Collection[int]) -> float:
    """The mean IU over the thin classes alone.

    Args:
        scores: of a confusion matrix over all classes, so that what is taken for something thin
            counts against it.
        thin: class indices, as `thin_classes` finds them.

    Returns:
        A fraction of one; nan where `scores` leaves all of them out.

    Raises:
        ValueError: for an index that is no class, and where there is none.

    ::

        >>> from fcn_tutorial.metrics import score
        >>> scores = score([[90, 2, 0], [1, 1, 0], [0, 0, 9]])
        >>> thin_iu(scores, thin=[1])  # 1 pixel right of 1 + 1 + 2
        0.25
    """
    wrong = [c for c in thin if not 0 <= c < len(scores.iu)]
    if wrong or not thin:
        raise ValueError(
            f"thin={sorted(thin)}: expected indices of some of {len(scores.iu)} classes"
        )
    return mean_known(scores.iu[sorted(thin)])
