"""Run a module once without its weights, watched from outside: by whom a tensor is computed.

The module is copied to the "meta" device, where tensors have shapes and no values, so that the
largest network runs in a moment.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fcn_tutorial.surgery.tracing import meta_copy

Watcher = TypeVar("Watcher", bound=AbstractContextManager[Any])


class Running:
    """The submodules whose `forward` is under way.

    Args:
        module: is given hooks for good.
    """

    def __init__(self, module: nn.Module) -> None:
        self._under_way: list[tuple[str, nn.Module]] = []
        for name, submodule in module.named_modules():
            submodule.register_forward_pre_hook(self._enter(name))
            submodule.register_forward_hook(self._leave)

    @property
    def innermost(self) -> tuple[str, nn.Module]:
        """The last to begin, and its dotted name; "" is the module itself."""
        return self._under_way[-1]

    def _enter(self, name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, inputs: self._under_way.append((name, module))

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._under_way.pop()


def watched(
    module: nn.Module,
    input_size: int | tuple[int, int],
    channels: int,
    watch: Callable[[Running, Tensor], Watcher],
) -> Watcher:
    """Run a copy of `module` in evaluation mode on one image, within `watch`; returns that.

    Args:
        input_size: (H, W) of the image in pixels, or its side.
        channels: of the image.
        watch: makes, of what is running and of the image (1, C, H, W), what surrounds the run.

    Raises:
        ValueError: where the module cannot run on such an image.
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
    watcher = watch(Running(module), image)
    try:
        with torch.no_grad(), watcher:
            module(image)
    except (IndexError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(module).__name__} fails on an image of {channels} channels and "
            f"{size[0]}×{size[1]} pixels: {error}"
        ) from error
    return watcher
