"""Fully connected conditional random fields: mean field with Gaussian filters on a lattice.

Every pixel is a neighbour of every other. What two of them pay for different labels falls with
their distance and with the difference of their colours, as a Gaussian; so an update of all pixels
is a Gaussian filter in five dimensions, which the permutohedral lattice does in linear time.
Sources: Krähenbühl and Koltun, NIPS 2011; Adams, Baek and Davis, Eurographics 2010.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

_LEAST = 1e-8  # the least probability: that of a class which the network has excluded


@dataclass(frozen=True)
class DenseCRF:
    """Refines class probabilities: neighbours, and above all those of like colour, should agree.

    The weights and widths are those that DeepLab gives its program, for pictures of about 500×350
    pixels; `xy` should grow and shrink with the picture (see `scaled`).

    Source: Chen et al., PAMI 2018 (DeepLab), section 4.1, 10 steps; widths of its released scripts.

    Attributes:
        weight: of the kernel on place and colour.
        xy: its width in pixels.
        rgb: its width in levels of 8-bit colour.
        smooth_weight: of the kernel on place alone.
        smooth_xy: its width in pixels.
        steps: of mean field; 0 leaves the probabilities as they are.

    Raises:
        ValueError: for weights below 0, widths that are not above 0 and fewer than 0 steps.

    ::

        >>> first = np.full((4, 6), 0.9, np.float32)
        >>> first[1, 2] = 0.4  # one pixel of a uniform picture doubts
        >>> image = np.full((3, 4, 6), 128, np.uint8)
        >>> refined = DenseCRF()(np.stack([first, 1 - first]), image)
        >>> bool((refined[0] > 0.9).all())
        True
    """

    weight: float = 4.0
    xy: float = 49.0
    rgb: float = 5.0
    smooth_weight: float = 3.0
    smooth_xy: float = 3.0
    steps: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value, width = getattr(self, field.name), field.name in ("xy", "rgb", "smooth_xy")
            if not 0 <= value < float("inf") or (width and value == 0):
                raise ValueError(
                    f"{field.name}={value}: expected a number "
                    f"{'above 0' if width else 'of at least 0'}"
                )

    def scaled(self, factor: float) -> DenseCRF:
        """The same for pictures of `factor` times the size."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return DenseCRF(**{**values, "xy": self.xy * factor})

    def __call__(
        self, probabilities: NDArray[np.float32], image: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Class probabilities (C, H, W) of an image uint8 (3, H, W) → refined ones, float32.

        Mean field for Potts' model: Q is proportional to exp(log P + the filtered Q of each kernel,
        times its weight), from Q = P. Filters are divided by their sum at each pixel and take in
        the pixel itself, as in the authors' program.

        Raises:
            ValueError: where probabilities and image differ in size or type.
        """
        if probabilities.ndim != 3 or image.shape != (3, *probabilities.shape[1:]):
            raise ValueError(
                f"probabilities of {probabilities.shape} and an image of {image.shape}: "
                "give (C, H, W) and (3, H, W)"
            )
        if image.dtype != np.uint8:
            raise ValueError(f"an image of {image.dtype}: give uint8, before normalisation")
        shape = probabilities.shape
        unary = np.log(np.maximum(probabilities.reshape(shape[0], -1).T, _LEAST))
        kernels = [
            (weight, Filter(points))
            for weight, points in zip(
                (self.weight, self.smooth_weight), self._points(image), strict=True
            )
            if weight and self.steps
        ]
        refined = _softmax(unary)
        for _ in range(self.steps):
            refined = _softmax(unary + sum(weight * k(refined) for weight, k in kernels))
        return np.ascontiguousarray(refined.T, np.float32).reshape(shape)

    def _points(self, image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Where pixels are for the two kernels, in units of their widths: (n, 5) and (n, 2)."""
        _, height, width = image.shape
        places = np.indices((height, width)).reshape(2, -1).T
        colours = image.reshape(3, -1).T / self.rgb
        return np.concatenate([places / self.xy, colours], axis=1), places / self.smooth_xy


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


