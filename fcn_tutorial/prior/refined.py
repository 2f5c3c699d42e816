"""A method and what smooths its answer: a graph cut or a dense CRF on its probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.crf import DenseCRF
from fcn_tutorial.prior.graphcut import Cut
from fcn_tutorial.prior.method import Items, Method
from fcn_tutorial.prior.pixels import PixelForest

#: Probabilities (C, H, W) and image uint8 (3, H, W) → probabilities.
Refinement = Callable[[NDArray[np.float32], NDArray[np.uint8]], NDArray[np.float32]]


class Refined(Method):
    """Another method's probabilities, refined with the image in view.

    Args:
        method: fitted by `fit`.
        refine: such as `graphcut.Cut()` or `crf.DenseCRF()`: given probabilities (C, H, W) and an
            image uint8 (3, H, W), it returns probabilities.

    One column in eight has another label; neighbours of equal colour outvote it::

        >>> import numpy as np
        >>> from fcn_tutorial.prior.graphcut import Cut
        >>> picture, labels = np.full((3, 4, 8), 117, np.uint8), np.zeros((4, 8), int)
        >>> labels[:, 5] = 1
        >>> forest = PixelForest(num_classes=2, features=["position"], trees=5, leaf=1)
        >>> forest.fit([(picture, labels)]).predict(picture)[0].tolist()
        [0, 0, 0, 0, 0, 1, 0, 0]
        >>> Refined(forest, Cut(strength=50)).fit([(picture, labels)]).predict(picture)[0].tolist()
        [0, 0, 0, 0, 0, 0, 0, 0]
    """

    def __init__(self, method: Method, refine: Refinement) -> None:
        super().__init__(
            method.num_classes, method.ignore_index, method.pixels, method.images, method.seed
        )
        self.method, self.refine = method, refine

    def _learn(self, dataset: Items) -> None:
        self.method.fit(dataset)

    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.refine(self.method.probabilities(image), image)


def forest_with_cut(
    num_classes: int,
    ignore_index: int = 255,
    pixels: int = 60_000,
    images: int = 300,
    seed: int = 0,
    strength: float = 1.0,
) -> Refined:
    """A `PixelForest` whose labels are an α-expansion's.

    Args:
        num_classes, ignore_index, pixels, images, seed: as `Method`.
        strength: what neighbours of equal colour pay for different labels.

    Returns:
        A method to be fitted.

    ::

        >>> method = forest_with_cut(num_classes=12, strength=2.0)
        >>> type(method.method).__name__, method.refine.strength
        ('PixelForest', 2.0)
    """
    method = PixelForest(num_classes, ignore_index, pixels, images, seed)
    return Refined(method, Cut(strength))


def forest_with_crf(
    num_classes: int,
    ignore_index: int = 255,
    pixels: int = 60_000,
    images: int = 300,
    seed: int = 0,
    crf: DenseCRF | None = None,
) -> Refined:
    """A `PixelForest` refined by a dense CRF.

    Args:
        num_classes, ignore_index, pixels, images, seed: as `Method`.
        crf: by default one of small pictures' widths.

    Returns:
        A method to be fitted.

    ::

        >>> method = forest_with_crf(num_classes=12)
        >>> type(method.method).__name__, method.refine.xy
        ('PixelForest', 10.0)
    """
    method = PixelForest(num_classes, ignore_index, pixels, images, seed)
    return Refined(
        method, crf or DenseCRF(weight=2.0, xy=10.0, rgb=10.0, smooth_weight=1.0, steps=5)
    )
