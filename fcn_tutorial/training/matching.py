"""Where a network's classes meet those of a data set: mapped by name, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fcn_tutorial.files import first_few
from fcn_tutorial.models.network import ONLY, named

_NO_LABEL = 254  # of labels that the data do not name: scoring refuses it


class Matched(Dataset[tuple[Any, Any]]):
    """A data set whose labels are numbered as a network's classes, void as it was.

    A class of the network may be absent from the data, and their order may be another.

    Args:
        dataset: items (input, target); its `classes` are names, or {task: names}.
        classes: names of the network's classes, {task: names}.

    Raises:
        ValueError: naming a class of the data that the network does not know, and where tasks
            differ.
    """

    def __init__(self, dataset: Any, classes: Mapping[str, Sequence[str]]) -> None:
        theirs = named(dataset.classes)
        if theirs.keys() != classes.keys():
            raise ValueError(
                f"the network was trained for {_tasks(classes)}, the data have {_tasks(theirs)}"
            )
        self.classes: Any = {task: tuple(names) for task, names in classes.items()}
        self.classes = self.classes.get(ONLY, self.classes)
        self.ignore_index: int = dataset.ignore_index
        self._dataset = dataset
        self._tables = {
            task: _table(names, theirs[task], self.ignore_index) for task, names in classes.items()
        }

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        inputs, target = self._dataset[index]
        found = {task: self._tables[task][labels.long()] for task, labels in named(target).items()}
        return inputs, found.get(ONLY, found)


def _tasks(classes: Mapping[str, Any]) -> str:
    return "one task" if ONLY in classes else f"the tasks {', '.join(classes)}"


def _table(ours: Sequence[str], theirs: Sequence[str], void: int) -> Tensor:
    """The network's label of each label of the data, at their own number; others stay."""
    if strange := [name for name in theirs if name not in ours]:
        what = "a class" if len(strange) == 1 else "classes"
        raise ValueError(
            f"the data have {what} that the network does not know: {first_few(strange)}; it knows "
            f"{first_few(list(ours), 12)}. Give the labels these names, or 'void' to leave their "
            f"pixels out, as in --set data.classes={_example(ours, theirs)}"
        )
    table = torch.full((256,), _NO_LABEL)
    table[void] = void
    for label, name in enumerate(theirs):
        table[label] = ours.index(name)
    return table


def _example(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """The data's names with those of the network in place of the strange ones, as far as known."""
    if not set(ours) & set(theirs):
        return ",".join(ours)
    return ",".join(name if name in ours else "void" for name in theirs)
