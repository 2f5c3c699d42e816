"""Pixel by pixel: hand-made features, and a classifier that looks at nothing else."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.prior.classifiers import Classifier, forest, linear_svm
from fcn_tutorial.prior.features import described
from fcn_tutorial.prior.method import Image, Items, Method, at_least_one, gathered


@dataclass(eq=False)
class PixelMethod(Method):
    """What the two below share: the features of sampled pixels, and a classifier of them.

    Args:
        features: names in `features.FEATURES`; None for all of them.

    The others are those of `Method`.
    """

    features: Sequence[str] | None = None

    @abstractmethod
    def _learner(self) -> Any:
        """A classifier of scikit-learn, unfitted."""

    def _learn(self, dataset: Items) -> None:
        features, labels = gathered(dataset, self, self._described)
        self.classifier = Classifier(self._learner(), self.num_classes).fit(features, labels)

    def _described(self, image: Image) -> NDArray[np.float32]:
        return described(image, self.features)

    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = self.classifier.probabilities(self._described(image).reshape(image[0].size, -1))
        return found.T.reshape(self.num_classes, *image.shape[1:])


class PixelSVM(PixelMethod):
    """A linear support vector machine on the features of a pixel, one class against the rest.

    Arguments and errors as those of `PixelMethod`: `features`, names in `features.FEATURES` or None
    for all of them, and those of `Method`.

    Dark left of light::

        >>> import numpy as np
        >>> picture = np.zeros((3, 8, 8), np.uint8)
        >>> picture[:, :, 4:] = 200
        >>> data = [(picture, picture[0] // 200)]
        >>> PixelSVM(num_classes=2, features=["colour"]).fit(data).predict(picture)[0].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """

    def _learner(self) -> Any:
        return linear_svm(self.seed)


@dataclass(eq=False)
class PixelForest(PixelMethod):
    """A random forest on the features of a pixel.

    Args:
        trees, leaf: trees of the forest and the fewest training pixels in a leaf.

    The others, and errors, are those of `PixelMethod`: `features`, names in `features.FEATURES` or
    None for all of them, and those of `Method`.

    Left and right of a grey picture are told apart by place alone::

        >>> import numpy as np
        >>> picture, labels = np.full((3, 8, 8), 117, np.uint8), np.zeros((8, 8), int)
        >>> labels[:, 4:] = 1
        >>> method = PixelForest(num_classes=2, features=["position"], trees=5)
        >>> method.fit([(picture, labels)]).predict(picture)[0].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """

    trees: int = 40
    leaf: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(trees=self.trees, leaf=self.leaf)

    def _learner(self) -> Any:
        return forest(self.seed, self.trees, self.leaf)
