"""Bilinear upsampling of score maps: one meaning, three ways to compute it.

The meaning is a transposed convolution of stride `factor` whose kernel is a tent (Long, Shelhamer,
Darrell 2015, section 3.3), followed by a crop. The tent is separable, so the whole operation is
A_h · S · A_wᵀ with two small matrices, and cropping only drops rows of them. That form needs a few
multiplications a pixel where the dense transposed convolution needs C·k²/factor² of them.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from numbers import Rational
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Border = Literal["zero", "replicate"]
Method = Literal["matrix", "depthwise", "dense"]
Offset: TypeAlias = int | Fraction


def default_kernel_size(factor: int) -> int:
    """Side of the smallest tent that interpolates: 2·factor − factor mod 2.

    Raises ValueError if factor < 1. Source: reference surgery.py, upsample_filt.
    """
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    return 2 * factor - factor % 2


def aligned_offset(factor: int, kernel_size: int | None = None) -> Fraction:
    """Rows to drop so that the result covers the area of the scores, pixel edges on pixel edges.

    This is the phase of `F.interpolate(align_corners=False)`: k/2 − factor/2 rows, a whole number
    for the default kernel and 31/2 for k = 63 at factor 32. Raises ValueError as `bilinear_kernel`.
    """
    return Fraction(_kernel_size(factor, kernel_size) - factor, 2)


def bilinear_kernel(factor: int, kernel_size: int | None = None) -> Tensor:
    """Weights that interpolate bilinearly when used by a transposed convolution of stride `factor`.

    Returns (k, k) float64; k = 2·factor − factor mod 2 unless `kernel_size` says otherwise, and
    then the weights sum to factor². The tent's half-width is (k + 1) // 2 output pixels; weights on
    an output pixel add up to one only where that equals `factor`, as for k = 63 or 64 at factor 32.
    Raises ValueError if factor or kernel_size is below 1. Source: reference surgery.py,
    upsample_filt.
    """
    k = _kernel_size(factor, kernel_size)
    line = bilinear_matrix(1, factor, k, 0, k)[:, 0]
    return torch.outer(line, line)


def bilinear_matrix(
    n: int,
    factor: int,
    size: int,
    offset: Offset = 0,
    kernel_size: int | None = None,
    border: Border = "zero",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The matrix A that upsamples a line of n scores: `A @ line` are `size` rows from `offset` on.

    Returns (size, n) in `dtype`. Without a crop (offset 0, size (n − 1)·factor + k) it is the
    transposed convolution of stride `factor`, padding 0, with one line of `bilinear_kernel`.

    offset: rows dropped before the first, whole or a Fraction (any sub-pixel phase); a negative one
        starts above the transposed convolution's first row.
    border: "zero" is the paper's deconvolution, where scores outside the map count as zero;
        "replicate" moves positions outside [0, n − 1] to the nearest score, so that
        `offset=aligned_offset(factor)` equals `F.interpolate(align_corners=False)` at every pixel.

    Positions are integers over a common denominator; each weight is rounded once, to float64, and
    then to `dtype`. Raises ValueError for sizes or kernels below 1, an unknown border, and an
    offset that is neither an int nor a Fraction.
    """
    return _matrix(
        n, factor, size, offset, _kernel_size(factor, kernel_size), border, dtype, device
    ).clone()  # the caller may write into its copy


