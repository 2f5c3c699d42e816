"""The forms of upsampling and loss that are compared: same value, same gradient, other costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fcn_tutorial.losses import upsample_cross_entropy
from fcn_tutorial.upsampling import upsample
from tests.published import bilinear_weight

CLASSES = 21
VOID = 255


@dataclass(frozen=True)
class Work:
    """Coarse scores, labels, and what takes the first to the size of the second."""

    scores: Tensor  # (N, C, ceil(H / factor), ceil(W / factor)) float32
    target: Tensor  # (N, H, W) int64, 255 is void
    factor: int
    dense_kernel: Tensor  # (C, C, 2·factor, 2·factor), made once as in a network

    @classmethod
    def make(cls, factor: int, batch: int, side: int, device: torch.device) -> Work:
        """Random scores at a `factor`-th of side × side, and labels of which 5 % are void."""
        generator = torch.Generator().manual_seed(0)
        coarse = -(-side // factor)
        scores = torch.randn(batch, CLASSES, coarse, coarse, generator=generator)
        target = torch.randint(CLASSES, (batch, side, side), generator=generator)
        target[torch.rand(target.shape, generator=generator) < 0.05] = VOID
        kernel = bilinear_weight(CLASSES, 2 * factor).float()
        return cls(scores.to(device), target.to(device), factor, kernel.to(device))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns at full resolution."""
        return self.target.shape[1], self.target.shape[2]

    @property
    def offset(self) -> int:
        """Rows and columns of the deconvolution to drop for pixel edges to lie on pixel edges."""
        return self.factor // 2


def banded(work: Work) -> Tensor:
    """The package's own: loss and gradient in bands of rows."""
    leaf = work.scores.clone().requires_grad_()
    loss = upsample_cross_entropy(
        leaf, work.target, work.factor, work.offset, ignore_index=VOID, reduction="sum"
    )
    return _gradient(loss, leaf)


def matrix(work: Work) -> Tensor:
    """Two small matrices, then the framework's cross-entropy."""
    leaf = work.scores.clone().requires_grad_()
    fine = upsample(leaf, work.factor, work.size, work.offset)
    return _gradient(_cross_entropy(fine, work), leaf)


def depthwise(work: Work) -> Tensor:
    """A transposed convolution of each class by itself, then cross-entropy."""
    leaf = work.scores.clone().requires_grad_()
    fine = upsample(leaf, work.factor, work.size, work.offset, method="depthwise")
    return _gradient(_cross_entropy(fine, work), leaf)


def dense(work: Work) -> Tensor:
    """The paper's: a C × C transposed convolution, cropped, then cross-entropy."""
    leaf = work.scores.clone().requires_grad_()
    fine = F.conv_transpose2d(leaf, work.dense_kernel, stride=work.factor)
    (height, width), start = work.size, work.offset
    return _gradient(
        _cross_entropy(fine[..., start : start + height, start : start + width], work), leaf
    )


def interpolate(work: Work) -> Tensor:
    """What is usual now: the framework's bilinear resize, which differs at the border."""
    leaf = work.scores.clone().requires_grad_()
    fine = F.interpolate(leaf, scale_factor=work.factor, mode="bilinear", align_corners=False)
    height, width = work.size
    return _gradient(_cross_entropy(fine[..., :height, :width], work), leaf)


FORMS: dict[str, Callable[[Work], Tensor]] = {
    form.__name__: form for form in (banded, dense, depthwise, matrix, interpolate)
}


def _cross_entropy(fine: Tensor, work: Work) -> Tensor:
    return F.cross_entropy(fine, work.target, ignore_index=VOID, reduction="sum")


def _gradient(loss: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(loss, leaf)[0]
