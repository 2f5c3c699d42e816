"""Scoring a network on whole images: one confusion matrix over the whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fcn_tutorial.datasets import sources
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.metrics import IMAGE_MEASURES, ConfusionMatrix
from fcn_tutorial.models import Network
from fcn_tutorial.models.network import ONLY, named
from fcn_tutorial.training import distributed
from fcn_tutorial.training.records.record import describe

#: An item's input → {task: labels}.
Predict: TypeAlias = Callable[[Any], Mapping[str, Tensor]]
#: An image's (target, predicted), each {task: labels}.
Seen: TypeAlias = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]


def evaluate(network: Network, dataset: Any, progress: str = "") -> ConfusionMatrix:
    """The confusion matrix of a network over a data set, every image at its own size.

    Under `torchrun` each process takes its share of the images, and none is taken twice.

    Args:
        network: put into evaluation mode here, and back afterwards.
        dataset: items (input, mask (H, W) integer); names its `ignore_index`. Of several tasks, the
            first is scored: `evaluate_tasks` gives all.
        progress: label of the progress bar; empty for none.

    Returns:
        That of the whole set, in every process, on the network's device.

    Before training all scores are zero, so that every pixel is given class 0::

        >>> from fcn_tutorial.datasets import Scenes
        >>> from fcn_tutorial.models import FCN
        >>> network = FCN("tiny", num_classes=12, width=1 / 16)
        >>> confusion = evaluate(network, Scenes(2, size=(32, 32)))
        >>> confusion.num_classes, int(confusion.matrix[:, 1:].sum())
        (12, 0)
    """
    return next(iter(evaluate_tasks(network, dataset, progress).values()))


def evaluate_tasks(
    network: Network,
    dataset: Any,
    progress: str = "",
    predict: Predict | None = None,
    seen: Seen | None = None,
) -> dict[str, ConfusionMatrix]:
    """`evaluate` for each task by name.

    Args:
        network: as in `evaluate`.
        dataset: as in `evaluate`; the masks of several tasks are {task: mask}.
        progress: as in `evaluate`.
        predict: what labels an item's input; `network.predict_tasks` by default.
        seen: told of each image as well, as (target, predicted) by task.

    Returns:
        {task: matrix}; the task of a network of one is called "labels".

    ::

        >>> from fcn_tutorial.datasets import Scenes
        >>> from fcn_tutorial.models import FCN
        >>> network = FCN("tiny", num_classes={"semantic": 12, "geometric": 3}, width=1 / 16)
        >>> found = evaluate_tasks(network, Scenes(2, size=(32, 32), task="both"))
        >>> {task: tuple(confusion.matrix.shape) for task, confusion in found.items()}
        {'semantic': (12, 12), 'geometric': (3, 3)}
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
            if seen is not None:
                seen(named(target), predicted)
    for confusion in found.values():
        distributed.total(confusion.matrix)
    return found


class ImageErrors:
    """The mean over images of what no confusion matrix holds.

    Args:
        keys: rows of `metrics.IMAGE_MEASURES`.
        device: where processes exchange their sums.
    """

    def __init__(self, keys: Sequence[str], device: torch.device) -> None:
        self.rows = [IMAGE_MEASURES[key] for key in keys]
        self.sums = torch.zeros(2, len(keys), dtype=torch.float64, device=device)  # and how many

    def __call__(self, target: Mapping[str, Tensor], predicted: Mapping[str, Tensor]) -> None:
        """Count an image by its first task."""
        truth, labels = (next(iter(maps.values())).cpu().numpy() for maps in (target, predicted))
        errors = torch.tensor([row.of(truth, labels) for row in self.rows], dtype=torch.float64)
        self.sums += torch.stack([errors.nan_to_num(), ~errors.isnan()]).to(self.sums.device)

    def means(self) -> dict[str, float | None]:
        """{key: mean} over the images of all processes that have the error; None without one."""
        sums, images = distributed.total(self.sums.clone()).tolist()
        return {
            row.key: total / count if count else None
            for row, total, count in zip(self.rows, sums, images, strict=True)
        }


def scored(
    network: Network,
    dataset: Any,
    spec: Data,
    split: str,
    progress: str,
    tta: Mapping[str, Any] | None = None,
    predict: Predict | None = None,
) -> dict[str, Any]:
    """What a record says of a split (see `record.describe`, also for `tta`).

    Args:
        spec: the recipe's data, whose `Source` knows which errors of single images are asked for,
            and what must be said beside the scores.
        predict: as in `evaluate_tasks`; what does that augmentation.

    With several tasks it is the first one's scores, and all of them under "tasks".
    """
    source, classes = sources.get(spec.name), named(dataset.classes)
    errors = ImageErrors(source.image_measures, next(network.parameters()).device)
    seen = errors if errors.rows else None
    described = {
        task: describe(confusion, classes[task], split, len(dataset), tta)
        for task, confusion in evaluate_tasks(network, dataset, progress, predict, seen).items()
    }
    first = {**next(iter(described.values())), **(errors.means() if seen else {})}
    if note := source.remark(spec):
        first["note"] = note
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
