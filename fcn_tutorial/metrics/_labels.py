"""Maps of labels, as tensors or arrays of any integer type, and whether they hold classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fcn_tutorial.void import no_class


def check_predictions(predicted: Tensor, num_classes: int) -> None:
    """Check that every label is a class.

    Raises:
        ValueError: if one is not.
    """
    wrong = predicted[no_class(predicted, num_classes)]
    if wrong.numel():
        raise ValueError(
            f"prediction holds {int(wrong[0])}, which is not a class: "
            f"expected 0 … {num_classes - 1}"
        )


def integers(values: Tensor | npt.NDArray[Any], name: str) -> Tensor:
    """The labels as a plain tensor of a type torch computes with.

    Raises:
        ValueError: if they are no integers.
    """
    if isinstance(values, Tensor):
        tensor = values.detach().as_subclass(Tensor)  # plain, if it was a tv_tensors.Mask
    else:  # torch warns of read-only arrays and takes neither reversed ones nor foreign byte orders
        array = np.asarray(values)
        array = np.require(array, array.dtype.newbyteorder("="), ["C", "W"])
        tensor = torch.from_numpy(array)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(
            f"{name} must hold class indices, got dtype {tensor.dtype}: "
            "take the argmax of scores, or convert to an integer type"
        )
    if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):  # torch can hardly compute these
        tensor = tensor.to(torch.int64)
    return tensor
