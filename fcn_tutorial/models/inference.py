"""What a network says of images of any size: part by part, over several scales and mirror images.

A picture or a map of scores is a `Lazy` here: its size, and a function that computes any part of
it. The scores of a part need the image a margin around it (`Network.margin`), and parts start where
the network's coarsest map has its places (`Network.grid`), so that what is computed part by part is
what the whole image gives, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fcn_tutorial.files import one_of
from fcn_tutorial.models.network import Network, size_of
from fcn_tutorial.transforms import holding_pixel, map_sample

#: Pixels up to which an image is taken in one piece, 2048 × 2048, about 3 GB in a VGG16 trunk.
LARGE = 1 << 22
#: Side in pixels of the parts of larger ones, without their margins.
TILE = 1024


Combine = Literal["mean", "max"]


class Part(NamedTuple):
    """A rectangle of pixels.

    Attributes:
        top: its first row.
        bottom: one past its last row.
        left: its first column.
        right: one past its last column.

    ::

        >>> torch.arange(12).view(3, 4)[Part(top=0, bottom=2, left=1, right=3).slices].tolist()
        [[1, 2], [5, 6]]
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[Any, slice, slice]:
        """What indexes it in a tensor (…, H, W)."""
        return ..., slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class Lazy:
    """A map of `size` (H, W) that is computed where it is asked for.

    Attributes:
        size: in pixels.
        read: a `Part` → its values (1, C, rows, columns), on the network's device and in its dtype.

    ::

        >>> ones = Lazy((480, 640), lambda part: torch.ones(1, 1, 480, 640)[part.slices])
        >>> ones.whole, ones.read(Part(0, 2, 0, 3)).shape
        (Part(top=0, bottom=480, left=0, right=640), torch.Size([1, 1, 2, 3]))
    """

    size: tuple[int, int]
    read: Callable[[Part], Tensor]

    @property
    def whole(self) -> Part:
        """All of it."""
        return Part(0, self.size[0], 0, self.size[1])


# ---- Answers -------------------------------------------------------------------------------------


def scores(
    model: Network,
    image: Tensor | Mapping[str, Tensor],
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    tile: int | None = None,
    combine: Combine = "mean",
) -> Tensor | dict[str, Tensor]:
    """Class probabilities of an image at its own size, averaged over `scales` and, with `flip`,
    over each scale's mirror image.

    Tiles change them by rounding only.

    Args:
        model: in evaluation mode.
        image: as `Network.predict` takes it: uint8 (3, H, W), or the dict of its parts.
        scales: the preprocessed image is resampled to each of these times its size (bilinear, and
            averaged where it shrinks), and the probabilities are resampled back.
        flip: take the image and its mirror image, left and right exchanged, at every scale.
        tile: largest side in pixels of what is computed at once, its margin left out, and at least
            as large as that; 0: the whole image. None takes an image of more than `LARGE` pixels,
            at the largest size the network sees of it, in tiles that have `TILE` pixels there.
        combine: "mean" of the probabilities; "max", the softmax of each class's largest score, as
            DeepLab joins its scales (arXiv 1606.00915v2, §4.1.2).

    Returns:
        Softmax probabilities (C, H, W); for several tasks a dict of them by task.

    Raises:
        RuntimeError: in training mode.
        ValueError: for scales that are not positive numbers, for a negative tile, for an unknown
            `combine`, and as `Network.predict`.

    Before training all classes are alike::

        >>> from fcn_tutorial.models import FCN
        >>> model = FCN("tiny", num_classes=5, width=1 / 16).eval()
        >>> image = torch.zeros(3, 32, 40, dtype=torch.uint8)
        >>> found = scores(model, image, scales=(0.5, 1.0), flip=True)
        >>> found.shape, [round(share, 3) for share in found[:, 0, 0].tolist()]
        (torch.Size([5, 32, 40]), [0.2, 0.2, 0.2, 0.2, 0.2])
    """
    like = next(model.parameters())
    found = torch.empty(model.num_classes, *size_of(image), dtype=like.dtype, device=like.device)
    for part, values in probabilities(model, image, scales, flip, tile, combine):
        found[part.slices] = values
    return model.unnamed(model.split(found, 0))


