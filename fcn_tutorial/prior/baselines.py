"""Two baselines without context: the commonest class, and a forest on the colour of one pixel.

Whatever a network scores beyond them, it owes to texture, shape and place.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.prior.classifiers import forest
from fcn_tutorial.prior.method import (
    Image,
    Items,
    at_least_one,
    checked,
    gathered,
    known,
    nothing_to_learn,
    pixels_of,
)

_BITS = 6  # kept of each 8-bit channel: 2**18 colours, few enough to tabulate
_LEVELS = 1 << _BITS


class MajorityClass:
    """Gives every pixel the class that most training pixels have.

    Args:
        num_classes: how many there are, at most 255.
        ignore_index: the label that is not counted.

    ::

        >>> import numpy as np
        >>> picture, labels = np.zeros((3, 2, 2), np.uint8), np.array([[0, 1], [1, 255]])
        >>> MajorityClass(num_classes=2).fit([(picture, labels)]).predict(picture).tolist()
        [[1, 1], [1, 1]]
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        self.num_classes, self.ignore_index = checked(num_classes), ignore_index
        self.label: int | None = None

    def fit(self, dataset: Items) -> Self:
        """Count the labels of every item.

        Raises:
            ValueError: if all of them are void.
        """
        counts = np.zeros(self.num_classes, np.int64)
        for index in range(len(dataset)):
            labels = np.asarray(dataset[index][1])
            counts += np.bincount(known(labels, self), minlength=self.num_classes)
        if not counts.any():
            raise ValueError(nothing_to_learn(dataset, self.ignore_index))
        self.label = int(counts.argmax())
        return self

    def predict(self, image: Image) -> NDArray[np.uint8]:
        """The majority class everywhere, (H, W) uint8.

        Raises:
            RuntimeError: before `fit`.
        """
        if self.label is None:
            raise RuntimeError("MajorityClass has seen no data: call fit(dataset) first")
        return np.full(pixels_of(image).shape[1:], self.label, np.uint8)


class ColourForest:
    """A random forest on the red, green and blue of single pixels.

    Colours are cut to 6 bits a channel before the forest sees them, in training as in prediction.
    So it can only ever be asked 2**18 questions; all are answered once, after training, and
    `predict` is a look-up in `table` that returns exactly what the forest would.

    Args:
        num_classes: how many there are, at most 255.
        ignore_index: the label of void pixels, which teach nothing.
        pixels: training pixels, drawn evenly from `images` items spread evenly over the data set.
        images: items that are looked at, at most.
        trees, leaf: trees of the forest and the fewest training pixels in a leaf.
        balance: classes weigh (their frequency)**-balance, from 0, which maximises pixel accuracy,
            to 1, which maximises mean accuracy. 0.5 has the best mean IU on the `val` split of
            `datasets.Scenes`, of 0, 0.3, 0.5, 0.75 and 1; leaves of 5 to 100 pixels, 30 to 50 trees
            and 60,000 to 150,000 pixels change it by less than 0.01.
        seed: of the forest and of the pixels that are drawn.

    Dark left of light::

        >>> import numpy as np
        >>> picture = np.zeros((3, 8, 8), np.uint8)
        >>> picture[:, :, 4:] = 200
        >>> data = [(picture, picture[0] // 200)]
        >>> ColourForest(num_classes=2, trees=5, leaf=1).fit(data).predict(picture)[0].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
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
        at_least_one(pixels=pixels, images=images, trees=trees)
        self.num_classes, self.ignore_index = checked(num_classes), ignore_index
        self.pixels, self.images, self.trees = pixels, images, trees
        self.leaf, self.balance, self.seed = leaf, balance, seed
        self.forest: Any = None  # sklearn.ensemble.RandomForestClassifier once fitted
        self.table: NDArray[np.uint8] | None = None  # (64, 64, 64), indexed by colour >> 2

    def fit(self, dataset: Items) -> Self:
        """Grow the forest on sampled pixels and tabulate it.

        Raises:
            ValueError: if no sampled pixel has a class.
        """
        colours, labels = gathered(
            dataset, self, lambda image: np.right_shift(image, 8 - _BITS).transpose(1, 2, 0)
        )
        frequency = np.bincount(labels, minlength=self.num_classes) / labels.size
        weights = frequency[labels] ** -self.balance
        self.forest = forest(self.seed, self.trees, self.leaf)
        self.forest.fit(colours, labels, sample_weight=weights)
        grid = np.indices((_LEVELS,) * 3, np.uint8).reshape(3, -1).T
        self.table = self.forest.predict(grid).astype(np.uint8).reshape((_LEVELS,) * 3)
        return self

    def predict(self, image: Image) -> NDArray[np.uint8]:
        """The forest's answer for each pixel, (H, W) uint8.

        Raises:
            RuntimeError: before `fit`.
        """
        if self.table is None:
            raise RuntimeError("ColourForest has seen no data: call fit(dataset) first")
        red, green, blue = pixels_of(image) >> (8 - _BITS)
        labels: NDArray[np.uint8] = self.table[red, green, blue]
        return labels
