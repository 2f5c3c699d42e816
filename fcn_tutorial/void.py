"""Labels as the numbers they are: which are void and which are no class, whatever their dtype.

torch compares a uint8 tensor with −100 as if that were 156, and with 256 as if that were 0. So a
label that a dtype cannot hold is answered here without asking torch, which floor 0 does not import.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection
from typing import Any

#: The label of pixels that are not scored; several of them; or None where every pixel is.
Void = int | Collection[int] | None


def void_labels(ignore_index: Void) -> tuple[int, ...]:
    """The void labels, each once, in the order given.

    Raises:
        ValueError: for what is no integer.
    """
    if ignore_index is None:
        return ()
    try:
        several = ignore_index if isinstance(ignore_index, Collection) else (ignore_index,)
        return tuple(dict.fromkeys(operator.index(label) for label in several))
    except TypeError:
        raise ValueError(
            f"ignore_index={ignore_index!r}: expected the void label, an integer, or several of "
            "them in a tuple"
        ) from None


def is_void(labels: Any, ignore_index: Void) -> Any:
    """Which of an integer tensor's labels are void: bool of its shape."""
    found = [labels == label for label in void_labels(ignore_index) if holds(labels.dtype, label)]
    return functools.reduce(operator.or_, found) if found else labels != labels  # nowhere


def no_class(labels: Any, num_classes: int) -> Any:
    """Which of an integer tensor's labels are below 0 or not below `num_classes`."""
    below = labels < 0
    return below | (labels >= num_classes) if holds(labels.dtype, num_classes) else below


def check_labels(target: Any, num_classes: int, ignore_index: Void) -> Any:
    """Which of an integer tensor's labels are not void.

    Returns:
        A bool tensor of its shape.

    Raises:
        ValueError: if a label that is not void is no class.
    """
    valid = ~is_void(target, ignore_index)
    wrong = valid & no_class(target, num_classes)
    if bool(wrong.any()):
        raise ValueError(
            f"target holds {int(target[wrong][0])}, which is not a class: expected 0 … "
            f"{num_classes - 1} {'' if ignore_index is None else 'or '}{named(ignore_index)}"
        )
    return valid


def writable_void(dtype: Any, ignore_index: Void, name: str = "target") -> int:
    """The label that marks further pixels as void: the first one.

    Raises:
        ValueError: where there is none and where tensors of `dtype` cannot hold it.
    """
    labels = void_labels(ignore_index)
    if not labels:
        raise ValueError(f"ignore_index={ignore_index!r}: a void label is needed to write")
    if not holds(dtype, labels[0]):
        raise ValueError(
            f"ignore_index={labels[0]} does not fit a {name} of {dtype}: "
            f"convert the {name} to torch.int64"
        )
    return labels[0]


def holds(dtype: Any, label: int) -> bool:
    """Whether an integer dtype of torch has this number; those of floating point count as such."""
    if dtype.is_floating_point:
        return True
    bits = 8 * dtype.itemsize - bool(dtype.is_signed)
    lowest = -(1 << bits) if dtype.is_signed else 0
    return bool(lowest <= label < 1 << bits)


def named(ignore_index: Void) -> str:
    """The void labels for a message: "the void label 255", "the void labels 254, 255"."""
    labels = void_labels(ignore_index)
    if not labels:
        return "no void label"
    return f"the void label{'s' * (len(labels) > 1)} {', '.join(map(str, labels))}"
