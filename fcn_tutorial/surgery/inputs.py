"""A network's first layer, given more channels to read: `widen_input`."""

import torch
from torch import nn


def widen_input(module: nn.Module, extra: int) -> None:
    """Let a network that reads RGB read `extra` channels more, in place: early fusion.

    The first convolution with three input channels gets `extra` more. Their filters start as the
    mean of the three, so that a channel that looks like a grey image is read like one; the RGB
    filters stay as they are.

    Source: reference nyud-fcn32s-color-d/solve.py.

    Raises:
        ValueError: if `extra` < 1, or no convolution reads three channels.
    """
    if extra < 1:
        raise ValueError(f"extra must be at least 1, got {extra}")
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == 3 and layer.groups == 1:
            with torch.no_grad():
                mean = layer.weight.mean(dim=1, keepdim=True).expand(-1, extra, -1, -1)
                weight = torch.cat([layer.weight, mean], dim=1)
            layer.weight = nn.Parameter(weight, layer.weight.requires_grad)
            layer.in_channels = 3 + extra
            return
    raise ValueError(f"{type(module).__name__} has no convolution that reads three channels")
