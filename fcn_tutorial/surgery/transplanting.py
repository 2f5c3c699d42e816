"""Weights from one network to another, by name and shape: `transplant`."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fcn_tutorial.files import number_of


@dataclass(frozen=True)
class Report:
    """What `transplant` did, by parameter and buffer name.

    Attributes:
        copied: taken over.
        skipped: in both, but of different shapes (source, target).
        missing: in the target only, left as it was.
        unused: in the source only.

    ::

        >>> print(Report(("a",), {"b": ((2, 4), (2, 3))}, missing=("c",), unused=("d", "e")))
        copied 1 tensor
        skipped b: (2, 4) does not fit (2, 3)
        left as it was: c
        not used: d, e
    """

    copied: tuple[str, ...]
    skipped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"copied {number_of(len(self.copied), 'tensor')}"]
        lines += [f"skipped {n}: {a} does not fit {b}" for n, (a, b) in self.skipped.items()]
        for label, names in (("left as it was", self.missing), ("not used", self.unused)):
            lines += [f"{label}: {', '.join(names)}"] if names else []
        return "\n".join(lines)


def transplant(source: nn.Module | Mapping[str, Tensor], target: nn.Module) -> Report:
    """Copy into `target` every parameter and buffer of `source` with the same name and shape.

    Args:
        source: a module or a state dict.
        target: gets the values, in its own dtype and on its device; nothing else of it changes.

    Returns:
        A `Report` of the names that were copied, skipped, missing and unused. Print it, or look at
        its `missing`: a name that matches nothing is not an error.

    Raises:
        ValueError: where `source` holds anything but tensors, such as a whole checkpoint.

    A layer of four inputs gives one of three its bias::

        >>> from torch import nn
        >>> print(transplant(nn.Linear(4, 2), nn.Linear(3, 2)))
        copied 1 tensor
        skipped weight: (2, 4) does not fit (2, 3)
    """
    given = source.state_dict() if isinstance(source, nn.Module) else source
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"source['{name}'] is a {type(value).__name__}, not a tensor; pass the state dict "
                "inside the checkpoint"
            )
    own = target.state_dict()
    both = [name for name in own if name in given]
    fits = [name for name in both if given[name].shape == own[name].shape]
    with torch.no_grad():
        for name in fits:
            own[name].copy_(given[name])
    return Report(
        copied=tuple(fits),
        skipped={
            name: (tuple(given[name].shape), tuple(own[name].shape))
            for name in both
            if name not in fits
        },
        missing=tuple(name for name in own if name not in given),
        unused=tuple(name for name in given if name not in own),
    )
