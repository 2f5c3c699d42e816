"""Selective search: regions of every size, from merging neighbours that are alike."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count as count_from
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.prior.features import colour, patterns
from fcn_tutorial.prior.method import Image, pixels_of
from fcn_tutorial.prior.superpixels import pooled, segments

_BINS = 25  # of a channel's histogram, as in the article
_RANGES = ((0, 100), (-100, 100), (-100, 100))  # of L, a, b


@dataclass(frozen=True)
class Piece:
    """What merging needs to know of a region: histograms that sum to one, its size and its box."""

    colours: NDArray[np.float64]
    texture: NDArray[np.float64]
    size: int
    box: tuple[int, int, int, int]  # top, left, and below bottom, right of right

    def __or__(self, other: Self) -> Piece:
        """The two merged."""
        size = self.size + other.size
        shares = self.size / size, other.size / size
        top, left, bottom, right = zip(self.box, other.box, strict=True)
        return Piece(
            shares[0] * self.colours + shares[1] * other.colours,
            shares[0] * self.texture + shares[1] * other.texture,
            size,
            (min(top), min(left), max(bottom), max(right)),
        )

    def likeness(self, other: Self, whole: int) -> float:
        """From 0 to 4: of colour, of texture, smallness, and how they fill their common box."""
        top, left, bottom, right = (self | other).box
        ours = self.size + other.size
        return float(
            np.minimum(self.colours, other.colours).sum()
            + np.minimum(self.texture, other.texture).sum()
            + (1 - ours / whole)
            + (1 - ((bottom - top) * (right - left) - ours) / whole)
        )


def selective_search(image: Image, pixels: int = 60) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Superpixels of an image, and the regions that are met while like neighbours are merged.

    Again and again the two neighbours that are most alike become one, until all are. Source:
    Uijlings et al., IJCV 2013, section 3: one hierarchy, where the article joins those of several
    colour spaces and measures. Here texture is how often each local binary pattern occurs.

    Args:
        image: uint8 (3, H, W).
        pixels: of Felzenszwalb's superpixels, see `superpixels.segments`.

    Returns:
        The superpixel of each pixel, (H, W), and which of the n superpixels make up each region,
        (2·n − 1, n), each alone first, then in the order of merging, the whole image last.

    Raises:
        ValueError, ImportError: as `segments`.

    Two superpixels, one dark and one light, and both together::

        >>> import numpy as np
        >>> picture = np.zeros((3, 16, 16), np.uint8)
        >>> picture[:, :, 8:] = 200
        >>> parts, regions = selective_search(picture, pixels=300)
        >>> regions.astype(int).tolist()
        [[1, 0], [0, 1], [1, 1]]
    """
    picture = pixels_of(image)
    parts = segments(picture, "felzenszwalb", pixels)
    count = int(parts.max()) + 1
    regions = np.eye(2 * count - 1, count, dtype=bool)
    pieces = _pieces(picture, parts)
    near = _neighbours(parts)
    # Most alike first and, of equals, the pair that was met first.
    pairs = ((a, b) for a in near for b in near[a] if a < b)
    alike = [
        (-pieces[a].likeness(pieces[b], parts.size), n, a, b) for n, (a, b) in enumerate(pairs)
    ]
    heapify(alike)
    order = count_from(len(alike))
    for new in range(count, 2 * count - 1):
        while True:
            _, _, *old = heappop(alike)
            if near.keys() >= {*old}:  # neither has been merged since
                break
        regions[new] = regions[old[0]] | regions[old[1]]
        pieces.append(pieces[old[0]] | pieces[old[1]])
        near[new] = (near.pop(old[0]) | near.pop(old[1])) - set(old)
        for other in near[new]:
            near[other] = near[other] - set(old) | {new}
            value = pieces[other].likeness(pieces[new], parts.size)
            heappush(alike, (-value, next(order), other, new))
    return parts, regions


def boxes(parts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The box of each part (H, W), numbered from 0: top, left, and below bottom, right of right."""
    from scipy import ndimage  # slow to import: only where used

    found = [(*(s.start for s in box), *(s.stop for s in box)) for box in
             ndimage.find_objects(parts + 1)]  # fmt: skip
    return np.array(found, np.intp)


def _pieces(picture: NDArray[np.uint8], parts: NDArray[np.intp]) -> list[Piece]:
    where, count = parts.ravel(), int(parts.max()) + 1
    sizes = np.bincount(where)
    colours = []
    for channel, (low, high) in zip(colour(picture).reshape(-1, 3).T, _RANGES, strict=True):
        bins = ((channel - low) / (high - low) * _BINS).astype(np.intp).clip(0, _BINS - 1)
        counts = np.bincount(where * _BINS + bins, minlength=count * _BINS)
        colours.append(counts.reshape(count, _BINS) / (3 * sizes[:, None]))
    texture = pooled(patterns(picture), parts)[:, :10]
    every = zip(np.hstack(colours), texture, sizes, boxes(parts).tolist(), strict=True)
    return [Piece(*known) for known in every]


def _neighbours(parts: NDArray[np.intp]) -> dict[int, set[int]]:
    near: dict[int, set[int]] = {part: set() for part in range(int(parts.max()) + 1)}
    for one, other in ((parts[1:], parts[:-1]), (parts[:, 1:], parts[:, :-1])):
        for a, b in np.unique(np.stack([one[one != other], other[one != other]]), axis=1).T:
            near[int(a)].add(int(b))
            near[int(b)].add(int(a))
    return near
