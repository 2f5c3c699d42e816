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

from fcn_tutorial.surgery.tracing import meta_copy


def macs(module: nn.Module, input_size: int | tuple[int, int], channels: int = 3) -> int:
    """Multiply-accumulates of `module` in evaluation mode on one image.

    Args:
        input_size: (H, W) of the image in pixels, or its side.
        channels: of the image. Products with padding count; biases, pools, norms and what acts on
            single values do not. One multiply-accumulate is two floating-point operations.

    Raises ValueError where the module cannot run on such an image.
    """
    return sum(layer_macs(module, input_size, channels).values())


def layer_macs(
    module: nn.Module, input_size: int | tuple[int, int], channels: int = 3
) -> dict[str, int]:
    """`macs` of each submodule by its dotted name, in the order in which they first ran.

    A submodule is given what its own `forward` multiplies, and not what its children do; "" is
    `module` itself. Those that multiply nothing are left out. Arguments and errors as in `macs`.
    """
    size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    if len(size) != 2 or min(*size, channels) < 1:
        raise ValueError(
            f"input_size must be one or two positive numbers and channels at least 1, "
            f"got {input_size!r} and {channels}"
        )
    module = meta_copy(module)
    dtypes = (p.dtype for p in module.parameters() if p.is_floating_point())
    dtype = next(dtypes, torch.get_default_dtype())
    image = torch.empty(1, channels, *size, dtype=dtype, device="meta")
    counter = _Counter(module)
    try:
        with torch.no_grad(), counter:
            module(image)
    except (IndexError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(module).__name__} fails on an image of {channels} channels and "
            f"{size[0]}×{size[1]} pixels: {error}"
        ) from error
    return counter.counts


class _Counter(TorchDispatchMode):
    """Adds what each operator multiplies to the submodule whose `forward` called it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: dict[str, int] = {}
        self.running: list[str] = []
        for name, submodule in module.named_modules():
            submodule.register_forward_pre_hook(self._enter(name))
            submodule.register_forward_hook(self._leave)

    def _enter(self, name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, inputs: self.running.append(name)

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self.running.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if count := _COUNTS.get(func):
            name = self.running[-1]
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
