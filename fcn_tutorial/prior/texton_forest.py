"""Semantic texton forests: trees that read pixels directly, then trees that read their answers.

The first forest compares single values of the patch around a pixel; no filter is computed. Its
nodes are the semantic textons, and what they say of the class is a first answer. The second one
compares how often nodes, and how much of each class, lie in rectangles around the pixel: a bag of
semantic textons. Source: Shotton, Johnson and Cipolla, CVPR 2008, whose prior over whole images is
left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.prior.features import colour
from fcn_tutorial.prior.method import Items, Method, at_least_one, places, sampled

Floats = NDArray[np.float32]
#: Where pixels are: image, row and column, each (n,).
Places = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]

_PATCH = 21  # pixels: side of the patch (the paper's section 6)
_REACH = 25  # pixels that a rectangle of the second stage reaches from the pixel, at most
_BAG_DEPTH = 4  # of the nodes that are counted: 2**4 a tree
_FRACTION = 0.5  # of the pixels that a tree is grown on
_TRIED = 60  # tests at each node
_THRESHOLDS = 5  # tried for each test


# ---- Tests ---------------------------------------------------------------------------------------


class PatchTests:
    """A, A + B, A − B or |A − B|, of two values in the patch around a pixel."""

    def __init__(self, images: list[Floats]) -> None:
        """Images are (H, W, channels)."""
        half = _PATCH // 2
        self.padded = [np.pad(i, ((half, half), (half, half), (0, 0)), mode="edge") for i in images]
        self.channels = images[0].shape[2]

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
        """(count, 7): the kind of test, then row, column and channel of A and of B."""
        limits = [4, _PATCH, _PATCH, self.channels, _PATCH, _PATCH, self.channels]
        return np.stack([rng.integers(0, limit, count) for limit in limits], axis=1)

    def __call__(self, tests: NDArray[np.intp], places: Places) -> Floats:
        """The values of tests (…, 7) at places that broadcast with them."""
        kind, *where = np.moveaxis(tests, -1, 0)
        a, b = (
            _at(self.padded, places[0], places[1] + y, places[2] + x, c)
            for y, x, c in (where[:3], where[3:])
        )
        values = np.select([kind == 0, kind == 1, kind == 2], [a, a + b, a - b], np.abs(a - b))
        return np.asarray(values, np.float32)


class BagTests:
    """The mean of a channel in a rectangle beside a pixel, cut off at the picture's edge."""

    def __init__(self, images: list[Floats]) -> None:
        """Images are (H, W, channels): the share of each class, and whether each node was met."""
        self.sums = [np.pad(i.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0))) for i in images]
        self.channels = images[0].shape[2]

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
        """(count, 5): first and last row, first and last column, relative, and the channel."""
        edges = rng.integers(-_REACH, _REACH + 1, (count, 2, 2))
        edges.sort(axis=2)
        channel = rng.integers(0, self.channels, (count, 1))
        return np.concatenate([edges.reshape(count, 4), channel], axis=1)

    def __call__(self, tests: NDArray[np.intp], places: Places) -> Floats:
        """The values of tests (…, 5) at places that broadcast with them."""
        top, bottom, left, right, channel = np.moveaxis(tests, -1, 0)
        image, row, column = places
        sizes = np.array([s.shape[:2] for s in self.sums])[image] - 1
        y0, y1 = ((row + y).clip(0, sizes[..., 0]) for y in (top, bottom + 1))
        x0, x1 = ((column + x).clip(0, sizes[..., 1]) for x in (left, right + 1))
        corners = [
            _at(self.sums, image, y, x, channel)
            for y, x in ((y1, x1), (y0, x1), (y1, x0), (y0, x0))
        ]
        total = corners[0] - corners[1] - corners[2] + corners[3]
        return np.asarray(total / np.maximum((y1 - y0) * (x1 - x0), 1), np.float32)


def _at(images: list[Floats], image: Any, row: Any, column: Any, channel: Any) -> Floats:
    """One value of each image at rows, columns and channels, all of which broadcast."""
    if len(images) == 1:
        return np.asarray(images[0][row, column, channel])
    image, row, column, channel = np.broadcast_arrays(image, row, column, channel)
    found = np.empty(image.shape, np.float32)
    for index in np.unique(image[:, 0] if image.ndim == 2 else image):
        here = image == index
        found[here] = images[index][row[here], column[here], channel[here]]
    return found


# ---- Trees ---------------------------------------------------------------------------------------


@dataclass
class Tree:
    """A binary tree as arrays: node i has the children 2i + 1 and 2i + 2.

    Attributes:
        tests: (nodes, parameters) of the split at each node.
        thresholds: (nodes,); nan for a leaf.
        shares: (nodes, C) of the classes that reached it.
    """

    tests: NDArray[np.intp]
    thresholds: Floats
    shares: Floats

    def nodes(self, values: Any, places: Places, depth: int) -> NDArray[np.intp]:
        """The node that each place (n,) ends in after `depth` splits at most."""
        node = np.zeros(len(places[1]), np.intp)
        for _ in range(depth):
            thresholds = self.thresholds[node]
            further = ~np.isnan(thresholds)
            right = values(self.tests[node], places) > thresholds
            node = np.where(further, 2 * node + 1 + right, node)
        return node


