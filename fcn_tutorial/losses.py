"""Pixelwise cross-entropy with void, and what surrounds it: learning rates and class weights.

The loss of fully convolutional training is the cross-entropy of every pixel that is not void,
summed over them (the reference code of Long, Shelhamer, Darrell 2015) or averaged (most others).
`translate` turns the settings that go with one into those that go with the other.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from fcn_tutorial.upsampling import Border, Offset, bilinear_matrix, row_support, upsample

Reduction = Literal["mean", "sum"]
WeightRule = Literal["inverse", "inverse_sqrt", "log"]


def pixel_cross_entropy(
    scores: Tensor,
    target: Tensor,
    ignore_index: int = 255,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Softmax cross-entropy of every pixel that is not void, as one number.

    scores: (N, C, H, W) floating point, before the softmax. target: (N, H, W) integer, uint8
    included; pixels equal to `ignore_index` neither count nor receive a gradient.
    weight: (C,) factors by true class.
    reduction: "mean" divides the sum by the number of valid pixels, or by the sum of their weights;
        where there are none, the loss and its gradient are 0, not nan. "sum" is the sum.

    Returns a scalar, of float32 for half-precision scores. Raises ValueError for shapes that do not
    fit, a target that is not integer, an unknown reduction, and labels out of range. Labels are
    looked at on the CPU only: on an accelerator that would wait for the device, whose own kernel
    stops at such a label.
    """
    _check(scores, target, ignore_index, weight, reduction)
    if scores.shape[2:] != target.shape[1:]:
        raise ValueError(
            f"scores are {tuple(scores.shape[2:])} and target is {tuple(target.shape[1:])} in "
            "height and width: upsample and crop the scores to the target's size first"
        )
    dtype = _working_dtype(scores)
    weight = None if weight is None else weight.to(scores.device, dtype)
    labels = target.long()
    total = F.cross_entropy(
        scores.to(dtype), labels, weight=weight, ignore_index=ignore_index, reduction="sum"
    )
    if reduction == "sum":
        return total
    return _mean(total, _pixel_weights(labels, ignore_index, weight, dtype)[1].sum())


def upsample_cross_entropy(
    scores: Tensor,
    target: Tensor,
    factor: int,
    offset: Offset | tuple[Offset, Offset] | None = None,
    ignore_index: int = 255,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    kernel_size: int | None = None,
    border: Border = "zero",
    band_elements: int | None = None,
) -> Tensor:
    """`pixel_cross_entropy(upsample(scores, …), target, …)` without the full-resolution scores.

    scores: (N, C, H, W) floating point. target: (N, H', W') integer; its size is the size of the
    upsampled scores. factor, offset, kernel_size, border: as in `upsampling.upsample`.
    ignore_index, weight, reduction: as in `pixel_cross_entropy`.
    band_elements: full-resolution scores held at a time, at least one row of one image; by default
        2¹⁸ a thread on the CPU, where a band then stays in the cache, and 2²² elsewhere.

    The scores are upsampled, compared and differentiated in bands of rows, and only the gradient
    with respect to the coarse scores is kept. Values and gradients equal the plain form's up to
    rounding. Half-precision scores, and all but float64 under autocast, are computed in float32.
    The gradient itself cannot be differentiated, and `weight` receives none. In a graph that is
    being compiled or exported the plain form stands, for the compiler to fuse. Raises ValueError as
    the two functions it stands for.
    """
    _check(scores, target, ignore_index, weight, reduction)
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
    return total if reduction == "sum" else _mean(total, pixels)


class Rates(NamedTuple):
    """What depends on whether a loss is summed or averaged over its pixels."""

    lr: float
    weight_decay: float


def translate(lr: float, weight_decay: float, valid_pixels: float, to: Reduction = "mean") -> Rates:
    """Settings that make SGD on the mean loss take the steps it took on the summed one.

    valid_pixels: pixels that are not void in a batch, N. The gradient of the sum is N times that of
    the mean, so the learning rate is multiplied by N. Weight decay is added to the gradient before
    that, so it is divided by N; their product stays. Momentum stays too. With to="sum" it is the
    inverse. The translation is exact for batches of N valid pixels and approximate where N varies,
    because a sum gives an image with less void a larger step.

    The reference's FCN-32s: `translate(1e-10, 5e-4, 187_500)` is (1.875e-5, 2.67e-9) for an image
    of 375 × 500. Raises ValueError if valid_pixels is not positive or `to` is unknown.
    """
    _check_reduction(to, "to")
    if not valid_pixels > 0:
        raise ValueError(f"valid_pixels must be positive, got {valid_pixels}")
    factor = valid_pixels if to == "mean" else 1 / valid_pixels
    return Rates(lr * factor, weight_decay / factor)


