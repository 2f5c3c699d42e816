"""Superpixels: small regions of like colour that are labelled as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.files import one_of
from fcn_tutorial.metrics import ConfusionMatrix, Scores
from fcn_tutorial.prior.classifiers import Classifier, linear_svm
from fcn_tutorial.prior.features import described
from fcn_tutorial.prior.method import Image, Items, Method, at_least_one, pixels_of, whole_images

Kind = Literal["slic", "felzenszwalb"]


def segments(image: Image, kind: Kind = "slic", pixels: int = 60) -> NDArray[np.intp]:
    """The superpixel that each pixel belongs to, numbered from 0.

    Args:
        image: uint8 (3, H, W).
        kind: "slic" cuts the picture into about equal parts (Achanta et al., PAMI 2012);
            "felzenszwalb" merges pixels while their difference is small for the size of the region
            (Felzenszwalb and Huttenlocher, IJCV 2004), so that flat ones grow large.
        pixels: of a superpixel: about the mean for "slic"; for "felzenszwalb" the scale of its
            threshold, and a fifth of it is the least.

    Returns:
        (H, W) integers.

    Raises:
        ValueError: for another kind, and for `pixels` below 1.
        ImportError: without scikit-image.

    The dark half and the light one are cut into two each; the middle of every quarter::

        >>> import numpy as np
        >>> picture = np.zeros((3, 16, 16), np.uint8)
        >>> picture[:, :, 8:] = 200
        >>> segments(picture, "slic", pixels=64)[4::8, 4::8].tolist()
        [[0, 1], [2, 3]]
    """
    one_of("kind", kind, get_args(Kind))
    at_least_one(pixels=pixels)
    try:
        from skimage import segmentation
    except ImportError as error:
        raise ImportError(
            "superpixels need the package scikit-image: pip install 'fcn-tutorial[prior]'"
        ) from error
    picture = pixels_of(image).transpose(1, 2, 0)
    if min(picture.shape[:2]) < 3:  # too small for the smoothing and the seeds: one superpixel
        return np.zeros(picture.shape[:2], np.intp)
    if kind == "slic":
        count = max(1, picture[..., 0].size // pixels)
        found = segmentation.slic(picture, n_segments=count, compactness=10, start_label=0)
    else:
        least = max(1, pixels // 5)
        found = segmentation.felzenszwalb(picture, scale=pixels, sigma=0.8, min_size=least)
    return np.unique(found, return_inverse=True)[1].reshape(found.shape)


def pooled(values: NDArray[np.floating], parts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean and standard deviation of values over each part.

    Args:
        values: (H, W, D).
        parts: (H, W) integers from 0.

    Returns:
        (parts, 2·D): the means, then the deviations.

    ::

        >>> import numpy as np
        >>> values = np.array([[[1.0], [3.0], [5.0], [5.0]]])
        >>> pooled(values, np.array([[0, 0, 1, 1]])).tolist()
        [[2.0, 1.0], [5.0, 0.0]]
    """
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    return spread(summed(np.hstack([flat, flat**2]), parts), np.bincount(parts.ravel()))


def summed(values: NDArray[np.float64], parts: NDArray[np.intp]) -> NDArray[np.float64]:
    """The sums of values over each part.

    Args:
        values: (H·W, D).
        parts: (H, W) integers from 0.

    Returns:
        (parts, D).

    ::

        >>> import numpy as np
        >>> values = np.array([[1.0], [3.0], [5.0], [5.0]])
        >>> summed(values, np.array([[0, 0, 1, 1]])).tolist()
        [[4.0], [10.0]]
    """
    return np.stack([np.bincount(parts.ravel(), column) for column in values.T], axis=1)