class Filter:
    """Gaussian averages over points: those of values v are Σⱼ kᵢⱼ vⱼ / Σⱼ kᵢⱼ, nearly.

    With kᵢⱼ = exp(−‖fᵢ − fⱼ‖² / 2). Values are shared between the corners of the lattice's simplex
    that a point lies in, blurred along each direction of the lattice, and read at the same corners.

    Args:
        points: (n, d) the positions f.

    Raises:
        ValueError: where points are too far apart.

    ::

        >>> average = Filter(np.array([[0.0], [0.0], [100.0]]))  # two in one place, one far off
        >>> average(np.array([[1.0], [3.0], [7.0]])).round(3).ravel()
        array([2., 2., 7.])
    """

    def __init__(self, points: Floats) -> None:
        from scipy.sparse import csr_array

        n, d = points.shape
        keys, shares = _corners(points)
        # One number a corner, neighbours a constant apart: digits that have room for a step.
        low, high = keys.min((0, 1)) - d - 1, keys.max((0, 1)) + d + 1
        digits = [int(size) for size in high - low + 1]
        places = np.cumprod([1, *digits[:-1]], dtype=object)
        if int(places[-1]) * digits[-1] >= 2**63:
            raise ValueError("points are too far apart for this width: widen the kernel")
        places = places.astype(np.int64)
        found, corner = np.unique((keys - low) @ places, return_inverse=True)
        rows = np.repeat(np.arange(n), d + 1)
        self._slice = csr_array((shares.ravel(), (rows, corner.ravel())), shape=(n, len(found)))
        self._splat = self._slice.T.tocsr()
        steps = [-np.ones(d, np.int64) for _ in range(d + 1)]
        for axis in range(d):
            steps[axis][axis] = d
        self._neighbours = [
            [_index(found, found + sign * int(step @ places)) for sign in (1, -1)] for step in steps
        ]
        self._sum = self._blurred(np.ones((n, 1)))

    def __call__(self, values: Floats) -> Floats:
        """Values (n, C) → their averages (n, C)."""
        return self._blurred(values) / self._sum

    def _blurred(self, values: Floats) -> Floats:
        lattice = self._splat @ values
        for there, back in self._neighbours:
            around = np.concatenate([lattice, np.zeros_like(lattice[:1])])  # the last is nobody's
            lattice = lattice + (around[there] + around[back]) / 2
        return np.asarray(self._slice @ lattice)


def _corners(points: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The d + 1 corners of each point's simplex, (n, d + 1, d) whole numbers, and its shares.

    A corner is named by the first d of its d + 1 coordinates in the plane of sum 0. Adams, Baek and
    Davis 2010, section 3; the scale makes the blur's variance that of the kernel.
    """
    n, d = points.shape
    index = np.arange(1, d + 1)
    scaled = points * (d + 1) * np.sqrt(2 / 3) / np.sqrt(index * (index + 1))
    behind = np.concatenate([np.cumsum(scaled[:, ::-1], axis=1)[:, ::-1], np.zeros((n, 1))], axis=1)
    lifted = behind.copy()
    lifted[:, 1:] -= index * scaled
    nearest = np.rint(lifted / (d + 1)) * (d + 1)
    # Coordinates in the order of what is left, then set right where the sum is not 0.
    order = np.argsort(np.argsort(nearest - lifted, axis=1, kind="stable"), axis=1)
    excess = np.rint(nearest.sum(1, keepdims=True) / (d + 1)).astype(np.int64)
    rank = order + excess
    nearest += (d + 1) * ((rank < 0).astype(int) - (rank > d))
    rank = rank + (d + 1) * ((rank < 0).astype(int) - (rank > d))
    left = (lifted - nearest) / (d + 1)
    ranked = np.take_along_axis(left, np.argsort(rank, axis=1), axis=1)  # from the largest down
    falls = (ranked[:, :-1] - ranked[:, 1:])[:, ::-1]
    shares = np.concatenate([1 - falls.sum(1, keepdims=True), falls], axis=1)
    corner = np.arange(d + 1)[None, :, None]
    step = np.where(rank[:, None, :] > d - corner, corner - (d + 1), corner)
    keys = nearest[:, None, :] + step
    return keys[:, :, :d].astype(np.int64), shares


def _index(found: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where each wanted number stands among the sorted found ones; one past the end if nowhere."""
    place = np.searchsorted(found, wanted)
    there = place < len(found)
    there[there] = found[place[there]] == wanted[there]
    return np.where(there, place, len(found))
