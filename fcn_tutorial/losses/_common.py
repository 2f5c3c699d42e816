"""What all losses do: look at their arguments, and weigh pixels."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from fcn_tutorial.upsampling import check_scores
from fcn_tutorial.void import Void, check_labels, is_void

Reduction = Literal["mean", "sum"]
# Not asked of `get_args` inside a loss: older versions of torch.compile do not follow it.
REDUCTIONS = get_args(Reduction)


def pixel_weights(
    target: Tensor, ignore_index: Void, weight: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Labels as int64 with void as 0, and what each pixel weighs: 0 where void."""
    valid: Tensor = ~is_void(target, ignore_index)
    labels = target.long() * valid
    if weight is None:
        return labels, valid.to(dtype)
    return labels, weight.to(labels.device, dtype)[labels] * valid


def mean(total: Tensor, pixels: Tensor) -> Tensor:
    return total / torch.where(pixels > 0, pixels, 1)


def working_dtype(scores: Tensor) -> torch.dtype:
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def same_size(scores: Tensor, target: Tensor) -> Tensor:
    """The scores in the type that losses work in.

    Raises:
        ValueError: where the sizes differ.
    """
    if scores.shape[2:] != target.shape[1:]:
        raise ValueError(
            f"scores are {tuple(scores.shape[2:])} and target is {tuple(target.shape[1:])} in "
            "height and width: upsample and crop the scores to the target's size first"
        )
    return scores.to(working_dtype(scores))


def check_reduction(reduction: str, name: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f'{name} must be "mean" or "sum", got {reduction!r}')


def check(
    scores: Tensor, target: Tensor, ignore_index: Void, weight: Tensor | None, reduction: str
) -> None:
    check_reduction(reduction, "reduction")
    check_scores(scores)
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
        check_labels(target, classes, ignore_index)