@torch.no_grad()
def probabilities(
    model: Network,
    image: Tensor | Mapping[str, Tensor],
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    tile: int | None = None,
    combine: Combine = "mean",
) -> Iterator[tuple[Part, Tensor]]:
    """`scores` one part after the other, of which one at a time is in memory.

    Args:
        model: as in `scores`, like all others.
        image: likewise.
        scales: likewise.
        flip: likewise.
        tile: likewise.
        combine: likewise.

    Yields:
        (part, values), each pixel once. Values are (ΣC, rows, columns), the tasks' classes one
        after the other; of a picture that is shrunk (`Network.longest_side`) each pixel has those
        of the larger one that it lies in.

    Raises:
        RuntimeError, ValueError: as `scores`.

    ::

        >>> from fcn_tutorial.models import FCN
        >>> model = FCN("tiny", num_classes=5, width=1 / 16).eval()
        >>> image = torch.zeros(3, 100, 300, dtype=torch.uint8)
        >>> for part, values in probabilities(model, image, tile=150):
        ...     print(part.left, part.right, tuple(values.shape))
        0 150 (5, 100, 150)
        150 300 (5, 100, 150)
    """
    model.check_inputs(image, "scores")
    one_of("combine", combine, _COMBINED)
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise ValueError(f"scales={tuple(scales)}: expected at least one, each more than 0")
    if tile is not None and tile < 0:
        raise ValueError(f"tile={tile}: expected the side of a tile in pixels, or 0 for no tiles")
    seen = map_sample(model.limited, image)
    answer = _COMBINED[combine](model, pixels(model, seen), scales, flip)
    side = _side(model, answer.size, max(scales), tile)
    found = ((part, answer.read(part)[0]) for part in parts(answer.size, side))
    if size_of(seen) == size_of(image):
        yield from found
        return
    small = torch.empty(model.num_classes, *size_of(seen))
    for part, values in found:
        small[part.slices] = values
    yield from spread(small, size_of(image))


def spread(small: Tensor, size: tuple[int, int]) -> Iterator[tuple[Part, Tensor]]:
    """Values of a shrunk picture at its own size, part by part: see `probabilities`.

    Args:
        small: (C, h, w).
        size: (H, W) of the picture.

    Yields:
        (part, values), each pixel once; those of the larger pixel that it lies in.

    ::

        >>> [values.tolist() for part, values in spread(torch.tensor([[[0.0, 1.0]]]), (1, 4))]
        [[[[0.0, 0.0, 1.0, 1.0]]]]
    """
    pairs = zip(size, size_of(small), strict=True)
    rows, columns = (holding_pixel(want, have) for want, have in pairs)
    for part in parts(size, TILE):
        inside = rows[part.top : part.bottom, None], columns[part.left : part.right]
        yield part, small[:, inside[0], inside[1]]


def _side(model: Network, size: tuple[int, int], scale: float, tile: int | None) -> int:
    """The side of tiles of an image that is seen at `scale` at most; 0: the whole."""
    seen = scale * model.magnification
    if model.plain.margin() is None:
        return 0
    if tile is None:
        large = math.prod(size) * seen**2 > LARGE
        return max(1, int(TILE / seen)) if large else 0
    # Smaller ones save no memory that counts, and see every pixel hundreds of times.
    return max(tile, int((model.margin() or 0) / seen)) if tile else 0


