"""Labellings of least energy by graph cuts: two labels exactly, more by α-expansion.

The energy of labels x is the sum over pixels p of `unary[x_p, p]` and, over pairs of neighbours
that differ, of a weight: a Potts model. Neighbours are those above, below and beside. Weights are
(down, across), of shapes (H − 1, W) and (H, W − 1): between (y, x) and (y + 1, x), and between
(y, x) and (y, x + 1). Energies are cut to thousandths, of which a cut is exactly the least.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.prior.method import Image, pixels_of

Floats = NDArray[np.floating]

_UNITS = 1000  # of an energy of one: SciPy's flows are whole numbers
_LARGEST = 2**31 - 1  # and int32
#: What a pixel pays for a label that is ruled out; e**-50 as a probability.
FORBIDDEN = 50.0


class Weights(NamedTuple):
    """What neighbours pay for different labels.

    Attributes:
        down: (H − 1, W), of (y, x) and (y + 1, x).
        across: (H, W − 1), of (y, x) and (y, x + 1).

    The same everywhere, on two rows of three pixels::

        >>> import numpy as np
        >>> weights = Weights(np.full((1, 3), 2.0), np.full((2, 2), 2.0))
        >>> weights.across.tolist()
        [[2.0, 2.0], [2.0, 2.0]]
    """

    down: Floats
    across: Floats


def contrast_weights(image: Image, strength: float, floor: float = 0.0) -> Weights:
    """Weights that are small where the image has an edge.

    strength · (floor + (1 − floor) · exp(−‖ΔI‖² / 2⟨‖ΔI‖²⟩)), with ΔI the difference of two
    neighbours' colours and ⟨⟩ the mean over the image's pairs. Source: Boykov and Jolly, ICCV 2001,
    with the scale of Rother, Kolmogorov and Blake, SIGGRAPH 2004; floor as in TextonBoost.

    Args:
        image: uint8 (3, H, W).
        strength: the weight where colours are equal, at least 0.
        floor: the share of it that stays at any edge, from 0 to 1; 1 is a plain Potts model.

    Returns:
        `Weights(down, across)`: (H − 1, W) and (H, W − 1) float64.

    Raises:
        ValueError: for values out of their range.

    Two pairs, one of them with an edge, whose square is twice the mean: exp(−1)::

        >>> import numpy as np
        >>> row = np.array([[[0, 0, 200]]] * 3, np.uint8)
        >>> contrast_weights(row, strength=1).across.round(2).tolist()
        [[1.0, 0.37]]
    """
    if not strength >= 0 or not 0 <= floor <= 1:
        raise ValueError(f"strength={strength}, floor={floor}: at least 0, and from 0 to 1")
    colours = pixels_of(image).astype(np.float64)
    squares = [(np.diff(colours, axis=axis) ** 2).sum(0) for axis in (1, 2)]
    every = np.concatenate([part.ravel() for part in squares])
    mean = every.mean() if every.any() else 1.0
    down, across = (floor + (1 - floor) * np.exp(-part / (2 * mean)) for part in squares)
    return Weights(strength * down, strength * across)


def energy(labels: NDArray[np.integer], unary: Floats, weights: Weights) -> float:
    """The energy of a labelling.

    Args:
        labels: (H, W) integers.
        unary: (L, H, W), what each pixel pays for each label.
        weights: of neighbours.

    Returns:
        What pixels pay for their labels and neighbours for differing, together.

    One pixel pays 3 for label 1, and a pair differs, at 2::

        >>> import numpy as np
        >>> unary = np.array([[[0, 9]], [[9, 3]]])
        >>> energy(np.array([[0, 1]]), unary, Weights(np.empty((0, 2)), np.array([[2]])))
        5.0
    """
    own = np.take_along_axis(unary, labels[None].astype(np.intp), 0).sum()
    down, across = (np.diff(labels.astype(int), axis=axis) != 0 for axis in (0, 1))
    return float(own + weights.down[down].sum() + weights.across[across].sum())


def min_cut(unary: Floats, weights: Weights) -> NDArray[np.uint8]:
    """Of two labels, the labelling of least energy: exact, by one cut.

    Source: Greig, Porteous and Seheult 1989.

    Args:
        unary: (2, H, W), what each pixel pays for each label.
        weights: of neighbours.

    Returns:
        (H, W) uint8, 0 or 1.

    Raises:
        ValueError: for shapes that do not belong together, negative weights, and energies that are
            not finite or too large.

    The middle pixel would save 3 with label 1, but its two neighbours would ask 2 each::

        >>> import numpy as np
        >>> unary = np.array([[[0.0, 3.0, 0.0]], [[9.0, 0.0, 9.0]]])
        >>> min_cut(unary, Weights(np.empty((0, 3)), np.array([[2.0, 2.0]]))).tolist()
        [[0, 0, 0]]
        >>> min_cut(unary, Weights(np.empty((0, 3)), np.array([[1.0, 1.0]]))).tolist()
        [[0, 1, 0]]
    """
    _check(unary, weights, labels=2)
    pairs = np.concatenate([_pairs(unary.shape[1:]), _pairs(unary.shape[1:])[:, ::-1]])
    weight = np.tile(_flat(weights), 2)
    found = _cut((unary[1] - unary[0]).ravel(), pairs, weight)
    return found.reshape(unary.shape[1:]).astype(np.uint8)


def expand(
    unary: Floats, weights: Weights, cycles: int = 5, start: NDArray[np.integer] | None = None
) -> NDArray[np.uint8]:
    """A labelling of an energy at most twice the least, by α-expansion.

    For each label α in turn, the best of all labellings that keep each pixel's label or give it α
    is found by one cut, until no α lowers the energy.

    Source: Boykov, Veksler and Zabih, PAMI 2001, theorem 6.1.

    Args:
        unary: (L, H, W), what each pixel pays for each label.
        weights: of neighbours.
        cycles: how many times all labels have their turn, at most.
        start: the labels to begin with, (H, W); each pixel's cheapest by default.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: as `min_cut`.

    The middle pixel would save 3 with label 1, but a second border would cost 4::

        >>> import numpy as np
        >>> unary = np.array([[[0.0, 3.0, 9.0]], [[9.0, 0.0, 9.0]], [[9.0, 5.0, 0.0]]])
        >>> expand(unary, Weights(np.empty((0, 3)), np.array([[4.0, 4.0]]))).tolist()
        [[0, 0, 2]]
    """
    _check(unary, weights, labels=len(unary))
    labels = unary.argmin(0) if start is None else start.astype(np.intp)
    least = energy(labels, unary, weights)
    for _ in range(cycles):
        before = least
        for alpha in range(len(unary)):
            proposed = _expanded(labels, alpha, unary, weights)
            if (found := energy(proposed, unary, weights)) < least:
                labels, least = proposed, found
        if least == before:
            break
    return labels.astype(np.uint8)


def _expanded(
    labels: NDArray[np.intp], alpha: int, unary: Floats, weights: Weights
) -> NDArray[np.intp]:
    """The best labels that are α or what they were.

    A pair pays A if both keep, B if only the second changes, C if only the first does, 0 if both
    become α: A + (C − A)·x_p − C·x_q + (B + C − A)·(1 − x_p)·x_q, whose last weight is never below
    0, since differing is a metric (Kolmogorov and Zabih, PAMI 2004).
    """
    pairs, weight = _pairs(labels.shape), _flat(weights)
    now = labels.ravel()
    p, q = pairs.T
    A, B, C = (weight * differ for differ in (now[p] != now[q], now[p] != alpha, now[q] != alpha))
    linear = (unary[alpha] - np.take_along_axis(unary, labels[None], 0)[0]).ravel()
    linear = linear + np.bincount(p, C - A, linear.size) - np.bincount(q, C, linear.size)
    change = _cut(linear, pairs, B + C - A).reshape(labels.shape)
    return np.where(change, alpha, labels)


def _cut(linear: Floats, pairs: NDArray[np.intp], weight: Floats) -> NDArray[np.bool_]:
    """The x (n,) that minimises the sums of linear·x and, over pairs, of weight·(1 − x_p)·x_q.

    A pixel that pays for 1 is tied to the source, one that pays for 0 to the sink; after the
    largest flow, those that the source still reaches are 0.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    n = linear.size
    source, sink, every = n, n + 1, np.arange(n)
    # Numbers of 32 bits, the only ones that `maximum_flow` of older SciPy takes.
    start = np.concatenate([np.full(n, source), every, pairs[:, 0]]).astype(np.int32)
    end = np.concatenate([every, np.full(n, sink), pairs[:, 1]]).astype(np.int32)
    values = np.concatenate([linear.clip(min=0), (-linear).clip(min=0), weight])
    capacity = np.rint(values * _UNITS)
    if not capacity.max(initial=0) <= _LARGEST:
        raise ValueError(f"an energy of {values.max():g}: at most {_LARGEST // _UNITS} can be cut")
    graph = csr_array((capacity.astype(np.int32), (start, end)), shape=(n + 2, n + 2))
    graph.eliminate_zeros()
    residual = graph - maximum_flow(graph, source, sink, method="dinic").flow
    residual.eliminate_zeros()
    reached = breadth_first_order(residual, source, return_predecessors=False)
    ones = np.ones(n + 2, bool)
    ones[reached] = False
    return ones[:n]


