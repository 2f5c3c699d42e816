"""Two baselines without context: the commonest class, and a forest on the colour of one pixel.

Whatever a network scores beyond them, it owes to texture, shape and place. Both share the protocol
`Baseline`: `fit` on a data set of (image, mask) items, then `predict` one image at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fcn_tutorial.metrics import ConfusionMatrix

_BITS = 6  # kept of each 8-bit channel: 2**18 colours, few enough to tabulate
_LEVELS = 1 << _BITS


class Items(Protocol):
    """A data set: items are (image (3, H, W) uint8, mask (H, W) integer with void)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


class Baseline(Protocol):
    """A method that learns from a data set and labels one image at a time."""

    num_classes: int
    ignore_index: int

    def fit(self, dataset: Items) -> Self:
        """Learn from (image, mask) items; void pixels teach nothing."""
        ...

    def predict(self, image: torch.Tensor | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Class indices (H, W) uint8 of an image (3, H, W) uint8."""
        ...


class MajorityClass:
    """Gives every pixel the class that most training pixels have.

    Args:
        num_classes: how many there are, at most 255.
        ignore_index: the label that is not counted.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        self.num_classes, self.ignore_index = _checked(num_classes), ignore_index
        self.label: int | None = None

    def fit(self, dataset: Items) -> Self:
        """Count the labels of every item. Raises ValueError if all of them are void."""
        counts = np.zeros(self.num_classes, np.int64)
        for index in range(len(dataset)):
            labels = _labels(dataset[index][1])
            counts += np.bincount(_known(labels, self), minlength=self.num_classes)
        if not counts.any():
            raise ValueError(_NOTHING_TO_LEARN.format(len(dataset), self.ignore_index))
        self.label = int(counts.argmax())
        return self

    def predict(self, image: torch.Tensor | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The majority class everywhere, (H, W) uint8. Raises RuntimeError before `fit`."""
        if self.label is None:
            raise RuntimeError("MajorityClass has seen no data: call fit(dataset) first")
        return np.full(_pixels(image).shape[1:], self.label, np.uint8)


class ColourForest:
    """A random forest on the red, green and blue of single pixels.

    Colours are cut to 6 bits a channel before the forest sees them, in training as in prediction.
    So it can only ever be asked 2**18 questions; all are answered once, after training, and
    `predict` is a look-up in `table` that returns exactly what the forest would.

    Args:
        pixels: training pixels, drawn evenly from `images` items spread evenly over the data set.
        trees, leaf: trees of the forest and the fewest training pixels in a leaf.
        balance: classes weigh (their frequency)**-balance, from 0, which maximises pixel accuracy,
            to 1, which maximises mean accuracy. 0.5 has the best mean IU on the `val` split of
            `datasets.Scenes`, of 0, 0.3, 0.5, 0.75 and 1; leaves of 5 to 100 pixels, 30 to 50 trees
            and 60,000 to 150,000 pixels change it by less than 0.01.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int = 255,
        pixels: int = 60_000,
        images: int = 300,
        trees: int = 40,
        leaf: int = 30,
        balance: float = 0.5,
        seed: int = 0,
    ) -> None:
        for name, value in (("pixels", pixels), ("images", images), ("trees", trees)):
            if value < 1:
                raise ValueError(f"{name}={value}: at least 1 is needed")
        self.num_classes, self.ignore_index = _checked(num_classes), ignore_index
        self.pixels, self.images, self.trees = pixels, images, trees
        self.leaf, self.balance, self.seed = leaf, balance, seed
        self.forest: Any = None  # sklearn.ensemble.RandomForestClassifier once fitted
        self.table: NDArray[np.uint8] | None = None  # (64, 64, 64), indexed by colour >> 2

    def fit(self, dataset: Items) -> Self:
        """Grow the forest on sampled pixels and tabulate it.

        Raises ValueError if no sampled pixel has a class.
        """
        from sklearn.ensemble import RandomForestClassifier  # slow to import: only where used

        sample = list(self._sample(dataset))
        colours = np.concatenate([colour for colour, _ in sample])
        labels = np.concatenate([label for _, label in sample])
        if labels.size == 0:
            raise ValueError(_NOTHING_TO_LEARN.format(len(dataset), self.ignore_index))
        frequency = np.bincount(labels, minlength=self.num_classes) / labels.size
        self.forest = RandomForestClassifier(
            self.trees, min_samples_leaf=self.leaf, random_state=self.seed, n_jobs=-1
        ).fit(colours, labels, sample_weight=frequency[labels] ** -self.balance)
        grid = np.indices((_LEVELS,) * 3, np.uint8).reshape(3, -1).T
        self.table = self.forest.predict(grid).astype(np.uint8).reshape((_LEVELS,) * 3)
        return self

    def predict(self, image: torch.Tensor | NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The forest's answer for each pixel, (H, W) uint8. Raises RuntimeError before `fit`."""
        if self.table is None:
            raise RuntimeError("ColourForest has seen no data: call fit(dataset) first")
        red, green, blue = _pixels(image) >> (8 - _BITS)
        labels: NDArray[np.uint8] = self.table[red, green, blue]
        return labels

    def _sample(self, dataset: Items) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.integer]]]:
        """Colours (n, 3), cut to 6 bits, and labels (n,) of each image's share of the pixels."""
        rng = np.random.default_rng(self.seed)
        count = min(self.images, len(dataset))
        for index in np.linspace(0, len(dataset) - 1, count).astype(int):
            image, mask = dataset[int(index)]
            labels = _labels(mask)
            _known(labels, self)  # complain about labels that are neither class nor void
            where = np.flatnonzero(labels != self.ignore_index)
            share = min(where.size, -(-self.pixels // count))
            chosen = rng.choice(where, share, replace=False)
            colours = np.right_shift(_pixels(image).reshape(3, -1)[:, chosen], 8 - _BITS)
            yield colours.T, labels.ravel()[chosen]


def evaluate(baseline: Baseline, dataset: Items) -> ConfusionMatrix:
    """One confusion matrix over every item of the data set, void pixels left out."""
    confusion = ConfusionMatrix(baseline.num_classes, ignore_index=baseline.ignore_index)
    for index in range(len(dataset)):
        image, mask = dataset[index]
        confusion.update(baseline.predict(image), _labels(mask))
    return confusion


_NOTHING_TO_LEARN = "none of the {} items has a pixel that is not void ({}): check the masks"


def _checked(num_classes: int) -> int:
    if not 1 <= num_classes <= 255:
        raise ValueError(f"num_classes={num_classes}: from 1 to 255, one byte beside void")
    return num_classes


def _pixels(image: torch.Tensor | NDArray[np.uint8]) -> NDArray[np.uint8]:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3:
        raise ValueError(
            f"image is {pixels.dtype} {pixels.shape}: give uint8 (3, H, W), before normalisation"
        )
    return pixels


def _labels(mask: torch.Tensor | NDArray[np.integer]) -> NDArray[np.integer]:
    return np.asarray(mask)


def _known(labels: NDArray[np.integer], baseline: Baseline) -> NDArray[np.integer]:
    """The labels (n,) that are not void. Raises ValueError for one that is not a class."""
    known: NDArray[np.integer] = labels[labels != baseline.ignore_index]
    if known.size and not 0 <= int(known.min()) <= int(known.max()) < baseline.num_classes:
        raise ValueError(
            f"mask holds labels {known.min()} to {known.max()} beside void "
            f"{baseline.ignore_index}, but num_classes={baseline.num_classes}: check both"
        )
    return known
