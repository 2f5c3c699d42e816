"""Training on a random part of the pixels: `sample_pixels`."""

from __future__ import annotations

import torch
from torch import Tensor

from fcn_tutorial.void import Void, writable_void


def sample_pixels(
    target: Tensor,
    fraction: float,
    cell: int = 1,
    generator: torch.Generator | None = None,
    ignore_index: Void = 255,
) -> Tensor:
    """A copy of `target` in which a random part of the pixels stays and the rest becomes void.

    Training patch by patch is whole-image training in which a pixel counts only if its patch was
    drawn: sampling the loss. Long, Shelhamer, Darrell 2015 (sections 3.4 and 4.3) drop each cell of
    the last layer with probability 1 − p, take 1/p times as many images a batch, and find that it
    converges no faster and takes longer.

    A loss of the result with reduction="sum", divided by p, has the full loss and gradient as its
    expectation. With "mean", which divides by the pixels that stay, it has them as they are:
    exactly for single pixels without class weights (wherever a pixel stays), approximately
    otherwise.

    Args:
        target: (…, H, W) integer.
        fraction: the probability p of a cell to stay, 0 < p ≤ 1.
        cell: pixels a side of a cell; the cells tile each map from its top left corner, the last
            ones partial, and are kept or dropped as a whole, independently of each other. 1 samples
            single pixels. The stride of the scores samples whole scores: those of a half-pixel
            aligned network lie at the centres of the cells.
        generator: where the randomness comes from; torch's own without it. It may live on another
            device than the target: one on the CPU draws the same cells for every device.
        ignore_index: the label of void pixels, which stay void; of several, the first is written.

    Returns:
        (…, H, W) in the target's dtype, on its device.

    Raises:
        ValueError: for a fraction outside (0, 1], a cell below 1, a target that is not integer or
            has less than two dimensions, and an ignore_index that its dtype cannot hold.

    ::

        >>> target = torch.zeros(500, 500, dtype=torch.uint8)
        >>> kept = sample_pixels(target, 0.25, generator=torch.Generator().manual_seed(0)) == 0
        >>> f"{kept.float().mean():.2f}"
        '0.25'
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1, got {fraction}")
    if cell < 1:
        raise ValueError(f"cell must be at least 1 pixel, got {cell}")
    if target.is_floating_point() or target.dtype == torch.bool or target.dim() < 2:
        raise ValueError(
            "target must hold class indices (integers) of shape (…, H, W), "
            f"got {target.dtype} {tuple(target.shape)}"
        )
    void = writable_void(target.dtype, ignore_index)
    height, width = target.shape[-2:]
    cells = (*target.shape[:-2], -(-height // cell), -(-width // cell))
    device = target.device if generator is None else generator.device
    dropped = torch.rand(cells, generator=generator, device=device) >= fraction
    dropped = dropped.to(target.device)
    dropped = dropped.repeat_interleave(cell, dim=-2).repeat_interleave(cell, dim=-1)
    return target.masked_fill(dropped[..., :height, :width], void)