def grow(
    tests: Any,
    places: Places,
    labels: NDArray[np.integer],
    weights: Floats,
    depth: int,
    tried: int,
    rng: np.random.Generator,
) -> Tree:
    """A tree whose every split tells the classes apart best, of those that are tried.

    Args:
        tests: a family of tests.
        places: of the training pixels.
        labels: (n,) classes from 0 to C − 1.
        weights: (C,) what a pixel of each class counts.
        depth: of the tree.
        tried: tests at each node, with five thresholds each.
        rng: draws them.
    """
    wide = tests.draw(rng, 1).shape[1]
    size = 2 ** (depth + 1) - 1
    found = np.zeros((size, wide), np.intp)
    thresholds, shares = np.full(size, np.nan, np.float32), np.zeros((size, len(weights)))
    hot = np.eye(len(weights))[labels] * weights
    members = {0: np.arange(len(labels))}
    for node in range(size):
        mine = members.pop(node, None)
        if mine is None:
            continue
        counts = hot[mine].sum(0)
        shares[node] = counts / counts.sum()
        if 2 * node + 2 >= size or len(mine) < 4 or (counts > 0).sum() < 2:
            continue
        drawn = tests.draw(rng, tried)
        here = tuple(part[mine, None] for part in places)
        values = tests(drawn[None], here)
        cuts = values[rng.integers(0, len(mine), _THRESHOLDS)]
        sides = (values[None] > cuts[:, None]).astype(np.float32)
        right = np.einsum("nc,knt->ktc", hot[mine], sides, optimize=True)
        cost = _entropy(right) + _entropy(counts - right)
        k, t = np.unravel_index(cost.argmin(), cost.shape)
        goes_right = sides[k, :, t] > 0
        if goes_right.all() or not goes_right.any():
            continue
        found[node], thresholds[node] = drawn[t], cuts[k, t]
        members[2 * node + 1], members[2 * node + 2] = mine[~goes_right], mine[goes_right]
    return Tree(found, thresholds, shares.astype(np.float32))


def _entropy(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """The entropy of weights (…, C), times their sum."""
    counts = counts.clip(min=0)
    total = counts.sum(-1, keepdims=True)
    shares = np.divide(counts, total, out=np.ones_like(counts), where=counts > 0)
    return np.asarray(-(counts * np.log(shares)).sum(-1))


# ---- The method ----------------------------------------------------------------------------------


@dataclass(eq=False)
class SemanticTextonForest(Method):
    """Two forests, one behind the other: see the module.

    Args:
        trees, depth: of either forest.
        stages: 2, or 1 for the first forest's answer alone.

    The others are those of `Method`.

    Raises:
        ValueError: for values out of their range.

    Dark left of light::

        >>> import numpy as np
        >>> picture = np.zeros((3, 8, 8), np.uint8)
        >>> picture[:, :, 4:] = 200
        >>> method = SemanticTextonForest(num_classes=2, depth=3)
        >>> method.fit([(picture, picture[0] // 200)]).predict(picture)[0].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """

    pixels: int = 10_000
    images: int = 100
    trees: int = 5
    depth: int = 9
    stages: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(trees=self.trees, depth=self.depth)
        if self.stages not in (1, 2):
            raise ValueError(f"stages={self.stages}: 1 or 2")

    def _learn(self, dataset: Items) -> None:
        rng = np.random.default_rng(self.seed)
        samples = list(sampled(dataset, self))
        labels = np.concatenate([sample.labels for sample in samples]).astype(np.intp)
        where = places(samples)
        frequency = np.bincount(labels, minlength=self.num_classes) / len(labels)
        weights = np.where(frequency > 0, np.maximum(frequency, 1e-9) ** -0.5, 0)
        pictures = [colour(sample.image) for sample in samples]
        self.first = self._grown(PatchTests(pictures), where, labels, weights, rng)
        self.second: list[Tree] = []
        if self.stages == 2:
            bags = [self._bag(picture) for picture in pictures]
            self.second = self._grown(BagTests(bags), where, labels, weights, rng)

    def _grown(
        self,
        tests: PatchTests | BagTests,
        places: Places,
        labels: NDArray[np.intp],
        weights: NDArray[np.floating],
        rng: np.random.Generator,
    ) -> list[Tree]:
        found = []
        for _ in range(self.trees):
            chosen = np.flatnonzero(rng.random(len(labels)) < _FRACTION)
            if not len(chosen):
                chosen = np.arange(len(labels))
            mine = (places[0][chosen], places[1][chosen], places[2][chosen])
            found.append(grow(tests, mine, labels[chosen], weights, self.depth, _TRIED, rng))
        return found

    def _shares(self, trees: list[Tree], tests: PatchTests | BagTests, picture: Floats) -> Floats:
        """What trees say of each pixel, (H, W, C)."""
        places = _everywhere(picture)
        mean = sum(tree.shares[tree.nodes(tests, places, self.depth)] for tree in trees)
        return np.asarray(mean / len(trees), np.float32).reshape(*picture.shape[:2], -1)

    def _bag(self, picture: Floats) -> Floats:
        """The first forest's classes and, tree by tree, nodes: (H, W, C + trees · nodes)."""
        tests, places = PatchTests([picture]), _everywhere(picture)
        found = [self._shares(self.first, tests, picture)]
        for tree in self.first:
            node = tree.nodes(tests, places, _BAG_DEPTH).reshape(picture.shape[:2])
            met = node[..., None] == np.arange(2 ** (_BAG_DEPTH + 1) - 1)
            found.append(met.astype(np.float32))
        return np.concatenate(found, axis=2)

    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        picture = colour(image)
        if self.stages == 1:
            found = self._shares(self.first, PatchTests([picture]), picture)
        else:
            found = self._shares(self.second, BagTests([self._bag(picture)]), picture)
        return np.ascontiguousarray(found.transpose(2, 0, 1))


def _everywhere(picture: Floats) -> Places:
    row, column = np.indices(picture.shape[:2]).reshape(2, -1)
    return np.zeros_like(row), row, column
