"""Batch norms in a run: frozen, shared among processes, or computed anew for the answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fcn_tutorial.datasets.loading import collate
from fcn_tutorial.models import Network
from fcn_tutorial.training import distributed
from fcn_tutorial.training.evaluation import judging
from fcn_tutorial.training.recipes.recipe import Recipe
from fcn_tutorial.transforms import map_sample


def freeze(model: nn.Module) -> None:
    """Let batch norms use their stored statistics though the network is in training mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def share(network: Network, device: torch.device) -> None:
    """Let batch norms take their statistics from the images of all processes, not each its own.

    Raises:
        ValueError: on a device that PyTorch's `SyncBatchNorm` does not know.
    """
    if device.type != "cuda":
        raise ValueError(
            f"--set sync_norms=true: batch norms are shared on CUDA only, not on {device.type}; "
            "frozen_norms=true needs no sharing"
        )
    nn.SyncBatchNorm.convert_sync_batchnorm(network)


def apart(recipe: Recipe, network: Network) -> list[str]:
    """What must be known of batch norms where processes share each step."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    alone = distributed.world_size() == 1 or recipe.frozen_norms or recipe.sync_norms
    if alone or not any(isinstance(module, kinds) for module in network.modules()):
        return []
    return [
        f"batch norms took their statistics from the {recipe.batch // recipe.accumulate} images at "
        "a time of each process: not what one process with all images learns; sync_norms=true "
        "shares them (CUDA), frozen_norms=true needs none"
    ]


@torch.no_grad()
def recompute(network: Network, train_set: Any, images: int) -> None:
    """Compute the statistics of all batch norms anew, in one pass over the training images.

    They are the mean, over batches, of each batch's mean and unbiased variance, for the weights as
    they are now, where a running average remembers those of earlier steps. As SegNet's authors do
    it (SegNet-Tutorial, Scripts/compute_bn_statistics.py); other layers are as in evaluation.

    Args:
        network: changed in place; its modules are in the modes in which they were.
        train_set: (input, target) items of any size; not augmented.
        images: in a batch, which is padded to the largest. Every process takes all of them.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    device = next(network.parameters()).device
    with judging(network):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
            norm.train()
        for first in range(0, len(train_set), images):
            items = range(first, min(first + images, len(train_set)))
            inputs, _ = collate([train_set[i] for i in items])
            batch = network.preprocess(map_sample(lambda t: t.to(device), inputs))
            network.full_scores(batch.contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
