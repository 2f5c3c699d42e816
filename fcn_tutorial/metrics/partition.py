"""How well a labelling parts an image into regions: the errors of the ISBI 2012 challenge.

Both compare segmentations into cells, not pixels: a gap of one pixel in a membrane joins two cells,
which pixel accuracy hardly notices.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

Labels = NDArray[np.integer]
_SIDES = ((-1, 0), (0, 1), (1, 0), (0, -1))


def rand_error(truth: Labels, prediction: Labels, background: int = 0) -> float:
    """One minus the F-score of pairs of pixels that are rightly in one region.

    Of all pairs of pixels in true regions, precision is the share of those put into one predicted
    region that belong together, recall the share of those that belong together that are in one.

    Source: Arganda-Carreras et al. 2015, "foreground-restricted Rand scoring"; the same as
    scikit-image's `adapted_rand_error`.

    Args:
        truth, prediction: (H, W), equal numbers on what is one region (`cells` makes them of a map
            of classes).
        background: the number of the membranes, whose pixels in `truth` are not looked at; in
            `prediction` it is a region like others.

    Returns:
        A fraction of one, 0 for the same partition.

    Raises:
        ValueError: for shapes that differ and for a truth without a pair.

    ::

        >>> truth = np.array([[1, 1, 0, 2, 2]])
        >>> rand_error(truth, np.ones_like(truth))  # 2 of 6 pairs belong together: 2 · 2 / (2 + 6)
        0.5
    """
    _check_shapes(truth, prediction)
    inside = truth != background
    n = int(inside.sum())
    _, rows = np.unique(truth[inside], return_inverse=True)
    _, columns = np.unique(prediction[inside], return_inverse=True)
    together = sparse.coo_array((np.ones(n), (rows, columns))).tocsr() if n else None
    belonging = float((np.bincount(rows).astype(float) ** 2).sum()) - n
    if together is None or not belonging:
        raise ValueError("truth: no two pixels are in one region, so no pair can be right")
    both = float((together.data**2).sum()) - n
    joined = float((np.bincount(columns).astype(float) ** 2).sum()) - n
    return 1 - 2 * both / (belonging + joined)


def warping_error(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """The share of pixels that no bending of the true borders explains.

    The truth is changed towards the prediction one pixel at a time as long as that joins, parts,
    makes and removes no region (a simple point: cells hang together over edges, membranes over
    corners too, and so does what is outside of the image); what still differs counts. Pixels are
    taken in the order of a queue, so that the error is an upper bound of the least one.

    Source: Jain et al., CVPR 2010, §3 (without a limit to how far borders are moved).

    Args:
        truth, prediction: (H, W) bool, True in cells.

    Returns:
        A fraction of one, 0 where bending explains all.

    Raises:
        ValueError: for shapes that differ.

    ::

        >>> truth = np.array([[True, True, False, True, True]])
        >>> warping_error(truth, np.array([[True, False, False, True, True]]))  # a border moved
        0.0
        >>> warping_error(truth, np.ones_like(truth))  # two cells joined, through 1 pixel of 5
        0.2
    """
    _check_shapes(truth, prediction)
    warped = np.pad(truth.astype(bool), 1)
    wanted = np.pad(prediction.astype(bool), 1)
    simple = _simple()
    queue = deque(zip(*np.nonzero(warped != wanted), strict=True))
    while queue:
        y, x = queue.popleft()
        if warped[y, x] == wanted[y, x] or not simple[_pattern(warped, y, x)]:
            continue
        warped[y, x] = wanted[y, x]
        around = ((y + i, x + j) for i, j in product((-1, 0, 1), repeat=2))
        inner = (
            (i, j) for i, j in around if 0 < i < len(warped) - 1 and 0 < j < warped.shape[1] - 1
        )
        queue.extend(place for place in inner if warped[place] != wanted[place])
    return float((warped != wanted).mean()) * warped.size / truth.size


def cells(labels: Labels, cell: int = 1) -> NDArray[np.int32]:
    """The regions of a class; they hang together over edges, not over corners.

    Args:
        labels: (H, W) class indices.
        cell: the class.

    Returns:
        (H, W) int32, the regions numbered from 1, and 0 elsewhere.

    ::

        >>> cells(np.array([[1, 0, 1], [0, 1, 1]])).tolist()
        [[1, 0, 2], [0, 2, 2]]
    """
    numbered, _ = ndimage.label(labels == cell)
    found: NDArray[np.int32] = numbered.astype(np.int32)
    return found


def _check_shapes(truth: NDArray[np.generic], prediction: NDArray[np.generic]) -> None:
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ValueError(
            f"truth {truth.shape} and prediction {prediction.shape}: both must be (H, W) alike"
        )


# ---- simple points -------------------------------------------------------------------------------


def _pattern(cell: NDArray[np.bool_], y: int, x: int) -> int:
    """The eight neighbours as one number, a bit each, row by row."""
    around = cell[y - 1 : y + 2, x - 1 : x + 2].ravel()
    return int(around[[0, 1, 2, 3, 5, 6, 7, 8]] @ (1 << np.arange(8)))


def _is_simple(pattern: int) -> bool:
    """Whether the middle pixel can change sides without a change of how regions hang together.

    In its 3×3 window, exactly one part of the cells touches it over an edge, and exactly one part
    of the rest over an edge or a corner.
    """
    bits = [bool(pattern >> bit & 1) for bit in range(8)]
    window = np.array([*bits[:4], False, *bits[4:]]).reshape(3, 3)
    not_middle = np.arange(9).reshape(3, 3) != 4
    inside, _ = ndimage.label(window & not_middle)
    touching = {int(inside[1 + i, 1 + j]) for i, j in _SIDES} - {0}
    _, outside = ndimage.label(~window & not_middle, np.ones((3, 3)))
    return len(touching) == 1 and outside == 1


@cache
def _simple() -> list[bool]:
    """`_is_simple` of every pattern."""
    return [_is_simple(pattern) for pattern in range(256)]
