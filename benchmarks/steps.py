"""A forward pass and a training step, as the package runs them and as others do."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_tutorial.losses import upsample_cross_entropy
from fcn_tutorial.models import FCN

VOID = 255


def make_batch(
    batch: int, size: tuple[int, int], classes: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Random images (N, 3, H, W) float32 and labels (N, H, W) uint8."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, *size, generator=generator)
    target = torch.randint(classes, (batch, *size), generator=generator, dtype=torch.uint8)
    return images.to(device), target.to(device)


def randomise(model: nn.Module) -> None:
    """Weights that keep activations and gradients of order one, score layers included."""
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def sgd(model: nn.Module, lr: float, weight_decay: float, momentum: float) -> torch.optim.SGD:
    """SGD without weight decay on biases and norms."""
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum)


class OurStep:
    """Forward, banded loss, backward, update: what `fcn_tutorial.training` does with a batch.

    precision: of the network's products, under autocast; the loss is in float32 always.
    compiler: a torch.compile backend for the network up to its coarse scores; None: not compiled.
    """

    def __init__(
        self,
        model: FCN,
        optimiser: torch.optim.Optimizer,
        precision: torch.dtype = torch.float32,
        compiler: str | None = None,
    ) -> None:
        self.model = model
        self.optimiser = optimiser
        self.precision = precision
        self.fused_scores: Callable[[Tensor], Tensor] = model.fused_scores
        if compiler is not None:
            self.fused_scores = torch.compile(model.fused_scores, backend=compiler, dynamic=False)

    def __call__(self, images: Tensor, target: Tensor) -> Tensor:
        """One step; returns the loss, still on the device."""
        with torch.autocast(
            images.device.type, self.precision, enabled=self.precision != torch.float32
        ):
            scores = self.fused_scores(images)
        factor, offset, border = self.model.placement()
        loss = upsample_cross_entropy(scores.float(), target, factor, offset, VOID, border=border)
        return update(self.optimiser, loss)


class PlainStep:
    """Forward to full-resolution scores, the framework's cross-entropy, backward, update."""

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        optimiser: torch.optim.Optimizer,
        reduction: str = "mean",
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.network = network
        self.optimiser = optimiser
        self.reduction = reduction
        self.precision = precision

    def __call__(self, images: Tensor, target: Tensor) -> Tensor:
        """One step; returns the loss, still on the device."""
        with torch.autocast(
            images.device.type, self.precision, enabled=self.precision != torch.float32
        ):
            scores = self.network(images)
        loss = F.cross_entropy(
            scores.float(), target.long(), ignore_index=VOID, reduction=self.reduction
        )
        return update(self.optimiser, loss)


def update(optimiser: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    """Backward pass and update; returns the loss detached."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return loss.detach()
