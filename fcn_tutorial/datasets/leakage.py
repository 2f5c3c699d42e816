"""Proof that no image a model is trained on is scored as well.

The trap this guards against: 375 images of VOC 2011 val are in SBD's train list, under the same
names. A net trained on SBD and scored on all of VOC val is scored on its own training images.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_tutorial.datasets.formats.images import read_image
from fcn_tutorial.files import number_of

TESTS = ("name", "pixels", "likeness")
_SIDE = 16  # of the thumbnails compared for likeness
# Measured on CamVid at 480×360: JPEG of quality 20 moves a thumbnail by at most 0.033 of its
# contrast and resizing to a quarter by 0.036; the nearest frames of two splits differ by 0.27.
_ALIKE = 0.05
_FLAT = 2.0  # grey levels; below this contrast a thumbnail says nothing
_ROWS = 512


class Overlap(NamedTuple):
    """One image of both sets.

    Attributes:
        train: its file in the training set.
        evaluation: likewise.
        tests: those that found it, of "name", "pixels", "likeness".

    ::

        >>> found = Overlap(Path("train/1.png"), Path("val/1.png"), ("name",))
        >>> found.evaluation.parent.name, found.tests
        ('val', ('name',))
    """

    train: Path
    evaluation: Path
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Leakage:
    """What `report` found; true if anything did leak.

    Attributes:
        overlaps: pairs of (train, evaluation) files, in the order of the training set.
        train: how many images of it were compared.
        evaluation: likewise.
        tests: the tests that were made.

    ::

        >>> found = report(["train/1.png", "train/2.png"], ["val/3.png"], tests=["name"])
        >>> print(found)
        2 training and 1 evaluation image have none in common by name
        >>> found.assert_disjoint()
    """

    overlaps: tuple[Overlap, ...]
    train: int
    evaluation: int
    tests: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.overlaps)

    def __str__(self) -> str:
        compared = f"{self.train} training and {number_of(self.evaluation, 'evaluation image')}"
        if not self.overlaps:
            return f"{compared} have none in common by {', '.join(self.tests)}"
        leaked = len({overlap.evaluation for overlap in self.overlaps})
        shown = [f"{a} = {b} ({', '.join(tests)})" for a, b, tests in self.overlaps[:10]]
        more = [f"and {len(self.overlaps) - 10} pairs more"] if len(self.overlaps) > 10 else []
        head = f"{compared}: {leaked} of the latter are trained on"
        return "\n  ".join([head, *shown, *more])

    def assert_disjoint(self) -> None:
        """Check that no image is in both sets.

        Raises:
            ValueError: naming the first ten pairs, if any image is.
        """
        if self.overlaps:
            raise ValueError(f"{self}\n  take them out of one of the sets")


def report(train: Any, evaluation: Any, tests: Collection[str] = TESTS) -> Leakage:
    """Compare two sets of images: VOC with SBD, two splits of a folder, whatever lists its files.

    Reads each image once, some 400 a second and core at VOC's size, unless `tests` is ("name",).

    Args:
        train, evaluation: data sets with `files`, `Subset` and `ConcatDataset` of such, or
            iterables of image paths.
        tests: "name": the same file name without ending and folder, in any case. "pixels": the same
            size and decoded pixels. "likeness": the same picture saved again, with JPEG losses or
            at another size; crops, mirror images and edited colours are not found, nor are pictures
            of a single colour. Leave "name" out for files numbered anew in each split.

    Returns:
        A `Leakage`, which is true if any image is in both sets.

    Raises:
        TypeError: for data sets that list no files.
        ValueError: for an unknown test, a set without images or a damaged image.
        FileNotFoundError: for a missing image.

    A picture saved again as JPEG is found, another one is not::

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     names = [f"{folder}/{name}" for name in ("a.png", "b.jpg", "c.png")]
        ...     Image.radial_gradient("L").save(names[0])
        ...     Image.radial_gradient("L").save(names[1])
        ...     Image.linear_gradient("L").save(names[2])
        ...     found = report(names[:1], names[1:])
        >>> [(o.train.name, o.evaluation.name, o.tests) for o in found.overlaps]
        [('a.png', 'b.jpg', ('likeness',))]
    """
    for test in tests:
        if test not in TESTS:
            raise ValueError(f"tests={tests!r}: {test!r} is not one of {', '.join(TESTS)}")
    ours, theirs = (list(dict.fromkeys(image_files(data))) for data in (train, evaluation))
    if not ours or not theirs:
        raise ValueError(
            f"{len(ours)} training and {number_of(len(theirs), 'evaluation image')} to compare"
        )
    found: dict[tuple[int, int], list[str]] = defaultdict(list)
    if "name" in tests:
        names = ([path.stem.casefold() for path in files] for files in (ours, theirs))
        for pair in _equal(*names):
            found[pair].append("name")
    if "pixels" in tests or "likeness" in tests:
        prints = [[_fingerprint(path) for path in files] for files in (ours, theirs)]
        if "pixels" in tests:
            for pair in _equal(*([key for key, _ in side] for side in prints)):
                found[pair].append("pixels")
        if "likeness" in tests:
            for pair in _alike(*(np.stack([thumb for _, thumb in side]) for side in prints)):
                found[pair].append("likeness")
    overlaps = tuple(Overlap(ours[a], theirs[b], tuple(t)) for (a, b), t in sorted(found.items()))
    return Leakage(overlaps, len(ours), len(theirs), tuple(t for t in TESTS if t in tests))


def image_files(data: Any) -> Iterator[Path]:
    """The image files of a data set.

    Args:
        data: one with `files`, its `Subset`, a `ConcatDataset` of such, or a list of paths.

    Yields:
        Paths, in the order of the data set.

    Raises:
        TypeError: for what lists no files, and for a list of anything but paths.

    ::

        >>> [path.name for path in image_files(["val/1.png", "val/2.png"])]
        ['1.png', '2.png']
    """
    if hasattr(data, "files"):
        for entry in data.files:
            yield Path(entry[0] if isinstance(entry, tuple) else entry)
    elif hasattr(data, "dataset") and hasattr(data, "indices"):
        files = list(image_files(data.dataset))
        yield from (files[i] for i in data.indices)
    elif hasattr(data, "datasets"):
        for part in data.datasets:
            yield from image_files(part)
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | os.PathLike):
        for entry in data:
            if not isinstance(entry, str | os.PathLike):
                raise TypeError(f"{type(data).__name__} yields {type(entry).__name__}, not paths")
            yield Path(entry)
    else:
        raise TypeError(f"{type(data).__name__} has no `files`; give a list of image paths")


def _fingerprint(path: Path) -> tuple[bytes, NDArray[np.float64]]:
    """A digest of size and pixels, and the flattened thumbnail (768,), block means 0–255."""
    pixels = read_image(path)
    thumb = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return digest(pixels), np.asarray(thumb, np.float64).reshape(-1)


def digest(pixels: NDArray[Any]) -> bytes:
    """SHA-256 of a picture's size and values.

    Args:
        pixels: of any shape; values are told apart by their bytes, and so by their dtype.

    Returns:
        32 bytes.

    ::

        >>> wide, high = np.zeros((1, 2), np.uint8), np.zeros((2, 1), np.uint8)
        >>> len(digest(wide)), digest(wide) == digest(wide.copy()), digest(wide) == digest(high)
        (32, True, False)
    """
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()


def _equal(ours: Iterable[Any], theirs: Iterable[Any]) -> Iterator[tuple[int, int]]:
    places = defaultdict(list)
    for j, key in enumerate(theirs):
        places[key].append(j)
    for i, key in enumerate(ours):
        yield from ((i, j) for j in places.get(key, ()))


def _alike(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Pairs whose RMS difference is small against the lower of their contrasts; (N, 768) each."""
    contrast = [side.std(1) for side in (ours, theirs)]
    squares = [(side**2).mean(1) for side in (ours, theirs)]
    for start in range(0, len(ours), _ROWS):
        rows = slice(start, start + _ROWS)
        product = ours[rows] @ theirs.T / ours.shape[1]
        apart = squares[0][rows, None] + squares[1] - 2 * product
        least = np.minimum(contrast[0][rows, None], contrast[1])
        hits = np.argwhere((apart <= (_ALIKE * least) ** 2) & (least >= _FLAT))
        yield from ((start + int(i), int(j)) for i, j in hits)