def _pairs(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Flat indices (m, 2) of neighbours, in the order of `Weights`."""
    index = np.arange(shape[0] * shape[1]).reshape(shape)
    sides = (index[:-1], index[1:]), (index[:, :-1], index[:, 1:])
    return np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in sides])


def _flat(weights: Weights) -> Floats:
    return np.asarray(np.concatenate([part.ravel() for part in weights]))


def _check(unary: Floats, weights: Weights, labels: int) -> None:
    if unary.ndim != 3 or len(unary) != labels or not unary.size:
        raise ValueError(f"unary is of shape {unary.shape}: give ({labels or 'L'}, H, W)")
    _, height, width = unary.shape
    shapes = tuple(part.shape for part in weights)
    if shapes != ((height - 1, width), (height, width - 1)):
        raise ValueError(f"weights of {shapes} do not fit a unary of {height}×{width} pixels")
    flat = _flat(weights)
    if not np.isfinite(unary).all() or not (np.isfinite(flat) & (flat >= 0)).all():
        raise ValueError("energies must be finite, and what neighbours pay at least 0")


# ---- A picture that somebody marks ---------------------------------------------------------------


def grab_cut(
    image: Image,
    marks: NDArray[np.integer],
    strength: float = 10.0,
    rounds: int = 5,
    components: int = 5,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """What a person means by a few strokes, or by a box.

    By turns, mixtures of Gaussians are fitted to the colours of thing and rest, and a cut finds the
    best borders between them. After Rother, Kolmogorov and Blake, SIGGRAPH 2004.

    Args:
        image: uint8 (3, H, W).
        marks: (H, W): 1 for the thing, 0 for the rest, 255 for not marked. Rest there must be;
            without any thing, as when a box is drawn, all that is not marked is it at first.
        strength: what neighbours of equal colour pay for being told apart.
        rounds, components: how many turns, and how many Gaussians in a mixture.
        seed: of where the mixtures start.

    Returns:
        (H, W) uint8: 1 the thing, 0 the rest.

    Raises:
        ValueError: for other marks, and where nothing is marked as rest.

    A light square in the dark, with a box around it that is a pixel too large on each side::

        >>> import numpy as np
        >>> picture, marks = np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8), np.uint8)
        >>> picture[:, 2:6, 2:6], marks[1:7, 1:7] = 200, 255
        >>> grab_cut(picture, marks)[3].tolist()
        [0, 0, 1, 1, 1, 1, 0, 0]
    """
    pixels = pixels_of(image)
    if marks.shape != pixels.shape[1:] or not np.isin(marks, (0, 1, 255)).all():
        raise ValueError(f"marks of {marks.shape}: give {pixels.shape[1:]} of 0, 1 and 255")
    if not (marks == 0).any():
        raise ValueError("marks: nothing is marked as rest (0); outside of a box all is")
    colours = pixels.reshape(3, -1).T.astype(np.float64)
    weights = contrast_weights(pixels, strength)
    thing = (marks == 1) if (marks == 1).any() else (marks == 255)
    samples = [marks == 0, thing]
    for _ in range(rounds):
        unary = np.stack(
            [
                _surprise(colours, sample.ravel(), components, seed).reshape(marks.shape)
                for sample in samples
            ]
        )
        for mark in (0, 1):  # what is marked stays
            unary[1 - mark][marks == mark] = unary[mark][marks == mark] + 10 * FORBIDDEN
        labels = min_cut(unary, weights)
        if not labels.any() or labels.all():
            break
        samples = [labels == 0, labels == 1]
    return labels


def _surprise(
    colours: Floats, sample: NDArray[np.bool_], components: int, seed: int
) -> NDArray[np.float64]:
    """Minus the log of every colour's density under a mixture fitted to those of the sample."""
    from sklearn.mixture import GaussianMixture

    seen = colours[sample]
    count = min(components, len(np.unique(seen, axis=0)))
    if len(seen) < 2:
        seen = np.repeat(seen, 2, axis=0)
    mixture = GaussianMixture(count, reg_covar=1.0, random_state=seed).fit(seen)
    found: NDArray[np.float64] = -mixture.score_samples(colours)
    return found


