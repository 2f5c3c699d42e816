"""The loss at full resolution without the full-resolution scores: `upsample_cross_entropy`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fcn_tutorial.losses._common import Reduction, check, mean, pixel_weights, working_dtype
from fcn_tutorial.losses.cross_entropy import pixel_cross_entropy
from fcn_tutorial.upsampling import Border, Offset, bilinear_matrix, row_support, upsample
from fcn_tutorial.void import Void


def upsample_cross_entropy(
    scores: Tensor,
    target: Tensor,
    factor: int,
    offset: Offset | tuple[Offset, Offset] | None = None,
    ignore_index: Void = 255,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    kernel_size: int | None = None,
    border: Border = "zero",
    band_elements: int | None = None,
) -> Tensor:
    """`pixel_cross_entropy(upsample(scores, …), target, …)` without the full-resolution scores.

    The scores are upsampled, compared and differentiated in bands of rows, and only the gradient
    with respect to the coarse scores is kept. Values and gradients equal the plain form's up to
    rounding. Half-precision scores, and all but float64 under autocast, are computed in float32.
    The gradient itself cannot be differentiated, and `weight` receives none. In a graph that is
    being compiled or exported the plain form stands, for the compiler to fuse.

    Args:
        scores: (N, C, H, W) floating point.
        target: (N, H', W') integer; its size is the size of the upsampled scores.
        factor, offset, kernel_size, border: as in `upsampling.upsample`.
        ignore_index, weight, reduction: as in `pixel_cross_entropy`.
        band_elements: full-resolution scores held at a time, at least one row of one image; by
            default 2¹⁸ a thread on the CPU, where a band then stays in the cache, and 2²²
            elsewhere.

    Returns:
        A scalar, as `pixel_cross_entropy`.

    Raises:
        ValueError: as the two functions it stands for.

    ::

        >>> scores = torch.arange(8.0).view(1, 2, 2, 2)
        >>> target = torch.tensor([0, 1, 1, 255]).expand(1, 4, 4)
        >>> loss = upsample_cross_entropy(scores, target, factor=2, offset=1)
        >>> plain = pixel_cross_entropy(upsample(scores, 2, size=(4, 4), offset=1), target)
        >>> torch.allclose(loss, plain)
        True
    """
    check(scores, target, ignore_index, weight, reduction)
    if torch.compiler.is_compiling():
        size = (target.shape[1], target.shape[2])
        fine = upsample(scores, factor, size, offset, kernel_size=kernel_size, border=border)
        return pixel_cross_entropy(fine, target, ignore_index, weight, reduction)
    pair: tuple[Offset, Offset] = offset if isinstance(offset, tuple) else (offset or 0,) * 2
    if band_elements is None:
        on_cpu = scores.device.type == "cpu"
        band_elements = torch.get_num_threads() << 18 if on_cpu else 1 << 22
    total, pixels = _BandedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        scores, target, factor, pair, ignore_index, weight, kernel_size, border, band_elements
    )
    return total if reduction == "sum" else mean(total, pixels)


class _BandedCrossEntropy(torch.autograd.Function):
    """Summed loss, and summed weights of the pixels, of upsampled scores; see the public function.

    Forward computes the gradient along the way, while a band's softmax is at hand.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        target: Tensor,
        factor: int,
        offset: tuple[Offset, Offset],
        ignore_index: Void,
        weight: Tensor | None,
        kernel_size: int | None,
        border: Border,
        band_elements: int,
    ) -> tuple[Tensor, Tensor]:
        batch, classes, height, width = scores.shape
        rows_out, columns_out = target.shape[1:]
        dtype, device = working_dtype(scores), scores.device
        shape = (kernel_size, border, dtype, device)
        rows = bilinear_matrix(height, factor, rows_out, offset[0], *shape)
        columns = bilinear_matrix(width, factor, columns_out, offset[1], *shape)
        weight = None if weight is None else weight.to(device, dtype)
        images = min(max(band_elements // (classes * rows_out * columns_out), 1), max(batch, 1))
        step = min(max(band_elements // (images * classes * columns_out), 1), rows_out)
        total, pixels = (torch.zeros((), dtype=dtype, device=device) for _ in range(2))
        gradient = torch.empty_like(scores) if ctx.needs_input_grad[0] else None
        with torch.autocast(device.type, enabled=False):
            for n in range(0, batch, images):
                # Columns first: (n, H, C, W'), so that a band of rows is one contiguous product.
                coarse = scores[n : n + images].to(dtype).transpose(1, 2)
                wide = torch.matmul(coarse, columns.T).flatten(2)
                wide_gradient = None if gradient is None else torch.zeros_like(wide)
                for top in range(0, rows_out, step):
                    bottom = min(top + step, rows_out)
                    low, high = row_support(
                        top, bottom, height, factor, offset[0], kernel_size, border
                    )
                    band = rows[top:bottom, low:high].expand(len(wide), -1, -1)
                    fine = torch.bmm(band, wide[:, low:high])
                    labels, factors = pixel_weights(
                        target[n : n + images, top:bottom, None], ignore_index, weight, dtype
                    )
                    # softmax by hand: one exponential a score serves the loss and the gradient
                    fine = fine.view(len(wide), -1, classes, columns_out)
                    fine -= fine.amax(dim=2, keepdim=True)
                    true = fine.gather(2, labels)
                    normaliser = fine.exp_().sum(dim=2, keepdim=True)
                    total += ((normaliser.log() - true) * factors).sum()
                    pixels += factors.sum()
                    if wide_gradient is not None:
                        # d loss / d scores = softmax − one-hot of the label, times the weight
                        fine *= factors / normaliser
                        fine_gradient = fine.scatter_add_(2, labels, -factors)
                        wide_gradient[:, low:high].baddbmm_(
                            band.transpose(1, 2), fine_gradient.flatten(2)
                        )
                if gradient is not None and wide_gradient is not None:
                    wide_gradient = wide_gradient.view(len(wide), height, classes, columns_out)
                    gradient[n : n + images] = torch.matmul(wide_gradient, columns).transpose(1, 2)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(pixels)
        return total, pixels

    @staticmethod
    def backward(ctx: Any, total: Tensor, pixels: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: the saved gradient would pass for constant
            raise RuntimeError(
                "upsample_cross_entropy cannot be differentiated twice: for create_graph=True use "
                "pixel_cross_entropy(upsample(scores, …), target)"
            )
        (gradient,) = ctx.saved_tensors
        return (gradient * total.to(gradient.dtype), *(None,) * 8)
