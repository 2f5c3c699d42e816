"""Textons: the commonest filter responses, and which of them occur around a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.prior.classifiers import Classifier, linear_svm
from fcn_tutorial.prior.features import filters
from fcn_tutorial.prior.method import Items, Method, at_least_one, gathered


@dataclass(eq=False)
class Textons(Method):
    """Filter responses are clustered; a linear SVM reads the histograms of clusters around a pixel.

    Responses to the 17 filters of `features.filters`, standardised, are clustered by k-means, and
    each pixel becomes the number of its nearest centre, its texton. The square root of how often
    each occurs in windows around the pixel is what the SVM is given. After Leung and Malik, IJCV
    2001; Varma and Zisserman, IJCV 2005.

    Args:
        words: how many textons, at most; fewer where there are fewer training pixels.
        windows: sides of the windows in pixels; (1,) is the pixel's own texton.

    The others are those of `Method`.

    Dark left of light::

        >>> import numpy as np
        >>> picture = np.zeros((3, 8, 8), np.uint8)
        >>> picture[:, :, 4:] = 200
        >>> method = Textons(num_classes=2, words=8, windows=(1,))
        >>> method.fit([(picture, picture[0] // 200)]).predict(picture)[0].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """

    pixels: int = 20_000
    words: int = 64
    windows: Sequence[int] = (9, 25)

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(words=self.words, windows=min(self.windows, default=0))

    def _learn(self, dataset: Items) -> None:
        from sklearn.cluster import KMeans  # slow to import: only where used

        responses, _ = gathered(dataset, self, filters)
        responses = np.unique(responses, axis=0)
        self.scale = responses.std(0) + 1e-6
        words = min(self.words, len(responses))
        k_means = KMeans(words, n_init=1, max_iter=50, random_state=self.seed)
        self.centres = k_means.fit(responses / self.scale).cluster_centers_
        features, labels = gathered(dataset, self, self.histograms)
        self.classifier = Classifier(linear_svm(self.seed), self.num_classes).fit(features, labels)

    def texton_map(self, image: NDArray[np.uint8]) -> NDArray[np.intp]:
        """The texton of each pixel, (H, W), of an image uint8 (3, H, W)."""
        scaled = filters(image) / self.scale
        # ‖r − c‖² without ‖r‖², which is the same for all centres.
        distances = (self.centres**2).sum(1) - 2 * scaled @ self.centres.T
        nearest: NDArray[np.intp] = distances.argmin(2)
        return nearest

    def histograms(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The square root of each texton's share of each window, (H, W, windows · words)."""
        from scipy import ndimage

        words = np.arange(len(self.centres))
        occurs = (self.texton_map(image)[..., None] == words).astype(np.float32)
        shares = [
            ndimage.uniform_filter(occurs, (side, side, 1), mode="nearest") for side in self.windows
        ]
        found: NDArray[np.float32] = np.sqrt(np.concatenate(shares, axis=2).clip(min=0))
        return found

    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        histograms = self.histograms(image).reshape(image[0].size, -1)
        found = self.classifier.probabilities(histograms)
        return found.T.reshape(self.num_classes, *image.shape[1:])
