"""One loss for several heads: `multitask_loss`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from fcn_tutorial.losses._common import Reduction
from fcn_tutorial.losses.terms import Terms, upsample_loss
from fcn_tutorial.upsampling import Border, Offset
from fcn_tutorial.void import Void


class TaskLosses(NamedTuple):
    """The loss of several tasks, and what it is made of.

    Attributes:
        total: what is differentiated, a scalar.
        parts: {task: its loss before its task weight}, detached: for a log.

    ::

        >>> scores = {"semantic": torch.zeros(1, 2, 4, 4), "geometric": torch.zeros(1, 2, 4, 4)}
        >>> targets = {task: torch.zeros(1, 4, 4, dtype=torch.int64) for task in scores}
        >>> losses = multitask_loss(scores, targets, factor=1, task_weights={"geometric": 0.0})
        >>> losses.total, losses.parts["geometric"]  # ln 2 both, of which one counts
        (tensor(0.6931), tensor(0.6931))
    """

    total: Tensor
    parts: dict[str, Tensor]


def multitask_loss(
    scores: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    factor: int,
    offset: Offset | tuple[Offset, Offset] | None = None,
    terms: Terms = Terms(),  # noqa: B008  # immutable
    ignore_index: Void = 255,
    class_weights: Mapping[str, Tensor] | None = None,
    task_weights: Mapping[str, float] | None = None,
    reduction: Reduction = "mean",
    border: Border = "zero",
    divisors: Mapping[str, Tensor] | None = None,
) -> TaskLosses:
    """The sum of the tasks' `upsample_loss`: what a training run minimises.

    Args:
        scores: {task: (N, C, H, W)}, each with a C of its own, all at one stride; the parts of one
            tensor, split along its channels, will do.
        targets: {task: (N, H', W')}, with the same keys; a pixel may be void for one task and count
            for another.
        factor: 1 where the scores have the size of the targets.
        offset, terms, border: as in `upsample_loss`.
        class_weights: {task: (C,)}; tasks without an entry weigh their classes alike.
        task_weights: {task: factor of its loss in the total}; 1 for tasks without an entry, which
            adds the losses as the reference does for the semantic and geometric labels of SIFT
            Flow.
        ignore_index, reduction: as in `pixel_cross_entropy`, for each task by itself: with "mean"
            each loss is divided by the pixels that are valid for its task.
        divisors: {task: what its loss is divided by}, such as the valid pixels of a whole step
            where this is one part of it, with reduction="sum".

    Returns:
        `TaskLosses(total, parts)`.

    Raises:
        ValueError: naming the tasks, where the keys of scores and targets differ, none is given, or
            a weight or divisor is for no task, a divisor is missing, or a weight is negative; and
            as `upsample_loss` for a task, naming it.

    ::

        >>> scores = {"semantic": torch.zeros(1, 2, 4, 4), "geometric": torch.zeros(1, 4, 4, 4)}
        >>> targets = {task: torch.zeros(1, 4, 4, dtype=torch.int64) for task in scores}
        >>> multitask_loss(scores, targets, factor=1).total  # ln 2 + ln 4
        tensor(2.0794)
    """
    class_weights, task_weights = class_weights or {}, task_weights or {}
    _check_tasks(scores, targets, class_weights, task_weights, divisors)
    weighted, parts = [], {}
    for task, mine in scores.items():
        try:
            loss = upsample_loss(
                mine, targets[task], factor, offset, terms, ignore_index, class_weights.get(task),
                reduction, border=border,
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"task {task!r}: {error}") from error
        loss = loss if divisors is None else loss / divisors[task]
        parts[task] = loss.detach()
        weighted.append(task_weights.get(task, 1.0) * loss)
    return TaskLosses(torch.stack(weighted).sum(), parts)


def _check_tasks(
    scores: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    class_weights: Mapping[str, Tensor],
    task_weights: Mapping[str, float],
    divisors: Mapping[str, Tensor] | None,
) -> None:
    if not scores:
        raise ValueError("scores must hold at least one task, got none")
    without_target = _names(task for task in scores if task not in targets)
    without_scores = _names(task for task in targets if task not in scores)
    if without_target or without_scores:
        raise ValueError(
            "scores and targets must name the same tasks: "
            f"only in scores: {without_target or 'none'}; only in targets: "
            f"{without_scores or 'none'}"
        )
    for name, weights in (("class_weights", class_weights), ("task_weights", task_weights)):
        unknown = _names(task for task in weights if task not in scores)
        if unknown:
            raise ValueError(f"{name} names {unknown}; the tasks are {_names(scores)}")
    if divisors is not None and set(divisors) != set(scores):
        raise ValueError(f"divisors names {_names(divisors)}; the tasks are {_names(scores)}")
    negative = _names(task for task, weight in task_weights.items() if not weight >= 0)
    if negative:
        raise ValueError(f"task_weights must not be negative, but those of {negative} are")


def _names(tasks: Iterable[str]) -> str:
    return ", ".join(repr(task) for task in tasks)
