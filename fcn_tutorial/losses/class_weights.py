"""Weights of the classes from how often they occur: by median frequency, or by share."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

WeightRule = Literal["inverse", "inverse_sqrt", "log"]


def median_frequency_weights(counts: Any, image_pixels: Any = None) -> Tensor:
    """Weights that balance classes: median frequency / frequency (Eigen and Fergus 2015).

    With an even number of classes the median is the mean of the middle two.

    Args:
        counts: (C,) pixels of each class in the training set, tensor or array.
        image_pixels: (C,) the pixels of all images that contain the class, as in the source;
            without it all images count for every class, which differs for classes that few images
            contain.

    Returns:
        (C,) float32: 1 for the class of median frequency, above for rarer ones, and 0 for classes
        without a pixel, which are left out of the median.

    Raises:
        ValueError: for negative counts, no pixel at all, or image_pixels below counts.

    ::

        >>> median_frequency_weights([10, 20, 40, 0])
        tensor([2.0000, 1.0000, 0.5000, 0.0000])
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

    Args:
        counts: (C,) pixels of each class in the training set, tensor or array.
        rule: "inverse", 1/p, every class weighs the same as a whole; "inverse_sqrt", 1/√p, half way
            there (see Cui et al. 2019, Class-balanced loss, section 2); "log", 1/ln(1.02 + p),
            within 1.4 and 50.5 before scaling (Paszke et al. 2016, ENet, section 5.2).

    Returns:
        (C,) float32, 0 for classes without a pixel.

    Raises:
        ValueError: for negative counts, no pixel at all and an unknown rule.

    ::

        >>> frequency_weights([90, 10])  # a ninth of the pixels: 3 times the weight
        tensor([0.8333, 2.5000])
        >>> frequency_weights([90, 10], rule="inverse")  # 9 times
        tensor([0.5556, 5.0000])
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


def _counts(counts: Any) -> Tensor:
    pixels = torch.as_tensor(counts, dtype=torch.float64)
    if pixels.dim() != 1 or bool((pixels < 0).any()) or not bool(pixels.sum() > 0):
        raise ValueError(
            f"counts must be (C,) pixel counts, none negative and not all 0, got {pixels.tolist()}"
        )
    return pixels
