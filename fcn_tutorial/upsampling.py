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
from torch import Tensor, nn

Border = Literal["zero", "replicate"]
Method = Literal["matrix", "depthwise", "dense"]
Offset: TypeAlias = int | Fraction


def default_kernel_size(factor: int) -> int:
    """Side of the smallest tent that interpolates: 2·factor − factor mod 2.

    Source: reference surgery.py, upsample_filt.

    Args:
        factor: how many times as fine the result is.

    Returns:
        k, in output pixels.

    Raises:
        ValueError: if factor < 1.

    ::

        >>> [default_kernel_size(factor) for factor in (2, 3, 32)]
        [4, 5, 64]
    """
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    return 2 * factor - factor % 2


def aligned_offset(factor: int, kernel_size: int | None = None) -> Fraction:
    """Rows to drop so that the result covers the area of the scores, pixel edges on pixel edges.

    This is the phase of `F.interpolate(align_corners=False)`.

    Args:
        factor, kernel_size: as in `bilinear_kernel`.

    Returns:
        k/2 − factor/2 rows of the transposed convolution's output, a whole number for the default
        kernel.

    Raises:
        ValueError: as `bilinear_kernel`.

    ::

        >>> print(aligned_offset(32), aligned_offset(32, kernel_size=63))
        16 31/2
    """
    return Fraction(_kernel_size(factor, kernel_size) - factor, 2)


def kernel_for(factor: int, centre: Fraction | int) -> tuple[int, int]:
    """(kernel_size, offset) of the tent whose crop is whole, so that a convolution can do it.

    Both k = 2·factor and 2·factor − 1 interpolate; the even one serves centres between two pixels,
    the odd one those on a pixel. The peak is on row (k − 1)/2 of the transposed convolution, so
    that (k − 1)/2 − centre rows are dropped. VGG16 padded by 100 has its score 0 at 25/2, CaffeNet
    at 13, which is why the published FCN-AlexNet has an odd kernel.

    Args:
        factor: how many times as fine the result is.
        centre: where score 0 lies, in output pixels from output pixel 0.

    Returns:
        k and the rows to drop first; a negative number asks for rows above the first.

    Raises:
        ValueError: if factor < 1, and for other centres, which neither kernel can reach.

    ::

        >>> kernel_for(32, Fraction(25, 2)), kernel_for(32, 13)
        ((64, 19), (63, 18))
    """
    default_kernel_size(factor)
    for k in (2 * factor - 1, 2 * factor):
        offset = Fraction(k - 1, 2) - centre
        if offset.denominator == 1:
            return k, int(offset)
    raise ValueError(
        f"centre={centre} is neither on a pixel nor halfway between two, so that no transposed "
        'convolution aligns it: use upsample(method="matrix"), which takes any phase'
    )


