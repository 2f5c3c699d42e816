"""Where a tensor has its rows and columns, while operators move, split and join its other axes.

A map (N, C, H, W) can become (N, H, W, C) for a norm of its channels, or (N, groups, C/groups, H,
W) for a shuffle of them, and no pixel has moved. Nothing here looks at values, only at shapes.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

#: Of a tensor: which of its axes are the rows and the columns.
Axes = tuple[int, int]
#: Those of a map as convolutions read it, (N, C, H, W).
MAP: Axes = (2, 3)
#: Those of a map with the channels last, (N, H, W, C).
CHANNELS_LAST: Axes = (1, 2)

RESHAPES = frozenset({"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"})
SPLITS = frozenset({"chunk", "split", "tensor_split"})


def moved(name: str, args: Sequence[Any], after: Any, axes: Axes) -> Axes | None:
    """Axes of the rows and columns after a call that rearranges a tensor, None for other calls.

    args: of the call, in their order, `args[0]` being the tensor (or the parts of one that was
    split), with its rows and columns at `axes`; after: what the call gives. None also where rows
    and columns do not survive.
    """
    before, settings = args[0], args[1:]
    if name == "getitem":
        return _after_indexing(before, settings[0], axes)
    if not isinstance(before, Tensor) or max(axes) >= before.dim():
        return None
    if name in RESHAPES:
        return _after_reshape(tuple(before.shape), tuple(after.shape), axes)
    if name == "permute":
        dims = settings[0] if isinstance(settings[0], Sequence) else settings
        order = [d % before.dim() for d in dims]
        return order.index(axes[0]), order.index(axes[1])
    if name in ("transpose", "swapaxes", "swapdims"):
        one, two = (d % before.dim() for d in settings)
        swap = {one: two, two: one}
        return swap.get(axes[0], axes[0]), swap.get(axes[1], axes[1])
    if name in SPLITS:
        dim = settings[1] if len(settings) > 1 else 0
        return None if dim % before.dim() in axes else axes
    return None


def size(tensor: Tensor, axes: Axes) -> tuple[int, int]:
    """(H, W) of a tensor with its rows and columns there."""
    return tensor.shape[axes[0]], tensor.shape[axes[1]]


def _after_reshape(before: tuple[int, ...], after: tuple[int, ...], axes: Axes) -> Axes | None:
    """An axis survives a reshape where one as long has as many values before it.

    Of several axes of one value each, rows and columns are the last.
    """
    rows, columns = (
        [i for i, n in enumerate(after) if (prod(after[:i]), n) == (prod(before[:a]), before[a])]
        for a in axes
    )
    pairs = [(row, column) for row in rows for column in columns if row < column]
    return max(pairs, default=None)


def _after_indexing(before: Any, key: Any, axes: Axes) -> Axes | None:
    """Numbers and slices may take part of every axis but the rows and columns."""
    if not isinstance(before, Tensor):
        return axes if isinstance(key, int) else None  # one part of a tensor that was split
    keys = key if isinstance(key, tuple) else (key,)
    for axis, part in enumerate(keys):
        whole = isinstance(part, slice) and part == slice(None)
        if not (whole or (isinstance(part, int | slice) and axis not in axes)):
            return None
    dropped = [axis for axis, part in enumerate(keys) if isinstance(part, int)]
    rows, columns = (axis - sum(d < axis for d in dropped) for axis in axes)
    return rows, columns
