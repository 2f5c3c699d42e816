"""What all methods before FCN share: how they are called, and what they are given to learn from.

`Baseline` is the protocol: `fit` on a data set of (image, mask) items, then `predict` one image at
a time. `Method` is the base of those that know more than a label: a probability for each class.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fcn_tutorial.metrics import ConfusionMatrix

#: An image as methods take it: uint8 (3, H, W).
Image = torch.Tensor | NDArray[np.uint8]
#: An image uint8 (3, H, W) and its labels (H, W).
Labelled = tuple[NDArray[np.uint8], NDArray[np.integer]]


class Items(Protocol):
    """A data set: items are (image (3, H, W) uint8, mask (H, W) integer with void)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


class Baseline(Protocol):
    """A method that learns from a data set and labels one image at a time.

    Attributes:
        num_classes: how many classes there are.
        ignore_index: the label of void pixels.

    Whatever has these and the two methods is one, such as an answer that is always 0::

        >>> import numpy as np
        >>> class Ground:
        ...     num_classes, ignore_index = 2, 255
        ...     def fit(self, dataset):
        ...         return self
        ...     def predict(self, image):
        ...         return np.zeros(image.shape[1:], np.uint8)
        >>> data = [(np.zeros((3, 2, 2), np.uint8), np.array([[0, 0], [0, 1]]))]
        >>> print(f"{evaluate(Ground().fit(data), data).compute().pixel_accuracy:.2f}")
        0.75
    """

    num_classes: int
    ignore_index: int

    def fit(self, dataset: Items) -> Self:
        """Learn from (image, mask) items; void pixels teach nothing."""
        ...

    def predict(self, image: Image) -> NDArray[np.uint8]:
        """Class indices (H, W) uint8 of an image (3, H, W) uint8."""
        ...


@dataclass(eq=False)
class Method(ABC):
    """A method that gives every pixel of an image a probability for each class.

    What it learns depends on its arguments and the data set alone. A subclass has `_learn`, called
    by `fit`, and `_probabilities`.

    Args:
        num_classes: how many there are, at most 255.
        ignore_index: the label of void pixels, which teach nothing.
        pixels: training pixels, drawn evenly from `images` items spread evenly over the data set.
            A method that learns from whole images takes as many as hold so many pixels.
        images: items that are looked at, at most.
        seed: of all that is random.

    Raises:
        ValueError: for values out of their range.

    A method that takes a pixel's lightness for the probability of class 1::

        >>> import numpy as np
        >>> class Light(Method):
        ...     def _learn(self, dataset):
        ...         pass
        ...     def _probabilities(self, image):
        ...         return np.stack([1 - image.mean(0) / 255, image.mean(0) / 255])
        >>> picture = np.array([[[10, 200]]] * 3, np.uint8)  # one dark pixel, one light
        >>> Light(num_classes=2).fit([]).predict(picture).tolist()
        [[0, 1]]
    """

    num_classes: int
    ignore_index: int = 255
    pixels: int = 60_000
    images: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        checked(self.num_classes)
        at_least_one(pixels=self.pixels, images=self.images)
        self.fitted = False

    def fit(self, dataset: Items) -> Self:
        """Learn from (image, mask) items.

        Raises:
            ValueError: if no pixel that it looks at has a class, and for labels that are neither a
                class nor void.
        """
        self._learn(dataset)
        self.fitted = True
        return self

    def predict(self, image: Image) -> NDArray[np.uint8]:
        """The likeliest class of each pixel, (H, W) uint8, of an image (3, H, W) uint8.

        Raises:
            RuntimeError: before `fit`.
            ValueError: for an image of another type or shape.
        """
        labels: NDArray[np.uint8] = self.probabilities(image).argmax(0).astype(np.uint8)
        return labels

    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """(C, H, W) float32, summing to one at each pixel; a class never seen has the least.

        Arguments and errors as those of `predict`.
        """
        return self._probabilities(self.checked(image))

    def checked(self, image: Image) -> NDArray[np.uint8]:
        """The image as an array.

        Raises:
            RuntimeError: before `fit`.
            ValueError: as `predict`.
        """
        pixels = pixels_of(image)
        if not self.fitted:
            raise RuntimeError(f"{type(self).__name__} has seen no data: call fit(dataset) first")
        return pixels

    @abstractmethod
    def _learn(self, dataset: Items) -> None:
        """What `fit` does."""

    @abstractmethod
    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What `probabilities` gives for a checked image."""


def evaluate(baseline: Baseline, dataset: Items) -> ConfusionMatrix:
    """One confusion matrix over every item of a data set, void pixels left out.

    Args:
        baseline: fitted.
        dataset: items (image, labels), as it was fitted on.

    Returns:
        A matrix whose `compute()` gives the scores.

    Raises:
        ValueError: for labels as `ConfusionMatrix.update`.

    ::

        >>> import numpy as np
        >>> from fcn_tutorial.prior import MajorityClass
        >>> data = [(np.zeros((3, 2, 2), np.uint8), np.array([[0, 0], [1, 255]]))]
        >>> evaluate(MajorityClass(num_classes=2).fit(data), data).matrix.tolist()
        [[2, 0], [1, 0]]
    """
    confusion = ConfusionMatrix(baseline.num_classes, ignore_index=baseline.ignore_index)
    for index in range(len(dataset)):
        image, mask = dataset[index]
        confusion.update(baseline.predict(image), np.asarray(mask))
    return confusion


# ---- What they learn from ------------------------------------------------------------------------


class Sample(NamedTuple):
    """Pixels of one item: the image uint8 (3, H, W), flat indices (n,), and their labels (n,)."""

    image: NDArray[np.uint8]
    where: NDArray[np.intp]
    labels: NDArray[np.integer]


class Learner(Protocol):
    """What `sampled` needs to know of a method: the arguments of `Method`."""

    num_classes: int
    ignore_index: int
    pixels: int
    images: int
    seed: int


def sampled(dataset: Items, method: Learner) -> Iterator[Sample]:
    """Each image's share of `method.pixels`, drawn at random from those that are not void.

    Raises:
        ValueError: for labels that are neither a class nor void and, after the last item, where no
            pixel had a class.
    """
    rng = np.random.default_rng(method.seed)
    count = min(method.images, len(dataset))
    for image, labels in _spread(dataset, method, count):
        where = np.flatnonzero(labels != method.ignore_index)
        share = min(where.size, -(-method.pixels // count))
        chosen = rng.choice(where, share, replace=False)
        yield Sample(image, chosen, labels.ravel()[chosen])


def places(
    samples: Sequence[Sample],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Where the pixels of samples are: which sample, row and column, each (n,)."""
    which = np.repeat(np.arange(len(samples)), [len(sample.where) for sample in samples])
    spots = [np.unravel_index(s.where, s.image.shape[1:]) for s in samples]
    row, column = (np.concatenate([spot[axis] for spot in spots]) for axis in (0, 1))
    return which, row, column


