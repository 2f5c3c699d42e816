"""Settings of SGD under one convention turned into those of another: sums, means, batch sizes."""

from __future__ import annotations

from typing import NamedTuple

from fcn_tutorial.losses._common import Reduction, check_reduction


class Rates(NamedTuple):
    """What depends on whether a loss is summed or averaged over its pixels.

    Attributes:
        lr: learning rate of SGD.
        weight_decay: factor of the weights in the gradient.

    ::

        >>> rates = translate(1e-10, 5e-4, valid_pixels=200_000)
        >>> f"{rates.lr * rates.weight_decay:.0e}"  # their product stays
        '5e-14'
    """

    lr: float
    weight_decay: float


def translate(lr: float, weight_decay: float, valid_pixels: float, to: Reduction = "mean") -> Rates:
    """Settings that make SGD on the mean loss take the steps it took on the summed one.

    The gradient of the sum over N pixels is N times that of the mean, so the learning rate is
    multiplied by N. Weight decay is added to the gradient before that, so it is divided by N; their
    product stays. Momentum stays too. The translation is exact for batches of N valid pixels and
    approximate where N varies, because a sum gives an image with less void a larger step.

    The reference's FCN-32s: `translate(1e-10, 5e-4, 187_500)` is (1.875e-5, 2.67e-9) for an image
    of 375 × 500.

    Args:
        lr: learning rate on the summed loss.
        weight_decay: likewise.
        valid_pixels: pixels that are not void in a batch, N.
        to: "mean", or "sum" for the inverse, from settings for the mean.

    Returns:
        `Rates(lr, weight_decay)`.

    Raises:
        ValueError: if valid_pixels is not positive or `to` is unknown.

    ::

        >>> translate(1e-10, 5e-4, valid_pixels=200_000)
        Rates(lr=2e-05, weight_decay=2.5e-09)
    """
    check_reduction(to, "to")
    if not valid_pixels > 0:
        raise ValueError(f"valid_pixels must be positive, got {valid_pixels}")
    factor = valid_pixels if to == "mean" else 1 / valid_pixels
    return Rates(lr * factor, weight_decay / factor)


def match_momentum(momentum: float, batch: float, to_batch: float) -> float:
    """The momentum that forgets as much per image at another batch size: p^(to_batch / batch).

    Compare Shelhamer, Long, Darrell 2017.

    Args:
        momentum: p, at batch size `batch`.
        batch, to_batch: images a step, before and after.

    Returns:
        The momentum at batch size `to_batch`.

    Raises:
        ValueError: unless 0 ≤ momentum < 1 and both batch sizes are positive.

    ::

        >>> [round(match_momentum(0.9, batch=20, to_batch=n), 4) for n in (20, 40, 1)]
        [0.9, 0.81, 0.9947]
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if not (batch > 0 and to_batch > 0):
        raise ValueError(f"batch and to_batch must be positive, got {batch} and {to_batch}")
    return float(momentum ** (to_batch / batch))