def parts(size: tuple[int, int], tile: int) -> Iterator[Part]:
    """Rectangles that cover an image once.

    Args:
        size: (H, W) of the image.
        tile: what no side is longer than; 0: one rectangle, the whole.

    Yields:
        One after the other, row by row, of sides as equal as can be.

    ::

        >>> [(part.left, part.right) for part in parts((4, 10), tile=4)]
        [(0, 3), (3, 6), (6, 10)]
    """
    cuts = []
    for n in size:
        pieces = -(-n // tile) if tile else 1
        cuts.append([i * n // pieces for i in range(pieces + 1)])
    rows, columns = ([*pairwise(c)] for c in cuts)
    for top, bottom in rows:
        for left, right in columns:
            yield Part(top, bottom, left, right)


# ---- Maps of maps --------------------------------------------------------------------------------


def pixels(model: Network, image: Tensor | Mapping[str, Tensor]) -> Lazy:
    """An image, preprocessed where it is read; in memory it stays as it is.

    Args:
        model: knows how, and where to.
        image: as `Network.predict` takes it.

    Returns:
        A map of the image's size.

    ::

        >>> from fcn_tutorial.models import FCN
        >>> image = torch.zeros(3, 32, 40, dtype=torch.uint8)
        >>> prepared = pixels(FCN("tiny", num_classes=5, width=1 / 16), image)
        >>> prepared.size, prepared.read(Part(0, 2, 0, 3)).shape
        ((32, 40), torch.Size([1, 3, 2, 3]))
    """
    like = next(model.parameters())

    def read(part: Part) -> Tensor:
        cut = map_sample(lambda t: t[part.slices].to(like.device)[None], image)
        prepared: Tensor = model.preprocess(cut)
        return prepared.to(like.dtype)

    return Lazy(size_of(image), read)


def averaged(model: Network, image: Lazy, scales: Sequence[float], flip: bool) -> Lazy:
    """Probabilities over every scale and, with `flip`, mirror image: their mean.

    Args:
        model: in evaluation mode.
        image: as `pixels` gives it.
        scales: as in `scores`, like the one below.
        flip: likewise.

    Returns:
        A map of the image's size; of each task the classes sum to one.

    ::

        >>> from fcn_tutorial.models import FCN
        >>> model = FCN("tiny", num_classes=4, width=1 / 16).eval()
        >>> image = pixels(model, torch.zeros(3, 32, 40, dtype=torch.uint8))
        >>> found = averaged(model, image, scales=(1.0,), flip=True)
        >>> found.read(Part(0, 1, 0, 1)).flatten().tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    passes = _passes(model, image, scales, flip, lambda found: _softmax(model, found))

    def read(part: Part) -> Tensor:
        return reduce(torch.add, (one.read(part) for one in passes)) / len(passes)

    return Lazy(image.size, read)


def strongest(model: Network, image: Lazy, scales: Sequence[float], flip: bool) -> Lazy:
    """Probabilities of the largest score that each class has at any scale or mirror image.

    Args:
        model: as in `averaged`, like all others.
        image: likewise.
        scales: likewise.
        flip: likewise.

    Returns:
        As `averaged`.

    ::

        >>> from fcn_tutorial.models import FCN
        >>> model = FCN("tiny", num_classes=4, width=1 / 16).eval()
        >>> image = pixels(model, torch.zeros(3, 32, 40, dtype=torch.uint8))
        >>> found = strongest(model, image, scales=(1.0,), flip=True)
        >>> found.read(Part(0, 1, 0, 1)).flatten().tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    passes = _passes(model, image, scales, flip, lambda found: found)

    def read(part: Part) -> Tensor:
        return reduce(torch.maximum, (one.read(part) for one in passes))

    return _softmax(model, Lazy(image.size, read))


_COMBINED = {"mean": averaged, "max": strongest}


def _passes(
    model: Network,
    image: Lazy,
    scales: Sequence[float],
    flip: bool,
    finish: Callable[[Lazy], Lazy],
) -> list[Lazy]:
    """What the network says at each scale and mirror image, finished, at the size of the image."""
    passes = []
    for scale in scales:
        size = _scaled(image.size, scale)
        passes.append(resized(finish(scored(model, resized(image, size))), image.size))
        if flip:
            mirrored = resized(flipped(image), size)
            passes.append(flipped(resized(finish(scored(model, mirrored)), image.size)))
    return passes


def scored(model: Network, image: Lazy) -> Lazy:
    """The network's scores, of which a part is computed from the image with a margin around it.

    Args:
        model: in evaluation mode.
        image: as `pixels` gives it.

    Returns:
        A map of the image's size, (1, ΣC, rows, columns) where it is read.

    ::

        >>> from fcn_tutorial.models import FCN
        >>> model = FCN("tiny", num_classes=5, width=1 / 16).eval()
        >>> image = pixels(model, torch.zeros(3, 32, 40, dtype=torch.uint8))
        >>> scored(model, image).read(Part(0, 2, 0, 3)).shape
        torch.Size([1, 5, 2, 3])
    """
    larger = _scaled(image.size, model.magnification)
    return resized(_scored(model.plain, resized(image, larger)), image.size)


def _scored(model: Network, image: Lazy) -> Lazy:
    margin, grid = model.margin(), model.grid()
    around = max(image.size) if margin is None else margin

    def read(part: Part) -> Tensor:
        # Starting on the grid of the coarsest map, every layer finds its windows where they were.
        top, left = (max(0, first - around) // grid * grid for first in (part.top, part.left))
        bottom, right = (
            min(n, last + around)
            for n, last in zip(image.size, (part.bottom, part.right), strict=True)
        )
        seen = image.read(Part(top, bottom, left, right))
        fine: Tensor = model.full_scores(seen.contiguous(memory_format=torch.channels_last))
        return fine[..., part.top - top : part.bottom - top, part.left - left : part.right - left]

    return Lazy(image.size, read)


def flipped(source: Lazy) -> Lazy:
    """The mirror image, left and right exchanged.

    Args:
        source: any map.

    Returns:
        One of the same size.

    ::

        >>> line = Lazy((1, 4), lambda part: torch.arange(4.0).view(1, 1, 1, 4)[part.slices])
        >>> flipped(line).read(Part(0, 1, 0, 2)).tolist()
        [[[[3.0, 2.0]]]]
    """
    width = source.size[1]

    def read(part: Part) -> Tensor:
        mirrored = Part(part.top, part.bottom, width - part.right, width - part.left)
        return source.read(mirrored).flip(-1)

    return Lazy(source.size, read)


def resized(source: Lazy, size: tuple[int, int]) -> Lazy:
    """A map at another size: bilinear, over the pixels that become one where it shrinks.

    The same as `interpolate(mode="bilinear", antialias=True)`, of which a part takes some rows and
    columns only.

    Args:
        source: any map.
        size: (H, W) that is wanted.

    Returns:
        A map of that size; `source` where it has it.

    ::

        >>> line = Lazy((1, 2), lambda part: torch.tensor([[[[0.0, 4.0]]]])[part.slices])
        >>> resized(line, (1, 4)).read(Part(0, 1, 0, 4)).tolist()
        [[[[0.0, 1.0, 3.0, 4.0]]]]
    """
    if source.size == size:
        return source

    def read(part: Part) -> Tensor:
        if part == Part(0, size[0], 0, size[1]):
            return interpolate(source.read(source.whole), size, mode="bilinear", antialias=True)
        top, bottom = _support(part.top, part.bottom, source.size[0], size[0])
        left, right = _support(part.left, part.right, source.size[1], size[1])
        values = source.read(Part(top, bottom, left, right))
        rows = resampling_matrix(source.size[0], size[0], (part.top, part.bottom), (top, bottom))
        columns = resampling_matrix(source.size[1], size[1], (part.left, part.right), (left, right))
        return rows.to(values) @ values @ columns.to(values).T

    return Lazy(size, read)


def resampling_matrix(
    n: int,
    size: int,
    rows: tuple[int, int] | None = None,
    columns: tuple[int, int] | None = None,
) -> Tensor:
    """The matrix that resamples a line of values, as `resized` does.

    Weights fall linearly with the distance of pixel centres, to nothing at one pixel of the coarser
    line.

    Args:
        n: values of the line.
        size: values that are wanted.
        rows, columns: the first and one past the last that are wanted; by default all. A row sums
            to one where `columns` hold all that it reads.

    Returns:
        (size, n) float64 on the CPU, or the rows and columns of it that are wanted.

    ::

        >>> resampling_matrix(n=2, size=4).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    first, last = rows or (0, size)
    low, high = columns or (0, n)
    # Centres (j + 1/2) of n and (y + 1/2)·n/size of size pixels, times 2·size: whole numbers.
    there = (2 * torch.arange(low, high) + 1) * size
    here = (2 * torch.arange(first, last) + 1) * n
    reach = 2 * torch.sym_max(n, size)
    rise = (reach - (here[:, None] - there).abs()).clamp(min=0).double()
    weights: Tensor = rise / rise.sum(1, keepdim=True)
    return weights


def _support(first: int, last: int, n: int, size: int) -> tuple[int, int]:
    """The values of `n` that rows first … last − 1 of `size` read, as a range."""
    widest = max(n, size)
    low = ((2 * first + 1) * n - 2 * widest) // (2 * size)
    high = -(-((2 * last - 1) * n + 2 * widest) // (2 * size))
    return max(0, low), min(n, high)


def _softmax(model: Network, source: Lazy) -> Lazy:
    """Probabilities of each task's classes."""

    def read(part: Part) -> Tensor:
        by_task = model.split(source.read(part)).values()
        return torch.cat([values.softmax(1) for values in by_task], 1)

    return Lazy(source.size, read)


# ---- Sizes ---------------------------------------------------------------------------------------


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