def bilinear_kernel(factor: int, kernel_size: int | None = None) -> Tensor:
    """Weights that interpolate bilinearly when used by a transposed convolution of stride `factor`.

    The tent's half-width is (k + 1) // 2 output pixels, k being the kernel's side; weights on an
    output pixel add up to one only where that equals `factor`, as for k = 63 or 64 at factor 32.
    Source: reference surgery.py, upsample_filt.

    Args:
        factor: how many times as fine the result is.
        kernel_size: the side k in output pixels, by default `default_kernel_size(factor)`, with
            which the weights sum to factor².

    Returns:
        (k, k) float64.

    Raises:
        ValueError: if factor or kernel_size is below 1.

    ::

        >>> bilinear_kernel(2)[0]
        tensor([0.0625, 0.1875, 0.1875, 0.0625], dtype=torch.float64)
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

    Without a crop (offset 0, size (n − 1)·factor + k) it is the transposed convolution of stride
    `factor`, padding 0, with one line of `bilinear_kernel`.

    Positions are integers over a common denominator; each weight is rounded once, to float64, and
    then to `dtype`.

    Args:
        n: length of the line.
        factor, kernel_size: as in `bilinear_kernel`.
        size: rows of the result.
        offset: rows dropped before the first, whole or a Fraction (any sub-pixel phase); a negative
            one starts above the transposed convolution's first row.
        border: "zero" is the paper's deconvolution, where scores outside the map count as zero;
            "replicate" moves positions outside [0, n − 1] to the nearest score, so that
            `offset=aligned_offset(factor)` equals `F.interpolate(align_corners=False)` at every
            pixel.
        dtype, device: of the result.

    Returns:
        (size, n) in `dtype`.

    Raises:
        ValueError: for sizes or kernels below 1, an unknown border, and an offset that is neither
            an int nor a Fraction.

    ::

        >>> bilinear_matrix(2, factor=2, size=4, offset=1, border="replicate").tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
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
    """The scores that a band of rows of `bilinear_matrix` can touch.

    All other entries of those rows are zero, so that a band of rows can be computed from a band of
    scores.

    Args:
        first, last: the rows first … last − 1.
        n, factor, offset, kernel_size, border: as in `bilinear_matrix`.

    Returns:
        (low, high) for the scores low … high − 1; an empty range (low == high) means that the rows
        are zero.

    Raises:
        ValueError: as `bilinear_matrix`.

    ::

        >>> row_support(0, 4, n=10, factor=8, offset=4)  # above the middle of score 0
        (0, 1)
        >>> row_support(4, 12, n=10, factor=8, offset=4)  # between those of scores 0 and 1
        (0, 2)
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

    Args:
        scores: (N, C, H, W), floating point, any memory format.
        factor: output pixels from one score to the next, the stride.
        size: rows and columns to keep; by default all that follow `offset` in the transposed
            convolution's output of (H − 1)·factor + k by (W − 1)·factor + k.
        offset: rows and columns to drop first, one number for both or a pair; 0 by default. What
            lies outside the transposed convolution's output is zero (with border="zero").
            `aligned_offset` covers the area of the scores.
        method: "matrix", two small matrix products with the crop folded in; "depthwise", a
            transposed convolution of each class by itself; "dense", the paper's form, a C × C stack
            of kernels that is zero off its diagonal. All three return the same values and the same
            gradients.
        kernel_size: as in `bilinear_kernel`.
        border: as in `bilinear_matrix`.

    Returns:
        `(N, C, *size)`, contiguous, in the dtype of the scores (under autocast, autocast's).

    Raises:
        ValueError: for scores that are not 4-D floating point, for a size below 1, an unknown
            method or border, and, for the two convolutions, for an offset that is not whole, a crop
            that lies wholly outside, and border="replicate" with a kernel other than 2·factor or
            2·factor − 1.

    ::

        >>> upsample(torch.ones(1, 21, 4, 5), factor=8, size=(32, 40), offset=4).shape
        torch.Size([1, 21, 32, 40])
    """
    check_scores(scores)
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
    classes = scores.shape[1]
    kernel = bilinear_kernel(factor, k).to(scores.device, scores.dtype)
    weight = _on_diagonal(kernel, classes) if method == "dense" else kernel.expand(classes, 1, k, k)
    return _deconvolve(scores, weight, factor, size, pair, border)


class Deconvolution(nn.Module):
    """The paper's upsampling: a dense transposed convolution that starts as bilinear interpolation.

    `upsample(method="dense")` whose weights are a parameter: learned, as the intermediate ones in
    the paper, or fixed (`learned=False`), as all of them in the reference (lr_mult 0).

    The weight is (C, C, k, k), without bias; weight[i, i] is `bilinear_kernel(factor, k)`, the rest
    zero. Source: Long, Shelhamer, Darrell 2015, section 3.3 and 4.2; reference net.py and
    surgery.py.

    Args:
        channels: how many, C, of the scores and of the result.
        factor, kernel_size: as in `upsample`.
        learned: whether the weight takes a gradient.

    Raises:
        ValueError: where a number is below 1.

    ::

        >>> layer, scores = Deconvolution(21, factor=2), torch.ones(1, 21, 4, 4)
        >>> layer.weight.shape
        torch.Size([21, 21, 4, 4])
        >>> torch.allclose(layer(scores, size=(8, 8), offset=1), upsample(scores, 2, (8, 8), 1))
        True
    """

    def __init__(
        self, channels: int, factor: int, kernel_size: int | None = None, learned: bool = True
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        k = _kernel_size(factor, kernel_size)
        self.channels, self.factor, self.kernel_size = channels, factor, k
        self.weight = nn.Parameter(torch.empty(channels, channels, k, k), requires_grad=learned)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Set the weights to bilinear interpolation of each channel by itself."""
        kernel = bilinear_kernel(self.factor, self.kernel_size)
        self.weight.copy_(_on_diagonal(kernel, self.channels))

    def forward(
        self,
        scores: Tensor,
        size: tuple[int, int],
        offset: Offset | tuple[Offset, Offset] = 0,
        border: Border = "zero",
    ) -> Tensor:
        """Scores (N, C, H, W) → `(N, C, *size)`; size, offset and border as in `upsample`.

        With border="replicate" the outermost scores go on for as long as a row of the result can
        see them.

        Raises:
            ValueError: as `upsample(method="dense")` does, and for other channels.
        """
        check_scores(scores)
        if scores.shape[1] != self.channels:
            raise ValueError(
                f"scores have {scores.shape[1]} channels, and this layer takes {self.channels}"
            )
        pair = offset if isinstance(offset, tuple) else (offset, offset)
        return _deconvolve(scores, self.weight, self.factor, size, pair, border)

    def extra_repr(self) -> str:
        """What `print(module)` shows of it."""
        return (
            f"{self.channels}, factor={self.factor}, kernel_size={self.kernel_size}, "
            f"learned={self.weight.requires_grad}"
        )


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
    if torch.compiler.is_compiling():
        # One form for all sizes and no product over folded axes: a graph free of guards on them.
        result = torch.bmm(rows, torch.bmm(maps, columns.T.expand(batch * classes, -1, -1)))
    elif height * size[1] * (width + size[0]) <= size[0] * width * (height + size[1]):
        result = torch.bmm(rows, maps @ columns.T)
    else:  # the same sum in the order that is cheaper for such a crop
        result = torch.bmm(rows, maps) @ columns.T
    return result.view(batch, classes, *size)


def _on_diagonal(kernel: Tensor, channels: int) -> Tensor:
    """(C, C, k, k), the kernel from each channel to itself and zero between two."""
    weight = kernel.new_zeros(channels, channels, *kernel.shape)
    weight[range(channels), range(channels)] = kernel
    return weight


def _deconvolve(
    scores: Tensor,
    weight: Tensor,
    factor: int,
    size: tuple[int, int],
    offset: tuple[Offset, Offset],
    border: Border,
) -> Tensor:
    """Transposed convolution by weight (C, C, k, k), or (C, 1, k, k) for each channel by itself."""
    k = weight.shape[-1]
    if size[0] < 1 or size[1] < 1:
        raise ValueError(f"size must be at least 1 by 1, got {size}")
    if border not in ("zero", "replicate"):
        raise ValueError(f'border must be "zero" or "replicate", got {border!r}')
    first = [_whole(o) for o in offset]
    if border == "replicate":
        if (k + 1) // 2 != factor:
            raise ValueError(
                f"kernel_size={k} with border='replicate' does not interpolate at factor {factor}: "
                f'use {2 * factor - 1} or {2 * factor}, or upsample(method="matrix")'
            )
        for axis in (0, 1):
            scores, before = _prolonged(scores, 2 + axis, factor, k, first[axis], size[axis])
            first[axis] += before * factor
    groups = scores.shape[1] // weight.shape[1]
    full = F.conv_transpose2d(scores, weight, stride=factor, groups=groups)
    if any(first[d] >= full.shape[2 + d] or first[d] + size[d] <= 0 for d in (0, 1)):
        raise ValueError(
            f"size={tuple(size)} from offset={tuple(first)} shows nothing of the transposed "
            f"convolution's {full.shape[2]} by {full.shape[3]}: check the offset"
        )
    below, right = (size[d] + first[d] - full.shape[2 + d] for d in (0, 1))
    # Negative padding crops; positive padding is the zeros outside the transposed convolution.
    return F.pad(full, (-first[1], right, -first[0], below)).contiguous()


def _prolonged(
    scores: Tensor, dim: int, factor: int, k: int, first: int, rows: int
) -> tuple[Tensor, int]:
    """The scores with their outermost rows repeated, and how many were put before the first.

    As many as rows first … first + rows − 1 of the transposed convolution can see: score i adds to
    rows factor·i … factor·i + k − 1, so that row r sees ⌈(r − k + 1)/factor⌉ … ⌊r/factor⌋.
    """
    n = scores.shape[dim]
    before = max(0, (k - 1 - first) // factor)
    # A traced graph with symbols for sizes would be for 0 rows or for 1 only: two or more serve
    # all sizes, and what is too much is cropped.
    least = 2 if torch.compiler.is_compiling() else 0
    after = least + torch.sym_max(0, (first + rows - 1) // factor - (n - 1) - least)
    # Not F.pad: the backward of its replication is not deterministic on CUDA.
    top = scores.narrow(dim, 0, 1)
    bottom = scores.narrow(dim, n - 1, 1)
    ends = [
        end.expand(*(count if d == dim else -1 for d in range(4)))
        for end, count in ((top, before), (bottom, after))
    ]
    return torch.cat([ends[0], scores, ends[1]], dim), before


def check_scores(scores: Tensor) -> None:
    """Check that scores are (N, C, H, W) of floating point.

    Raises:
        ValueError: where they are not.

    ::

        >>> check_scores(torch.zeros(21, 4, 4))
        Traceback (most recent call last):
        ValueError: scores must be ... of shape (N, C, H, W), got torch.float32 (21, 4, 4)
    """
    if scores.dim() != 4 or not scores.is_floating_point():
        raise ValueError(
            "scores must be floating point of shape (N, C, H, W), "
            f"got {scores.dtype} {tuple(scores.shape)}"
        )


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


def _whole(offset: Offset) -> int:
    numerator, denominator = _ratio(offset)
    if denominator != 1:
        raise ValueError(
            f"offset must be whole for a transposed convolution, got {offset}: use "
            'upsample(method="matrix"), which takes any phase, or another kernel (kernel_for)'
        )
    return numerator


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
    tent = (n, factor, size, *_phase(offset, k), k, border, dtype)
    # A traced graph builds the matrix itself, from sizes that may be symbols. A fake tensor, as
    # shape and cost tools make them, must not stay behind in the cache.
    if torch.compiler.is_compiling() or type(torch.empty(0, device="cpu")) is not Tensor:
        return _build(*tent, torch.device(device))
    return _cached(tent, torch.device(device))


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
    tent: tuple[int, int, int, int, int, int, Border, torch.dtype], device: torch.device
) -> Tensor:
    # A tensor made in inference mode could not be used in a later training step.
    with torch.inference_mode(False):
        return _build(*tent, torch.device("cpu")).to(device)
