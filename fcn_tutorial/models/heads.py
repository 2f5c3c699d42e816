"""A trained network for other classes: what scores them is made anew, but for names it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fcn_tutorial.models.network import Network, describe, from_description


def with_classes(network: Network, known: Sequence[str], wanted: Sequence[str]) -> Network:
    """A network of the same kind and trunk that tells other classes apart.

    Args:
        network: a trained network of one task, whose classes are called `known`.
        wanted: names of the new one's classes. One that is known keeps the weights of its scores;
            the others have those of a fresh network.

    Raises:
        ValueError: for a network of several tasks or with another number of classes than `known`.
    """
    if network.counts != len(known):
        raise ValueError(
            f"its classes are exchanged where it has one task; it has {network.counts}, and "
            f"{len(known)} names"
        )
    description = describe(network)
    made = from_description(_counting(description, len(wanted)))
    with torch.device("meta"):
        larger = from_description(_counting(description, len(wanted) + 1)).state_dict()
    pairs = [(wanted.index(name), known.index(name)) for name in wanted if name in known]
    state, trained = made.state_dict(), network.state_dict()
    for key, tensor in state.items():
        by_class = [d for d, n in enumerate(larger[key].shape) if n != tensor.shape[d]]
        _fill(tensor, trained[key], by_class, pairs)
    made.load_state_dict(state)
    made.longest_side = network.longest_side
    return made


def _counting(description: Mapping[str, Any], classes: int) -> dict[str, Any]:
    """The description of a network, or of networks inside, with another number of classes."""

    def changed(key: str, value: Any) -> Any:
        if key == "num_classes":
            return classes
        if isinstance(value, Mapping):
            return _counting(value, classes)
        if isinstance(value, list | tuple):
            return type(value)(changed("", part) for part in value)
        return value

    return {key: changed(key, value) for key, value in description.items()}


def _fill(
    tensor: Tensor, trained: Tensor, by_class: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> None:
    """Copy what is trained, in place; along dimensions `by_class`, for (new, old) classes only."""
    here = [np.arange(n) for n in tensor.shape]
    there = list(here)
    for dimension in by_class:
        here[dimension] = np.array([new for new, _ in pairs], int)
        there[dimension] = np.array([old for _, old in pairs], int)
    tensor.detach().numpy()[np.ix_(*here)] = trained.detach().numpy()[np.ix_(*there)]