def match_momentum(momentum: float, batch: float, to_batch: float) -> float:
    """The momentum that forgets as much per image at another batch size: p^(to_batch / batch).

    0.9 at batch 20 corresponds to 0.9947 at batch 1 (Shelhamer, Long, Darrell 2017, section 4).
    Raises ValueError unless 0 ≤ momentum < 1 and both batch sizes are positive.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if not (batch > 0 and to_batch > 0):
        raise ValueError(f"batch and to_batch must be positive, got {batch} and {to_batch}")
    return float(momentum ** (to_batch / batch))


def median_frequency_weights(counts: Any, image_pixels: Any = None) -> Tensor:
    """Weights that balance classes: median frequency / frequency (Eigen and Fergus 2015).

    counts: (C,) pixels of each class in the training set, tensor or array. image_pixels: (C,) the
    pixels of all images that contain the class, as in the source; without it all images count for
    every class, which differs for classes that few images contain.

    Returns (C,) float32: 1 for the class of median frequency, above for rarer ones, and 0 for
    classes without a pixel, which are left out of the median. With an even number of classes the
    median is the mean of the middle two. Raises ValueError for negative counts, no pixel at all, or
    image_pixels below counts.
    """
    pixels = _counts(counts)
    within = pixels.sum().expand_as(pixels)
    if image_pixels is not None:
        within = torch.as_tensor(image_pixels, dtype=torch.float64, device=pixels.device)
        if within.shape != pixels.shape or bool((within < pixels).any()):
            raise ValueError(
                "image_pixels must give at least counts pixels for each class, "
                f"got {within.tolist()} for {pixels.tolist()}"
            )
    present = pixels > 0
    frequency = pixels[present] / within[present]
    weights = torch.zeros_like(pixels)
    weights[present] = frequency.quantile(0.5) / frequency
    return weights.float()


def frequency_weights(counts: Any, rule: WeightRule = "inverse_sqrt") -> Tensor:
    """Weights from the share p of each class in the pixels, so scaled that Σ p·w = 1.

    A pixel of the data then weighs 1 on average, and a summed loss keeps its size.

    counts: (C,) pixels of each class in the training set, tensor or array.
    rule: "inverse", 1/p, every class weighs the same as a whole; "inverse_sqrt", 1/√p, half way
        there (see Cui et al. 2019, Class-balanced loss, section 2); "log", 1/ln(1.02 + p), within
        1.4 and 50.5 before scaling (Paszke et al. 2016, ENet, section 5).

    Returns (C,) float32, 0 for classes without a pixel. Raises ValueError for negative counts, no
    pixel at all and an unknown rule.
    """
    if rule not in get_args(WeightRule):
        raise ValueError(f"rule must be one of {get_args(WeightRule)}, got {rule!r}")
    pixels = _counts(counts)
    share = pixels / pixels.sum()
    if rule == "log":
        raw = 1 / torch.log(1.02 + share)
    else:
        raw = share.pow(-1.0 if rule == "inverse" else -0.5)
    raw = torch.where(pixels > 0, raw, 0)
    return (raw / (share * raw).sum()).float()


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
        ignore_index: int,
        weight: Tensor | None,
        kernel_size: int | None,
        border: Border,
        band_elements: int,
    ) -> tuple[Tensor, Tensor]:
        batch, classes, height, width = scores.shape
        rows_out, columns_out = target.shape[1:]
        dtype, device = _working_dtype(scores), scores.device
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
                    labels, factors = _pixel_weights(
                        target[n : n + images, top:bottom, None], ignore_index, weight, dtype
                    )
                    log_p = fine.view(len(wide), -1, classes, columns_out).log_softmax(dim=2)
                    log_p_true = log_p.gather(2, labels)
                    total -= (log_p_true * factors).sum()
                    pixels += factors.sum()
                    if wide_gradient is not None:
                        # d loss / d scores = softmax − one-hot of the label, times the weight
                        fine_gradient = log_p.exp_().scatter_(2, labels, log_p_true.expm1())
                        fine_gradient *= factors
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


def _pixel_weights(
    target: Tensor, ignore_index: int, weight: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Labels as int64 with void as 0, and what each pixel weighs: 0 where void."""
    valid = target != ignore_index
    labels = target.long() * valid
    return labels, valid.to(dtype) if weight is None else weight[labels] * valid


def _mean(total: Tensor, pixels: Tensor) -> Tensor:
    return total / torch.where(pixels > 0, pixels, 1)


def _working_dtype(scores: Tensor) -> torch.dtype:
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def _check_reduction(reduction: str, name: str) -> None:
    if reduction not in get_args(Reduction):
        raise ValueError(f'{name} must be "mean" or "sum", got {reduction!r}')


def _check(
    scores: Tensor, target: Tensor, ignore_index: int, weight: Tensor | None, reduction: str
) -> None:
    _check_reduction(reduction, "reduction")
    if scores.dim() != 4 or not scores.is_floating_point():
        raise ValueError(
            "scores must be floating point of shape (N, C, H, W), "
            f"got {scores.dtype} {tuple(scores.shape)}"
        )
    if target.dim() != 3 or target.shape[0] != scores.shape[0]:
        raise ValueError(
            f"target must be of shape (N, H, W) with N = {scores.shape[0]} as the scores, "
            f"got {tuple(target.shape)}"
        )
    if target.is_floating_point() or target.dtype == torch.bool:
        raise ValueError(f"target must hold class indices (integers), got dtype {target.dtype}")
    classes = scores.shape[1]
    if weight is not None and weight.shape != (classes,):
        raise ValueError(
            f"weight must have one entry for each of {classes} classes, got {tuple(weight.shape)}"
        )
    if target.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = (target != ignore_index) & ((target < 0) | (target >= classes))
        if bool(wrong.any()):
            raise ValueError(
                f"target holds {int(target[wrong][0])}, which is not a class: "
                f"expected 0 … {classes - 1} or the void label {ignore_index}"
            )


def _counts(counts: Any) -> Tensor:
    pixels = torch.as_tensor(counts, dtype=torch.float64)
    if pixels.dim() != 1 or bool((pixels < 0).any()) or not bool(pixels.sum() > 0):
        raise ValueError(
            f"counts must be (C,) pixel counts, none negative and not all 0, got {pixels.tolist()}"
        )
    return pixels