class Cut:
    """What turns a method's probabilities and the image into labels, by α-expansion.

    Args:
        strength, floor: of `contrast_weights`.
        cycles: of `expand`.

    The middle pixel is a little more likely of class 1, which its neighbours are not::

        >>> import numpy as np
        >>> probabilities = np.array([[[0.9, 0.4, 0.9]], [[0.1, 0.6, 0.1]]], np.float32)
        >>> Cut()(probabilities, np.zeros((3, 1, 3), np.uint8)).argmax(0).tolist()
        [[0, 0, 0]]
    """

    def __init__(self, strength: float = 1.0, floor: float = 0.1, cycles: int = 5) -> None:
        self.strength, self.floor, self.cycles = strength, floor, cycles

    def __call__(
        self, probabilities: NDArray[np.float32], image: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Probabilities (C, H, W) and image (3, H, W) → 1 for the label of each pixel, 0 else."""
        unary = -np.log(np.maximum(probabilities, np.exp(-FORBIDDEN))).astype(np.float64)
        seen = np.flatnonzero(probabilities.any((1, 2)))  # others have no turn
        weights = contrast_weights(image, self.strength, self.floor)
        labels = seen[expand(unary[seen], weights, self.cycles)]
        classes = np.arange(len(probabilities))[:, None, None]
        return np.asarray(labels == classes, np.float32)