def gathered(
    dataset: Items, method: Learner, describe: Callable[[NDArray[np.uint8]], NDArray[Any]]
) -> tuple[NDArray[Any], NDArray[np.integer]]:
    """The features (n, D) and labels (n,) of `sampled` pixels.

    `describe` gives an image's features (H, W, D).

    Raises:
        ValueError: as `sampled`.
    """
    features, labels = [], []
    for image, where, found in sampled(dataset, method):
        described = describe(image)
        features.append(described.reshape(-1, described.shape[-1])[where])
        labels.append(found)
    return np.concatenate(features), np.concatenate(labels)


def whole_images(dataset: Items, method: Learner) -> Iterator[Labelled]:
    """As many (image, labels (H, W)) as hold `method.pixels` pixels, spread over the data set.

    Raises:
        ValueError: as `sampled`.
    """
    size = _item(dataset, 0, method)[1].size if len(dataset) else 1
    count = min(method.images, len(dataset), max(1, method.pixels // size))
    return _spread(dataset, method, count)


def _spread(dataset: Items, method: Learner, count: int) -> Iterator[Labelled]:
    """So many items.

    Raises:
        ValueError: at the end where none of them had a labelled pixel.
    """
    found = False
    for index in np.linspace(0, len(dataset) - 1, count).astype(int):
        image, labels = _item(dataset, int(index), method)
        found |= bool((labels != method.ignore_index).any())
        yield image, labels
    if not found:
        raise ValueError(nothing_to_learn(dataset, method.ignore_index, count))


def _item(dataset: Items, index: int, method: Learner) -> Labelled:
    image, mask = dataset[index]
    pixels, labels = pixels_of(image), np.asarray(mask)
    if pixels.shape[1:] != labels.shape:
        raise ValueError(
            f"item {index}: an image of {pixels.shape[1:]} and a mask of {labels.shape} pixels"
        )
    known(labels, method)  # complain about labels that are neither class nor void
    return pixels, labels


# ---- Checks --------------------------------------------------------------------------------------


class _Labels(Protocol):
    num_classes: int
    ignore_index: int


def nothing_to_learn(dataset: Items, ignore_index: int, looked_at: int | None = None) -> str:
    """Why there is nothing to learn where no item, or none of so many, has a labelled pixel."""
    n = len(dataset)
    part = looked_at is not None and looked_at < n
    items = f"{looked_at} items that were looked at, of {n}," if part else f"{n} items"
    remedy = "look at more (images=, pixels=), or check the masks" if part else "check the masks"
    return f"none of the {items} has a pixel that is not void ({ignore_index}): {remedy}"


def checked(num_classes: int) -> int:
    """The number of classes.

    Raises:
        ValueError: for one that a byte beside void cannot hold.
    """
    if not 1 <= num_classes <= 255:
        raise ValueError(f"num_classes={num_classes}: from 1 to 255, one byte beside void")
    return num_classes


def at_least_one(**values: int) -> None:
    """Check that each of these is at least 1.

    Raises:
        ValueError: naming the first that is below.
    """
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name}={value}: at least 1 is needed")


def pixels_of(image: Image) -> NDArray[np.uint8]:
    """An image as an array (3, H, W).

    Raises:
        ValueError: for another type or shape.
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[0] != 3 or not pixels.size:
        raise ValueError(
            f"image is {pixels.dtype} {pixels.shape}: give uint8 (3, H, W), before normalisation"
        )
    return pixels


def known(labels: NDArray[np.integer], method: _Labels) -> NDArray[np.integer]:
    """The labels (n,) that are not void.

    Raises:
        ValueError: for one that is not a class.
    """
    found: NDArray[np.integer] = labels[labels != method.ignore_index]
    if found.size and not 0 <= int(found.min()) <= int(found.max()) < method.num_classes:
        raise ValueError(
            f"mask holds labels {found.min()} to {found.max()} beside void "
            f"{method.ignore_index}, but num_classes={method.num_classes}: check both"
        )
    return found
