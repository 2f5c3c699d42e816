"""A network's first layer, given more channels to read: `widen_input`."""

import torch
from torch import nn


def widen_input(module: nn.Module, extra: int) -> None:
    """Let a network that reads RGB read more channels, in place: early fusion.

    The filters of the new channels start as the mean of the three, so that a channel that looks
    like a grey image is read like one; the RGB filters stay as they are.

    Source: reference nyud-fcn32s-color-d/solve.py.

    Args:
        module: its first convolution with three input channels, and one group, is widened.
        extra: how many channels it gets beside the three.

    Raises:
        ValueError: if `extra` < 1, or no convolution reads three channels.

    ::

        >>> import torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 1, kernel_size=1))
        >>> network[0].weight.data = torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1)
        >>> widen_input(network, extra=1)
        >>> network[0].weight.flatten().tolist()
        [1.0, 2.0, 6.0, 3.0]
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
