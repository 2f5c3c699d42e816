"""The layers of a fully convolutional network in plain NumPy, each beside its definition.

For reading, and as a second opinion on the fast versions: one image at a time, without a batch
axis, and loops over output pixels. An image is (C, H, W). Every input is read as float64, and
every array returned is float64; torch is not needed. Output sizes come from `geometry`.

A convolution is linear in the image, so it is also a matrix: `convolution_matrix` builds it, and
`transposed_convolution` is the product with its transpose. So is average pooling
(`average_pooling_matrix`); max pooling and the nonlinearities are not linear and have none.
"""

from collections.abc import Iterator
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fcn_tutorial.geometry import Layer, output_size

__all__ = [
    "average_pool",
    "average_pooling_matrix",
    "convolution_matrix",
    "convolve",
    "cross_correlate",
    "cross_entropy",
    "max_pool",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
    "transposed_convolution",
]

Array: TypeAlias = NDArray[np.float64]


# ---- convolution --------------------------------------------------------------------------------


def cross_correlate(
    image: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """What deep learning calls a convolution: the kernel is laid on the image as it is.

    ::

        out[o, y, x] = bias[o]
            + Σ_{c, i, j} weight[o, c, i, j] · image[c, s·y + d·i − p, s·x + d·j − p]

    with stride s, padding p, dilation d, and an image that is zero outside its borders.

    Args:
        image: (C, H, W).
        weight: (K, C, k, k).
        bias: (K,), zero by default.
        stride, padding, dilation: s, p and d, in pixels, for both axes.

    Returns:
        (K, H', W') float64, H' = ⌊(H + 2p − d·(k − 1) − 1) / s⌋ + 1 and W' alike.

    Raises:
        ValueError: for shapes that do not fit, and where no output would be left.

    ::

        >>> point = [[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]
        >>> cross_correlate(point, [[[[1, 2], [3, 4]]]])  # a point shows the kernel turned by 180°
        array([[[4., 3.],
                [2., 1.]]])
    """
    image, weight = _read("image", image, "CHW"), _read_weight(weight, "KC")
    _check_channels(len(image), weight.shape[1], "weight.shape[1]")
    bias = np.zeros(len(weight)) if bias is None else _read("bias", bias, "K")
    if len(bias) != len(weight):
        raise ValueError(f"bias has {len(bias)} values for {len(weight)} filters: give one each")
    layer = Layer(weight.shape[-1], stride, padding, dilation)
    padded = _pad(image, padding, 0.0)
    out = np.zeros((len(weight), *_map_size(layer, image.shape)))
    for y, x, window in _windows(layer, out.shape):
        out[:, y, x] = bias + (weight * padded[window]).sum(axis=(1, 2, 3))
    return out


def convolve(
    image: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """The convolution of mathematics: `cross_correlate` with the kernel turned by 180°.

    ::

        out[o, y, x] = bias[o]
            + Σ_{c, i, j} weight[o, c, k−1−i, k−1−j] · image[c, s·y + d·i − p, s·x + d·j − p]

    A network that learns its kernels cannot tell the two apart.

    Args:
        image, weight, bias, stride, padding, dilation: as in `cross_correlate`.

    Returns:
        (K, H', W') float64, as of `cross_correlate`.

    Raises:
        ValueError: as `cross_correlate`.

    ::

        >>> point = [[[0, 0, 0], [0, 1, 0], [0, 0, 0]]]
        >>> convolve(point, [[[[1, 2], [3, 4]]]])  # a point shows the kernel as it is
        array([[[1., 2.],
                [3., 4.]]])
    """
    turned = _read_weight(weight, "KC")[:, :, ::-1, ::-1]
    return cross_correlate(image, turned, bias, stride, padding, dilation)


def convolution_matrix(
    weight: ArrayLike,
    input_shape: tuple[int, int, int],
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """The matrix M of a cross-correlation: `M @ image.ravel()` is its output, ravelled.

    Row (o, y, x) holds weight[o, c, i, j] in column (c, s·y + d·i − p, s·x + d·j − p), and zero
    elsewhere; a tap that falls on the padding has no column. With the kernel turned by 180°,
    weight[:, :, ::-1, ::-1], it is the matrix of `convolve`.

    Args:
        weight: (K, C, k, k).
        input_shape: (C, H, W) of the image.
        stride, padding, dilation: as in `cross_correlate`.

    Returns:
        (K·H'·W', C·H·W) float64, dense, for small images only.

    Raises:
        ValueError: as `cross_correlate` does.

    ::

        >>> convolution_matrix([[[[1, 2], [3, 4]]]], input_shape=(1, 2, 3))  # 6 pixels → 2
        array([[1., 2., 0., 3., 4., 0.],
               [0., 1., 2., 0., 3., 4.]])
    """
    weight = _read_weight(weight, "KC")
    channels, height, width = _read_shape(input_shape)
    _check_channels(channels, weight.shape[1], "weight.shape[1]")
    layer = Layer(weight.shape[-1], stride, padding, dilation)
    out_height, out_width = _map_size(layer, input_shape)
    matrix = np.zeros((len(weight), out_height, out_width, channels, height, width))
    taps = range(layer.kernel)
    for y, x, i, j in product(range(out_height), range(out_width), taps, taps):
        row, column = stride * y + dilation * i - padding, stride * x + dilation * j - padding
        if 0 <= row < height and 0 <= column < width:
            matrix[:, y, x, :, row, column] = weight[:, :, i, j]
    return matrix.reshape(len(weight) * out_height * out_width, channels * height * width)


def transposed_convolution(
    image: ArrayLike,
    weight: ArrayLike,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
) -> Array:
    """A deconvolution: every input pixel adds its multiple of the kernel to the output.

    ::

        out[o, s·y + d·i − p, s·x + d·j − p] += image[c, y, x] · weight[c, o, i, j]

    for all c, y, x, i, j; what lands outside the output is dropped. This is
    `convolution_matrix(weight, out.shape, …).T @ image.ravel()`: the convolution that reads
    (y, x) from a window now writes it back to that window. It undoes the shape, not the values.

    Args:
        image: (C, H, W).
        weight: (C, K, k, k), the weight of the convolution K → C that it transposes.
        stride: output pixels from one input pixel's kernel to the next, s.
        padding: rows and columns dropped at every side of the output, p.
        dilation: output pixels from one tap of the kernel to the next, d.
        output_padding: rows and columns more at the bottom and right, below `stride`: the sizes
            that the convolution rounds down to the same H and W.

    Returns:
        (K, H', W') float64, H' = (H − 1)·s − 2p + d·(k − 1) + 1 + output_padding, W' alike.

    Raises:
        ValueError: for shapes that do not fit, an `output_padding` outside 0 … stride − 1, and
            where no output would be left.

    ::

        >>> transposed_convolution([[[1, 10]]], [[[[1, 2], [3, 4]]]], stride=2)
        array([[[ 1.,  2., 10., 20.],
                [ 3.,  4., 30., 40.]]])
    """
    image, weight = _read("image", image, "CHW"), _read_weight(weight, "CK")
    _check_channels(len(image), len(weight), "weight.shape[0]")
    layer = Layer(weight.shape[-1], stride, padding, dilation, kind="deconv")
    if not 0 <= output_padding < stride:
        raise ValueError(
            f"output_padding must be from 0 to stride − 1 = {stride - 1}, got {output_padding}"
        )
    height, width = (size + output_padding for size in _map_size(layer, image.shape))
    canvas = np.zeros((weight.shape[1], height + 2 * padding, width + 2 * padding))
    for y, x, window in _windows(layer, image.shape):
        canvas[window] += np.tensordot(image[:, y, x], weight, axes=1)
    return canvas[:, padding : padding + height, padding : padding + width]


# ---- pooling ------------------------------------------------------------------------------------


def max_pool(
    image: ArrayLike,
    kernel: int,
    stride: int,
    padding: int = 0,
    dilation: int = 1,
    ceil: bool = False,
) -> Array:
    """The largest value of each window, channel by channel.

    ::

        out[c, y, x] = max_{i, j} image[c, s·y + d·i − p, s·x + d·j − p]

    over the taps inside the image: padding counts as −∞, as in PyTorch. It has no matrix: the
    largest of a sum of images is not the sum of their largest. A convolution of the same stride,
    with a kernel that is learned, is the linear layer that can take its place.

    Args:
        image: (C, H, W).
        kernel: side of the window in taps.
        stride, padding, dilation: s, p and d, in pixels, for both axes.
        ceil: round the output size up, so that the last windows may reach over the border; they
            still start inside the image or its left padding.

    Returns:
        (C, H', W') float64.

    Raises:
        ValueError: for another shape, numbers that describe no pooling, and where no output would
            be left.

    ::

        >>> max_pool([[[1, 2, 3, 4], [5, 6, 7, 8]]], kernel=2, stride=2)
        array([[[6., 8.]]])
    """
    image = _read("image", image, "CHW")
    layer = Layer(kernel, stride, padding, dilation, kind="pool", ceil=ceil)
    padded = _pad(image, padding, -np.inf)
    out = np.zeros((len(image), *_map_size(layer, image.shape)))
    for y, x, window in _windows(layer, out.shape):
        out[:, y, x] = padded[window].max(axis=(1, 2))
    return out


def average_pool(
    image: ArrayLike, kernel: int, stride: int, padding: int = 0, ceil: bool = False
) -> Array:
    """The mean of each window, channel by channel; without padding, a convolution by 1 / k².

    ::

        out[c, y, x] = mean_{i, j} image[c, s·y + i − p, s·x + j − p]

    Padding counts as zeros and is part of the mean, as is PyTorch's default; what a window reaches
    beyond the padding, where `ceil` rounds the size up, is not.

    Args:
        image, kernel, stride, padding, ceil: as in `max_pool`.

    Returns:
        (C, H', W') float64.

    Raises:
        ValueError: as `max_pool`.

    ::

        >>> average_pool([[[1, 2, 3, 4], [5, 6, 7, 8]]], kernel=2, stride=2)
        array([[[3.5, 5.5]]])
    """
    image = _read("image", image, "CHW")
    layer = Layer(kernel, stride, padding, kind="pool", ceil=ceil)
    padded = _pad(image, padding, 0.0)
    out = np.zeros((len(image), *_map_size(layer, image.shape)))
    for y, x, window in _windows(layer, out.shape):
        out[:, y, x] = padded[window].mean(axis=(1, 2))
    return out


def average_pooling_matrix(
    input_shape: tuple[int, int, int],
    kernel: int,
    stride: int,
    padding: int = 0,
    ceil: bool = False,
) -> Array:
    """The matrix P of an average pooling: `P @ image.ravel()` is its output, ravelled.

    Row (c, y, x) holds 1 / (number of taps) in the columns (c, s·y + i − p, s·x + j − p) of its
    window, and zero elsewhere. Taps on the padding count and have no column, so that only rows of
    windows inside the image sum to 1.

    Args:
        input_shape: (C, H, W) of the image.
        kernel, stride, padding, ceil: as in `max_pool`.

    Returns:
        (C·H'·W', C·H·W) float64, dense, for small images only.

    Raises:
        ValueError: as `average_pool` does.

    ::

        >>> average_pooling_matrix(input_shape=(1, 2, 3), kernel=2, stride=1)  # 6 pixels → 2
        array([[0.25, 0.25, 0.  , 0.25, 0.25, 0.  ],
               [0.  , 0.25, 0.25, 0.  , 0.25, 0.25]])
    """
    channels, height, width = _read_shape(input_shape)
    layer = Layer(kernel, stride, padding, kind="pool", ceil=ceil)
    out_height, out_width = _map_size(layer, input_shape)
    matrix = np.zeros((channels, out_height, out_width, channels, height, width))
    c = np.arange(channels)
    for y, x in np.ndindex(out_height, out_width):
        # What a window reaches beyond the padding, where the size is rounded up, is no tap.
        top, left = stride * y, stride * x
        bottom = min(top + kernel, height + 2 * padding)
        right = min(left + kernel, width + 2 * padding)
        for row, column in product(range(top, bottom), range(left, right)):
            i, j = row - padding, column - padding
            if 0 <= i < height and 0 <= j < width:
                matrix[c, y, x, c, i, j] = 1 / ((bottom - top) * (right - left))
    return matrix.reshape(channels * out_height * out_width, channels * height * width)


# ---- nonlinearities and loss --------------------------------------------------------------------


def relu(values: ArrayLike) -> Array:
    """max(0, v) of every value.

    Args:
        values: of any shape.

    Returns:
        float64 of the same shape.

    ::

        >>> relu([-2, 0, 3])
        array([0., 0., 3.])
    """
    return np.asarray(np.maximum(np.asarray(values, dtype=np.float64), 0.0))


def sigmoid(values: ArrayLike) -> Array:
    """1 / (1 + e^−v) of every value.

    For v < 0 it is written e^v / (1 + e^v), so that no exponential overflows.

    Args:
        values: of any shape.

    Returns:
        float64 of the same shape, from 0 to 1.

    ::

        >>> sigmoid([-1000, 0, 1000])
        array([0. , 0.5, 1. ])
    """
    values = np.asarray(values, dtype=np.float64)
    decay = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1.0, decay) / (1.0 + decay))


def tanh(values: ArrayLike) -> Array:
    """(e^v − e^−v) / (e^v + e^−v) of every value.

    Written with `t = e^(−2·|v|) − 1` as −t / (t + 2) and the sign of v: nothing overflows, and
    small values keep their digits.

    Args:
        values: of any shape.

    Returns:
        float64 of the same shape, from −1 to 1.

    ::

        >>> tanh([-1000, 0, 1000])
        array([-1.,  0.,  1.])
    """
    values = np.asarray(values, dtype=np.float64)
    t = np.expm1(-2.0 * np.abs(values))
    return np.asarray(np.copysign(t / (t + 2.0), values))


def softmax(scores: ArrayLike, axis: int = 0) -> Array:
    """e^score / Σ e^score along an axis.

    A constant taken off all scores cancels, so the largest is taken off and no exponential
    overflows.

    Args:
        scores: of any shape.
        axis: that of the classes; by default the first, as in (C, H, W).

    Returns:
        float64 of the same shape, from 0 to 1, with sum 1 along the axis.

    Raises:
        ValueError: where `scores` has no such axis.

    ::

        >>> softmax([1000, 1000, 0])
        array([0.5, 0.5, 0. ])
    """
    scores = np.asarray(scores, dtype=np.float64)
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def cross_entropy(
    scores: ArrayLike,
    target: ArrayLike,
    ignore_index: int = 255,
    reduction: Literal["mean", "sum"] = "mean",
) -> float:
    """−log softmax(scores)[target] of every pixel that is not void, summed or averaged.

    ::

        −log softmax(scores)[t] = log Σ_c e^scores[c] − scores[t]

    Args:
        scores: (C, H, W), before the softmax.
        target: (H, W) integer.
        ignore_index: the label of void pixels, which do not count.
        reduction: "mean" divides by the number of pixels that are not void; with none, the loss is
            0.

    Returns:
        One number, at least 0.

    Raises:
        ValueError: for shapes that do not fit, a target that is not integer, labels out of range
            and an unknown reduction.

    ::

        >>> loss = cross_entropy(np.zeros((2, 1, 3)), [[0, 1, 255]], reduction="sum")
        >>> print(f"{loss / np.log(2):.3f}")  # two pixels between two classes: 2 · ln 2
        2.000
    """
    scores, labels = _read("scores", scores, "CHW"), np.asarray(target)
    if labels.shape != scores.shape[1:]:
        raise ValueError(f"target must be (H, W) = {scores.shape[1:]}, got {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"target must hold integers, got {labels.dtype}: convert it first")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    total, count = 0.0, 0
    for y, x in np.ndindex(labels.shape):
        label = int(labels[y, x])
        if label == ignore_index:
            continue
        if not 0 <= label < len(scores):
            raise ValueError(
                f"target holds {label} at {(y, x)}, but there are {len(scores)} classes; "
                f"mark void pixels with ignore_index={ignore_index}"
            )
        shifted = scores[:, y, x] - scores[:, y, x].max()  # as in softmax
        total += float(np.log(np.exp(shifted).sum()) - shifted[label])
        count += 1
    return total / max(count, 1) if reduction == "mean" else total


# ---- shared by the layers -----------------------------------------------------------------------


def _windows(
    layer: Layer, shape: tuple[int, ...]
) -> Iterator[tuple[int, int, tuple[slice, slice, slice]]]:
    """(y, x, its window in the padded image) for each pixel of a map of `shape` (C, H, W)."""
    s, extent, d = layer.stride, layer.extent, layer.dilation
    for y, x in np.ndindex(shape[1:]):
        rows, columns = slice(s * y, s * y + extent, d), slice(s * x, s * x + extent, d)
        yield y, x, (slice(None), rows, columns)


def _map_size(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width after `layer`, for an input of `shape` (C, H, W)."""
    return output_size([layer], shape[1]), output_size([layer], shape[2])


def _pad(image: Array, padding: int, value: float) -> Array:
    return np.pad(image, ((0, 0), (padding, padding), (padding, padding)), constant_values=value)


def _read(name: str, value: ArrayLike, axes: str) -> Array:
    """The value as float64, with as many axes as `axes` has letters."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != len(axes):
        raise ValueError(f"{name} must be ({', '.join(axes)}), got shape {array.shape}")
    return array


def _read_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(f"input_shape must be (C, H, W), got {shape}")
    return shape[0], shape[1], shape[2]


def _read_weight(value: ArrayLike, channels: str) -> Array:
    weight = _read("weight", value, channels + "kk")
    if weight.shape[2] != weight.shape[3]:
        raise ValueError(f"weight must have square kernels (k, k), got {weight.shape[2:]}")
    return weight


def _check_channels(image: int, weight: int, where: str) -> None:
    if image != weight:
        raise ValueError(
            f"the image has {image} channels and the weight reads {weight}: "
            f"make {where} the number of channels"
        )