def row_support(
    first: int,
    last: int,
    n: int,
    factor: int,
    offset: Offset = 0,
    kernel_size: int | None = None,
    border: Border = "zero",
) -> tuple[int, int]:
    """The scores that rows first … last − 1 of `bilinear_matrix` can touch, as a range (low, high).

    All other entries of those rows are zero, so that a band of rows can be computed from a band of
    scores. An empty range (low == high) means that the rows are zero. Raises ValueError as
    `bilinear_matrix`.
    """
    k = _kernel_size(factor, kernel_size)
    numerator, unit = _phase(offset, k)
    reach, step = (k + 1) // 2 * unit, factor * unit
    top, bottom = unit * first + numerator, unit * (last - 1) + numerator
    if border == "replicate":
        top, bottom = (min(max(at, 0), step * (n - 1)) for at in (top, bottom))
    low = (top - reach) // step + 1  # the first i with |top − step·i| < reach
    high = -((-bottom - reach) // step)  # one past the last such i for bottom
    low = min(max(low, 0), n)
    return low, max(low, min(high, n))


def upsample(
    scores: Tensor,
    factor: int,
    size: tuple[int, int] | None = None,
    offset: Offset | tuple[Offset, Offset] | None = None,
    method: Method = "matrix",
    kernel_size: int | None = None,
    border: Border = "zero",
) -> Tensor:
    """Score maps made `factor` times as fine by bilinear interpolation, cropped to `size`.

    scores: (N, C, H, W), floating point, any memory format.
    size: rows and columns to keep; by default all that follow `offset` in the transposed
        convolution's output of (H − 1)·factor + k by (W − 1)·factor + k.
    offset: rows and columns to drop first, one number for both or a pair; 0 by default. What lies
        outside the transposed convolution's output is zero (with border="zero").
    method: "matrix", two small matrix products with the crop folded in; "depthwise", a transposed
        convolution of each class by itself; "dense", the paper's form, a C × C stack of kernels
        that is zero off its diagonal. All three return the same values and the same gradients.
    border: as in `bilinear_matrix`.

    Returns (N, C, *size), contiguous, in the dtype of the scores (under autocast, in autocast's).
    Raises ValueError for scores that are not 4-D floating point, and, for the two convolutions,
    for an offset that is not whole or another border than "zero".
    """
    if scores.dim() != 4 or not scores.is_floating_point():
        raise ValueError(
            "scores must be floating point of shape (N, C, H, W), "
            f"got {scores.dtype} {tuple(scores.shape)}"
        )
    k = _kernel_size(factor, kernel_size)
    pair: tuple[Offset, Offset] = offset if isinstance(offset, tuple) else (offset or 0,) * 2
    if size is None:
        size = (
            _remaining(scores.shape[2], factor, k, pair[0]),
            _remaining(scores.shape[3], factor, k, pair[1]),
        )
    if method == "matrix":
        return _by_matrices(scores, factor, size, pair, k, border)
    if method not in ("depthwise", "dense"):
        raise ValueError(f'method must be "matrix", "depthwise" or "dense", got {method!r}')
    if border != "zero":
        raise ValueError(
            f'border={border!r} is not a transposed convolution: use method="matrix", '
            f"got method={method!r}"
        )
    if any(Fraction(o).denominator != 1 for o in pair):
        raise ValueError(
            f'offset must be whole for method={method!r}, got {offset}: use method="matrix"'
        )
    return _by_convolution(scores, factor, size, (int(pair[0]), int(pair[1])), k, method)


def _by_matrices(
    scores: Tensor,
    factor: int,
    size: tuple[int, int],
    offset: tuple[Offset, Offset],
    k: int,
    border: Border,
) -> Tensor:
    batch, classes, height, width = scores.shape
    rows = _matrix(height, factor, size[0], offset[0], k, border, scores.dtype, scores.device)
    columns = _matrix(width, factor, size[1], offset[1], k, border, scores.dtype, scores.device)
    maps = scores.reshape(batch * classes, height, width)
    rows = rows.expand(batch * classes, -1, -1)
    # Both orders give the same sum; a traced graph takes one for all sizes, to stay free of guards.
    if torch.compiler.is_compiling() or (
        height * size[1] * (width + size[0]) <= size[0] * width * (height + size[1])
    ):
        result = torch.bmm(rows, maps @ columns.T)
    else:
        result = torch.bmm(rows, maps) @ columns.T
    return result.view(batch, classes, *size)


def _by_convolution(
    scores: Tensor,
    factor: int,
    size: tuple[int, int],
    offset: tuple[int, int],
    k: int,
    method: Method,
) -> Tensor:
    classes = scores.shape[1]
    kernel = bilinear_kernel(factor, k).to(scores.device, scores.dtype)
    if method == "depthwise":
        weight = kernel.expand(classes, 1, k, k)
        full = F.conv_transpose2d(scores, weight, stride=factor, groups=classes)
    else:
        weight = kernel.new_zeros(classes, classes, k, k)
        weight[range(classes), range(classes)] = kernel
        full = F.conv_transpose2d(scores, weight, stride=factor)
    below, right = (size[d] + offset[d] - full.shape[2 + d] for d in (0, 1))
    # Negative padding crops; positive padding is the zeros outside the transposed convolution.
    return F.pad(full, (-offset[1], right, -offset[0], below)).contiguous()


def _kernel_size(factor: int, kernel_size: int | None) -> int:
    smallest = default_kernel_size(factor)
    if kernel_size is None:
        return smallest
    if kernel_size < 1:
        raise ValueError(f"kernel_size must be at least 1, got {kernel_size}")
    return kernel_size


def _remaining(n: int, factor: int, k: int, offset: Offset) -> int:
    """Rows y = 0, 1, … with y + offset still inside the transposed convolution's output."""
    numerator, denominator = _ratio(offset)
    return ((n - 1) * factor + k) + (-numerator // denominator)


def _ratio(offset: Offset) -> tuple[int, int]:
    if isinstance(offset, int):  # first, because it is all that a traced graph needs
        return offset, 1
    if isinstance(offset, Rational):
        return int(offset.numerator), int(offset.denominator)
    raise ValueError(
        f"offset must be an int or a fractions.Fraction, got {offset!r} ({type(offset).__name__}): "
        "write half a pixel as Fraction(1, 2)"
    )


def _phase(offset: Offset, k: int) -> tuple[int, int]:
    """Row 0, in output pixels from score 0, as a ratio: offset − (k − 1)/2."""
    numerator, denominator = _ratio(offset)
    return 2 * numerator - denominator * (k - 1), 2 * denominator


def _matrix(
    n: int,
    factor: int,
    size: int,
    offset: Offset,
    k: int,
    border: Border,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    numerator, unit = _phase(offset, k)
    # A traced graph builds the matrix itself, from sizes that may be symbols. A fake tensor, as
    # shape and cost tools make them, must not stay behind in the cache.
    if torch.compiler.is_compiling() or type(torch.empty(0, device="cpu")) is not Tensor:
        return _build(n, factor, size, numerator, unit, k, border, dtype, torch.device(device))
    return _cached(n, factor, size, numerator, unit, k, border, dtype, torch.device(device))


def _build(
    n: int,
    factor: int,
    size: int,
    numerator: int,
    unit: int,
    k: int,
    border: Border,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """The tent at y + offset − (k − 1)/2 − factor·i for rows y, columns i; 1/unit pixel is one."""
    if n < 1 or size < 1:
        raise ValueError(f"n and size must be at least 1, got n={n} and size={size}")
    if border not in ("zero", "replicate"):
        raise ValueError(f'border must be "zero" or "replicate", got {border!r}')
    at = unit * torch.arange(size, device=device) + numerator
    if border == "replicate":
        at = at.clamp(0, factor * unit * (n - 1))
    centres = factor * unit * torch.arange(n, device=device)
    half = (k + 1) // 2 * unit
    rise = (half - (at[:, None] - centres).abs()).clamp(min=0)
    return (rise.to(torch.float64) / half).to(dtype)


@lru_cache(maxsize=256)  # a 500 × 18 matrix is 36 kB
def _cached(
    n: int,
    factor: int,
    size: int,
    numerator: int,
    unit: int,
    k: int,
    border: Border,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    # A tensor made in inference mode could not be used in a later training step.
    with torch.inference_mode(False):
        on_cpu = _build(n, factor, size, numerator, unit, k, border, dtype, torch.device("cpu"))
        return on_cpu.to(device)
