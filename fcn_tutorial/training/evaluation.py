"""Scoring a network on whole images: one confusion matrix over the whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fcn_tutorial.metrics import ConfusionMatrix
from fcn_tutorial.models import Network
from fcn_tutorial.models.network import ONLY, named
from fcn_tutorial.training import distributed
from fcn_tutorial.training.records.record import describe

#: An item's input → {task: labels}.
Predict: TypeAlias = Callable[[Any], Mapping[str, Tensor]]


def evaluate(network: Network, dataset: Any, progress: str = "") -> ConfusionMatrix:
    """The confusion matrix of a network over a data set, every image at its own size.

    Args:
        network: put into evaluation mode here, and back afterwards.
        dataset: items (input, mask (H, W) integer); names its `ignore_index`. Of several tasks, the
            first is scored: `evaluate_tasks` gives all.
        progress: label of the progress bar; empty for none.

    Under `torchrun` each process takes its share of the images, none is taken twice, and all get
    the matrix of the whole set.
    """
    return next(iter(evaluate_tasks(network, dataset, progress).values()))


def evaluate_tasks(
    network: Network, dataset: Any, progress: str = "", predict: Predict | None = None
) -> dict[str, ConfusionMatrix]:
    """`evaluate` for each task by name; `ONLY` is the task of a network of one.

    Args:
        predict: what labels an item's input; `network.predict_tasks` by default.
    """
    predict = predict or network.predict_tasks
    found = {task: ConfusionMatrix(n, dataset.ignore_index) for task, n in network.tasks.items()}
    nothing = torch.empty(0, dtype=torch.int64, device=next(network.parameters()).device)
    for confusion in found.values():
        confusion.update(nothing, nothing)  # on the network's device, also where no image is left
    mine = range(distributed.rank(), len(dataset), distributed.world_size())
    # disable=None: no bar where the terminal is a file.
    disable = None if progress and distributed.rank() == 0 else True
    with judging(network):
        for i in tqdm(mine, progress, leave=False, disable=disable, unit="img"):
            inputs, target = dataset[i]
            predicted = predict(inputs)
            for task, labels in named(target).items():
                found[task].update(predicted[task], labels.to(predicted[task].device))
    for confusion in found.values():
        distributed.total(confusion.matrix)
    return found


def scored(
    network: Network,
    dataset: Any,
    split: str,
    progress: str,
    tta: Mapping[str, Any] | None = None,
    predict: Predict | None = None,
    note: str = "",
) -> dict[str, Any]:
    """What a record says of a split (see `record.describe`, also for `tta`).

    Args:
        predict: as in `evaluate_tasks`; what does that augmentation.
        note: what must be said beside the scores (`Source.remark`).

    With several tasks it is the first one's scores, and all of them under "tasks".
    """
    classes = named(dataset.classes)
    described = {
        task: describe(confusion, classes[task], split, len(dataset), tta)
        for task, confusion in evaluate_tasks(network, dataset, progress, predict).items()
    }
    first = next(iter(described.values()))
    if note:
        first = {**first, "note": note}
    return first if ONLY in described else {**first, "tasks": described}


@contextmanager
def judging(network: nn.Module) -> Iterator[None]:
    """Within, the network is in evaluation mode; afterwards each of its modules is as it was."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