def spread(sums: NDArray[np.float64], sizes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Means and standard deviations from sums.

    Args:
        sums: (n, 2·D) of values, then of their squares.
        sizes: (n,) how many values are in each sum.

    Returns:
        (n, 2·D): the means, then the deviations.

    Of 1 and 3::

        >>> import numpy as np
        >>> spread(np.array([[1.0 + 3.0, 1.0 + 9.0]]), np.array([2])).tolist()
        [[2.0, 1.0]]
    """
    mean, square = np.split(sums / sizes[:, None], 2, axis=1)
    return np.hstack([mean, np.sqrt((square - mean**2).clip(min=0))])


def counted(
    labels: NDArray[np.integer], parts: NDArray[np.intp], num_classes: int, ignore_index: int
) -> NDArray[np.int64]:
    """How many pixels of each class a part holds; void is not counted.

    Args:
        labels: (H, W) integers.
        parts: (H, W) integers from 0.
        num_classes: how many there are, C.
        ignore_index: the label of void.

    Returns:
        (parts, C).

    ::

        >>> import numpy as np
        >>> counted(np.array([[0, 1, 1, 255]]), np.array([[0, 0, 1, 1]]), 2, 255).tolist()
        [[1, 1], [0, 1]]
    """
    known = labels != ignore_index
    both = parts[known] * num_classes + labels[known].astype(np.intp)
    return np.bincount(both, minlength=(parts.max() + 1) * num_classes).reshape(-1, num_classes)


def ceiling(dataset: Items, num_classes: int, kind: Kind = "slic", pixels: int = 60) -> Scores:
    """The scores of superpixels that are all given their commonest class, as if one knew it.

    No labelling of whole superpixels has a higher pixel accuracy; for mean IU it is an estimate.

    Args:
        dataset: items (image, labels), void 255.
        num_classes: how many there are.
        kind, pixels: as `segments`.

    Returns:
        As `ConfusionMatrix.compute`, over the whole data set.

    Raises:
        ValueError, ImportError: as `segments`.

    One pixel of 256 has a label that its superpixel does not::

        >>> import numpy as np
        >>> picture = np.zeros((3, 16, 16), np.uint8)
        >>> picture[:, :, 8:] = 200
        >>> labels = picture[0] // 200
        >>> labels[0, 0] = 1
        >>> round(256 * ceiling([(picture, labels)], 2, "felzenszwalb").pixel_accuracy)
        255
    """
    confusion = ConfusionMatrix(num_classes, ignore_index=255)
    for index in range(len(dataset)):
        image, mask = dataset[index]
        labels, parts = np.asarray(mask), segments(image, kind, pixels)
        confusion.update(counted(labels, parts, num_classes, 255).argmax(1)[parts], labels)
    return confusion.compute()


@dataclass(eq=False)
class Superpixels(Method):
    """A linear support vector machine on the mean and spread of features in each superpixel.

    Args:
        features: names in `features.FEATURES`; None for all of them.
        kind, size: of the superpixels, the `kind` and `pixels` of `segments`.

    The others are those of `Method`. A superpixel teaches the class that most of its pixels have.

    Dark left of light::

        >>> import numpy as np
        >>> picture = np.zeros((3, 16, 16), np.uint8)
        >>> picture[:, :, 8:] = 200
        >>> method = Superpixels(num_classes=2, features=["colour"], kind="felzenszwalb")
        >>> method.fit([(picture, picture[0] // 200)]).predict(picture)[0, ::2].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """

    pixels: int = 1_000_000
    features: Sequence[str] | None = None
    kind: Kind = "slic"
    size: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("kind", self.kind, get_args(Kind))

    def _learn(self, dataset: Items) -> None:
        features, labels = [], []
        for image, mask in whole_images(dataset, self):
            described_parts, parts = self._described(image)
            counts = counted(mask, parts, self.num_classes, self.ignore_index)
            known = counts.any(1)
            features.append(described_parts[known])
            labels.append(counts.argmax(1)[known])
        self.classifier = Classifier(linear_svm(self.seed), self.num_classes).fit(
            np.concatenate(features), np.concatenate(labels)
        )

    def _described(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        parts = segments(image, self.kind, self.size)
        return pooled(described(image, self.features), parts), parts

    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        features, parts = self._described(image)
        return self.classifier.probabilities(features).T[:, parts]
