"""Operations to try by hand: convolution, crops, its transpose, layers, alignment, scores."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fcn_tutorial.geometry import Layer
from fcn_tutorial.playground.element import Element, rgb, still_picture

#: Kernels to begin with, by name.
KERNELS: Mapping[str, tuple[tuple[float, ...], ...]] = {
    "vertical edges": ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "horizontal edges": ((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
    "mean": ((1 / 9,) * 3,) * 3,
    "sharper": ((0, -1, 0), (-1, 5, -1), (0, -1, 0)),
    "one pixel": ((0, 0, 0), (0, 1, 0), (0, 0, 0)),
}


def convolution(
    picture: ArrayLike,
    *,
    alt: str,
    kernels: Mapping[str, Sequence[Sequence[float]]] = KERNELS,
) -> Element:
    """A 3×3 kernel to edit, with stride, padding and dilation, over a picture.

    Args:
        picture: (H, W), values from 0 to 1.
        alt: what is seen before the reader does anything.
        kernels: {name: (3, 3)}, to choose from; the first stands there at the beginning.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: for a picture of another form, for a kernel that is not 3×3, and as `Element`.

    ::

        >>> import numpy as np
        >>> element = convolution(np.eye(3), alt="A white diagonal on black.")
        >>> element.data["pixels"]
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        >>> [name for name, kernel in element.data["presets"]][:2]
        ['vertical edges', 'horizontal edges']
    """
    pixels = np.asarray(picture, float)
    if pixels.ndim != 2 or not ((pixels >= 0) & (pixels <= 1)).all():
        raise ValueError(f"picture of shape {pixels.shape}: (H, W) of values from 0 to 1 is shown")
    for name, kernel in kernels.items():
        if np.shape(kernel) != (3, 3):
            raise ValueError(f"kernel {name!r} has shape {np.shape(kernel)}, expected (3, 3)")
    # As a screen shows it: what the script multiplies is what the reader sees.
    shown = np.rint(255 * pixels).astype(np.uint8)
    data = {
        "pixels": np.round(shown / 255, 6).tolist(),
        "presets": [[name, np.asarray(kernel, float).tolist()] for name, kernel in kernels.items()],
    }
    return Element("convolution", data, alt, still_picture(shown, alt))


def deconvolution(size: int = 6, *, alt: str) -> Element:
    """A transposed convolution of cells to paint, with any kernel and stride.

    Args:
        size: cells on a side of the square, at least two.
        alt: what is seen before the reader does anything.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: for fewer than two cells, and as `Element`.

    ::

        >>> deconvolution(4, alt="Four by four cells to paint.")
        To play with: Four by four cells to paint.
        >>> deconvolution(1, alt="One cell.")
        Traceback (most recent call last):
        ValueError: size=1: two cells or more show how stamps overlap
    """
    if size < 2:
        raise ValueError(f"size={size}: two cells or more show how stamps overlap")
    return Element(
        "deconvolution",
        {"size": size},
        alt,
        still_picture(np.full((size, size), 255, np.uint8), alt),
    )


def fields(layers: Sequence[Layer], *, alt: str, pixels: int = 32) -> Element:
    """Layers to edit and stack, with the field, stride, place and number of the outputs of each.

    Args:
        layers: those at the beginning: convolutions and poolings, one at least.
        alt: what is seen before the reader does anything.
        pixels: of the row that the first layer reads.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: for no layers, for a deconvolution or one that rounds up, and as `Element`.

    Kernel, stride, padding and dilation of each::

        >>> from fcn_tutorial.geometry import Layer
        >>> layers = [Layer(3, padding=1), Layer(2, stride=2, kind="pool")]
        >>> fields(layers, alt="A convolution and a pooling.").data["layers"]
        [[3, 1, 1, 1], [2, 2, 0, 1]]
    """
    if not layers:
        raise ValueError("layers is empty; begin with one")
    if odd := [layer for layer in layers if layer.kind == "deconv" or layer.ceil]:
        raise ValueError(f"layers holds {odd[0]}: windows whose number is rounded down are shown")
    rows = [[layer.kernel, layer.stride, layer.padding, layer.dilation] for layer in layers]
    still = still_picture(np.full((8, pixels), 117, np.uint8), alt)
    return Element("fields", {"layers": rows, "pixels": pixels}, alt, still)


def alignment(
    scores: ArrayLike,
    truth: ArrayLike,
    factor: int,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    alt: str,
    ignore_index: int = 255,
) -> Element:
    """Coarse scores to be drawn over the labels that they belong to; the mean IU answers.

    The scores are enlarged, half-pixel aligned with repeated borders, at any shift.

    Args:
        scores: (C, h, w).
        truth: (H, W) integers, H = factor · h and W = factor · w.
        factor: by which the scores are enlarged.
        classes: the name of each class.
        palette: a colour (r, g, b) for each.
        alt: what is seen before the reader does anything.
        ignore_index: the label of void in `truth`.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: for shapes that do not belong together, and as `Element`.

    ::

        >>> import numpy as np
        >>> scores, truth = np.array([[[1, 0]], [[0, 1]]]), np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
        >>> names = {"classes": ["ground", "sky"], "palette": [(0, 0, 0), (0, 0, 255)]}
        >>> element = alignment(scores, truth, 2, **names, alt="Ground beside sky.")
        >>> np.shape(element.data["scores"]), np.shape(element.data["truth"])
        ((2, 1, 2), (2, 4))
    """
    values, labels = np.asarray(scores, float), _labels(truth, len(classes), ignore_index, "truth")
    if values.ndim != 3 or len(values) != len(classes):
        raise ValueError(f"scores of shape {values.shape} for {len(classes)} classes")
    if labels.shape != tuple(factor * n for n in values.shape[1:]):
        raise ValueError(f"truth of shape {labels.shape} for scores {values.shape} at 1/{factor}")
    data = {
        "scores": np.round(values, 4).tolist(),
        "truth": labels.tolist(),
        "factor": factor,
        "classes": list(classes),
        "palette": _colours(classes, palette),
        "ignore": ignore_index,
    }
    return Element("alignment", data, alt, still_picture(_painted(labels, palette), alt))


def crops(
    image: ArrayLike,
    shares: ArrayLike,
    stride: int,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    alt: str,
    shown: str = "all",
    start: tuple[int, int] = (0, 0),
) -> Element:
    """A window to drag over a picture, what a classifier says of it, and the map of one pass.

    Args:
        image: (H, W, 3) uint8.
        shares: (rows, columns, C), each class's probability for the square crop whose first pixel
            is there; rows = H − size + 1 and columns = W − size + 1. Shown to 1/255.
        stride: between the windows of the map, whose cells are `shares[::stride, ::stride]`.
        classes: the name of each class.
        palette: a colour (r, g, b) for each.
        alt: what is seen before the reader does anything.
        shown: the class whose map is drawn first; "all": the most probable one.
        start: row and column of the first window.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: for shapes that do not belong together, a class that is none, a window outside
            the picture, and as `Element`.

    Crops of 4×4 pixels have three places down and five across in a picture of 6×8::

        >>> import numpy as np
        >>> image, shares = np.zeros((6, 8, 3), np.uint8), np.full((3, 5, 2), 0.5)
        >>> names = {"classes": ["ground", "sky"], "palette": [(0, 0, 0), (0, 0, 255)]}
        >>> crops(image, shares, 2, **names, alt="Night.").data["size"]
        4
    """
    pixels, values = np.asarray(image), np.asarray(shares, float)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"image of shape {pixels.shape}, {pixels.dtype}: (H, W, 3) uint8 is shown")
    if (
        values.ndim != 3
        or values.shape[2] != len(classes)
        or not ((values >= 0) & (values <= 1)).all()
    ):
        raise ValueError(f"shares of shape {values.shape} for {len(classes)} classes, from 0 to 1")
    sizes = {n - m + 1 for n, m in zip(pixels.shape, values.shape[:2], strict=False)}
    if len(sizes) > 1 or min(sizes) < 1:
        raise ValueError(f"image of shape {pixels.shape}: no square crops at {values.shape[:2]}")
    if shown not in ("all", *classes):
        raise ValueError(f"shown={shown!r} is no class")
    if not all(0 <= at < n for at, n in zip(start, values.shape, strict=False)):
        raise ValueError(f"start={start}: the first pixel is one of {values.shape[:2]}")
    data = {
        "shares": base64.b64encode(np.rint(255 * values).astype(np.uint8).tobytes()).decode(),
        "rows": values.shape[0],
        "columns": values.shape[1],
        "size": sizes.pop(),
        "stride": stride,
        "classes": list(classes),
        "palette": _colours(classes, palette),
        "shown": shown if shown == "all" else list(classes).index(shown),
        "start": list(start),
    }
    return Element("crops", data, alt, still_picture(pixels, alt))


def confusion(
    truth: ArrayLike,
    answer: ArrayLike,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    alt: str,
    ignore_index: int = 255,
) -> Element:
    """A prediction to paint over; the confusion matrix and the four scores answer.

    Args:
        truth: (H, W) integers.
        answer: (H, W) integers, the prediction, in which nothing is void.
        classes: the name of each class.
        palette: a colour (r, g, b) for each.
        alt: what is seen before the reader does anything.
        ignore_index: the label of void in `truth`.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: for labels that are no class, for two shapes, and as `Element`.

    ::

        >>> names = {"classes": ["ground", "sky"], "palette": [(0, 0, 0), (0, 0, 255)]}
        >>> element = confusion([[1, 255], [0, 0]], [[1, 1], [1, 0]], **names, alt="Two by two.")
        >>> element.data["answer"]
        [[1, 1], [1, 0]]
    """
    labels = _labels(truth, len(classes), ignore_index, "truth")
    found = _labels(answer, len(classes), None, "answer")
    if labels.shape != found.shape:
        raise ValueError(f"truth of shape {labels.shape}, answer of shape {found.shape}")
    data = {
        "truth": labels.tolist(),
        "answer": found.tolist(),
        "classes": list(classes),
        "palette": _colours(classes, palette),
        "ignore": ignore_index,
    }
    return Element("confusion", data, alt, still_picture(_painted(labels, palette), alt))


def absent(matrix: ArrayLike, *, classes: Sequence[str], alt: str) -> Element:
    """Classes to take out of the truth of a confusion matrix; the mean IU answers.

    It is told under four conventions for classes that are not there (two of them are
    `metrics.score`'s).

    Args:
        matrix: (C, C) integers, rows the truth.
        classes: the name of each class.
        alt: what is seen before the reader does anything.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: for a matrix of another form, and as `Element`.

    ::

        >>> absent([[8, 2], [0, 5]], classes=["ground", "sky"], alt="Two pixels are wrong.")
        To play with: Two pixels are wrong.
        >>> absent([[8, 2]], classes=["ground", "sky"], alt="One row.")
        Traceback (most recent call last):
        ValueError: matrix of shape (1, 2), ...: whole numbers, a row and a column for each ...
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(classes), len(classes)) or counts.dtype.kind not in "iu":
        raise ValueError(
            f"matrix of shape {counts.shape}, {counts.dtype}: whole numbers, a row and a column "
            f"for each of {len(classes)} classes, are shown"
        )
    # Without scripts: the shares of the matrix, darker where there are more pixels.
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    pixels = np.kron(np.rint(255 * (1 - shares)), np.ones((8, 8))).astype(np.uint8)
    data = {"matrix": counts.tolist(), "classes": list(classes)}
    return Element("absent", data, alt, still_picture(pixels, alt))


def _labels(labels: ArrayLike, classes: int, ignore: int | None, name: str) -> NDArray[np.int64]:
    values = np.asarray(labels).astype(np.int64)
    odd = [int(v) for v in np.unique(values) if not (0 <= v < classes or v == ignore)]
    if values.ndim != 2 or odd:
        raise ValueError(
            f"{name} of shape {values.shape} holds {odd[:5]}; {classes} classes are known"
        )
    return values


def _colours(classes: Sequence[str], palette: Sequence[Sequence[int]]) -> list[list[int]]:
    if len(palette) != len(classes):
        raise ValueError(f"{len(classes)} classes and {len(palette)} colours; give one for each")
    return rgb(palette)


def _painted(labels: NDArray[np.int64], palette: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    table = np.full((256, 3), 128, np.uint8)
    table[: len(palette)] = palette
    return table[labels]
