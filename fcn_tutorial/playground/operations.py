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
    """A 3×3 kernel to edit, with stride, padding and dilation, over `picture` (H, W) of 0 to 1.

    Raises:
        ValueError: for a picture of another form, for a kernel that is not 3×3, and as `Element`.
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
    """A transposed convolution of `size`×`size` cells to paint, with any kernel and stride.

    Raises:
        ValueError: for fewer than two cells, and as `Element`.
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

    Raises:
        ValueError: for no layers, for a deconvolution or one that rounds up, and as `Element`.
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
    """Coarse scores (C, h, w) to be drawn over the labels (H, W) that they belong to.

    The map is enlarged by `factor`, half-pixel aligned with repeated borders, at any shift; the
    mean IU answers.

    Raises:
        ValueError: for shapes that do not belong together, and as `Element`.
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
        "palette": rgb(palette),
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
        shown: the class whose map is drawn first; "all": the most probable one.
        start: row and column of the first window.

    Raises:
        ValueError: for shapes that do not belong together, a class that is none, a window outside
            the picture, and as `Element`.
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
        "palette": rgb(palette),
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
    """A prediction (H, W) to paint over; the confusion matrix and the four scores answer.

    Raises:
        ValueError: for labels that are no class, for two shapes, and as `Element`.
    """
    labels = _labels(truth, len(classes), ignore_index, "truth")
    found = _labels(answer, len(classes), None, "answer")
    if labels.shape != found.shape:
        raise ValueError(f"truth of shape {labels.shape}, answer of shape {found.shape}")
    data = {
        "truth": labels.tolist(),
        "answer": found.tolist(),
        "classes": list(classes),
        "palette": rgb(palette),
        "ignore": ignore_index,
    }
    return Element("confusion", data, alt, still_picture(_painted(labels, palette), alt))


def absent(matrix: ArrayLike, *, classes: Sequence[str], alt: str) -> Element:
    """Classes to take out of the truth of a confusion matrix (C, C), rows the truth.

    The mean IU answers under four conventions for classes that are not there (two of them are
    `metrics.score`'s).

    Raises:
        ValueError: for a matrix of another form, and as `Element`.
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


def _painted(labels: NDArray[np.int64], palette: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    table = np.full((256, 3), 128, np.uint8)
    table[: len(palette)] = palette
    return table[labels]
