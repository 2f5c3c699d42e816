"""What one image costs in a real torch module: its multiply-accumulates, layer by layer.

The module is copied without its weights and run on the "meta" device, where tensors have shapes
and no values, so that the largest network is counted in a moment. Every convolution and matrix
product that runs is seen, whether a layer or a function in `forward` started it.
`geometry.macs` counts a list of layers by the same rules.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fcn_tutorial.surgery.running import Running, watched


def macs(module: nn.Module, input_size: int | tuple[int, int], channels: int = 3) -> int:
    """Multiply-accumulates of `module` in evaluation mode on one image.

    Products with padding count; biases, pools, norms and what acts on single values do not. One
    multiply-accumulate is two floating-point operations.

    Args:
        module: is not changed; what its `forward` calls counts as well as its layers.
        input_size: (H, W) of the image in pixels, or its side.
        channels: of the image.

    Returns:
        Their number, of all layers together.

    Raises:
        ValueError: where the module cannot run on such an image.

    27 weights, eight filters of them, on 10×10 pixels::

        >>> from torch import nn
        >>> macs(nn.Conv2d(3, 8, kernel_size=3, padding=1), input_size=10)
        21600
    """
    return sum(layer_macs(module, input_size, channels).values())


def layer_macs(
    module: nn.Module, input_size: int | tuple[int, int], channels: int = 3
) -> dict[str, int]:
    """`macs` of each submodule by its dotted name, in the order in which they first ran.

    Args:
        module: as in `macs`, like the two below.
        input_size: likewise.
        channels: likewise.

    Returns:
        Numbers by names. A submodule is given what its own `forward` multiplies, and not what its
        children do; "" is `module` itself. Those that multiply nothing are left out.

    Raises:
        ValueError: as `macs`.

    ::

        >>> from torch import nn
        >>> layer_macs(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)), 12)
        {'0': 21600, '2': 1600}
    """
    counter = watched(module, input_size, channels, lambda running, image: _Counter(running))
    return counter.counts


class _Counter(TorchDispatchMode):
    """Adds what each operator multiplies to the submodule whose `forward` called it."""

    def __init__(self, running: Running) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: dict[str, int] = {}
        self.running = running

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if count := _COUNTS.get(func):
            name = self.running.innermost[0]
            self.counts[name] = self.counts.get(name, 0) + count(result, *args)
        return result


def _convolution(
    result: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Any,
    s: Any,
    p: Any,
    d: Any,
    transposed: bool,
    *rest: Any,
) -> int:
    """Each weight meets every pixel of the output, or, transposed, every pixel of the input."""
    if not result.numel():
        raise RuntimeError("no pixel is left")  # old versions of torch go on with none
    pixels = (x if transposed else result)[0, 0].numel()
    return len(x) * pixels * weight.numel()


def _product(result: Tensor, *matrices: Tensor) -> int:
    """(…, n, k) by (…, k) or (…, k, m), perhaps added to what comes first."""
    return result.numel() * matrices[-2].shape[-1]


_COUNTS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.convolution.default: _convolution,
    **{
        getattr(torch.ops.aten, name).default: _product
        for name in ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot")
    },
}
