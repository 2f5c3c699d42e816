"""What a step minimises, and how: loss, parameter groups, rates, frozen and averaged weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fcn_tutorial import losses
from fcn_tutorial.models import Network
from fcn_tutorial.models.network import named
from fcn_tutorial.training import distributed
from fcn_tutorial.training.recipes.recipe import Optimiser, Recipe


class Objective:
    """What one step minimises: tasks are added, and pixels as the recipe says.

    Args:
        recipe: its `loss`, "mean", "sum" or "image_mean", says what the sums are divided by.
        network: places its scores on the labels.
        class_weights: {task: (C,)}.
        targets: {task: labels (N, H, W)} of every part of this process's batch. A mean is over the
            valid pixels of all of them, in all processes.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        class_weights: Mapping[str, Tensor],
        targets: Sequence[Mapping[str, Tensor]],
    ) -> None:
        self._recipe, self._network, self._weights = recipe, network, class_weights
        self._images = recipe.batch * distributed.world_size()
        counts = torch.stack(
            [
                torch.stack([counted(network.supervised(t[task]), w) for t in targets]).sum()
                for task, w in class_weights.items()
            ]
        )
        counts = distributed.total(counts)
        self._valid = dict(zip(class_weights, _divisor(counts), strict=True))

    def of(self, scores: Tensor, target: Mapping[str, Tensor]) -> Tensor:
        """The share of a part: the training scores (N, ΣC, h, w) of its images."""
        labels = {task: self._network.supervised(mine) for task, mine in target.items()}
        factor, offset, border = self._network.placement()
        divisors = self._valid if self._recipe.loss == "mean" else None
        if self._recipe.loss == "image_mean":  # parts are images
            divisors = {}
            for task, weight in self._weights.items():
                divisors[task] = _divisor(counted(labels[task], weight)) * self._images
        # The last upsampling and the loss together, and in float32: they sum over a million pixels.
        terms = losses.Terms(self._recipe.focal, self._recipe.region, self._recipe.region_weight)
        return losses.multitask_loss(
            self._network.split(scores.float()), labels, factor, offset, terms,
            class_weights=self._weights, reduction="sum", border=border, divisors=divisors,
        ).total + self._beside_borders(scores, target, divisors)  # fmt: skip

    def _beside_borders(
        self, scores: Tensor, target: Mapping[str, Tensor], divisors: Mapping[str, Tensor] | None
    ) -> Tensor | float:
        """What pixels between regions that almost touch cost more (see `losses.border_weights`)."""
        recipe, network = self._recipe, self._network
        if not recipe.border_weight:
            return 0.0
        total = torch.zeros((), device=scores.device)
        for task, mine in network.split(scores.float()).items():
            # Of whole labels: a cell outside of what is scored has a border, too.
            weights = losses.border_weights(
                target[task], recipe.border_weight, recipe.border_sigma
            ).to(scores.device)
            labels, weights = (network.supervised(t) for t in (target[task], weights))
            loss = losses.weighted_cross_entropy(mine, labels, weights, *network.placement())
            total = total + (loss if divisors is None else loss / divisors[task])
        return total

    def mean(self, share: Tensor) -> Tensor:
        """A share as a mean over pixels, for a log: a sum is divided by the first task's."""
        return share / next(iter(self._valid.values())) if self._recipe.loss == "sum" else share


def _divisor(counts: Tensor) -> Tensor:
    """The counts, and 1 where there is nothing to divide: a loss of 0, with a gradient of 0."""
    return torch.where(counts > 0, counts, 1)


def counted(labels: Tensor, weight: Tensor) -> Tensor:
    """The class weights of the valid pixels, added up in float64 where there is."""
    exact = torch.float32 if labels.device.type == "mps" else torch.float64
    pixels = torch.bincount(labels.flatten().int(), minlength=256)[: len(weight)]
    return (pixels.to(exact) * weight.to(exact)).sum()


def class_weights(recipe: Recipe, train_set: Any) -> dict[str, Tensor]:
    """{task: (C,) float32} weights of the loss by true class: given, or from the training labels.

    Raises:
        ValueError: where there are not as many given as classes.
    """
    classes = named(train_set.classes)
    if recipe.class_factors:
        return {task: _given(recipe.class_factors, names) for task, names in classes.items()}
    if recipe.class_weights == "none":
        return {task: torch.ones(len(names)) for task, names in classes.items()}
    counts = {task: torch.zeros(256, dtype=torch.int64) for task in classes}
    within = {task: torch.zeros(256, dtype=torch.int64) for task in classes}
    for i in range(len(train_set)):
        for task, mask in named(train_set[i][1]).items():
            pixels = torch.bincount(mask.flatten(), minlength=256)
            counts[task] += pixels
            within[task] += (pixels > 0) * mask.numel()
    found = {}
    for task, names in classes.items():
        pixels, images = (every[task][: len(names)] for every in (counts, within))
        if recipe.class_weights == "median":
            found[task] = losses.median_frequency_weights(pixels, images)
        else:
            found[task] = losses.frequency_weights(pixels, recipe.class_weights)
    return found


def _given(factors: Sequence[float], names: Sequence[str]) -> Tensor:
    if len(factors) != len(names):
        raise ValueError(
            f"class_factors: {len(factors)} numbers for {len(names)} classes ({', '.join(names)})"
        )
    return torch.tensor(factors)


def make(spec: Optimiser, network: Network) -> torch.optim.Optimizer:
    """AdamW or SGD over groups: trunk or the rest, and in each weights, biases and norms.

    Biases and norms, which have one dimension, are not decayed; biases have a rate of their own.
    Frozen parameters are left out. The groups of the trunk come first.
    """
    groups: dict[tuple[bool, bool, bool], dict[str, Any]] = {}
    trunk = network.trunk()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        scorer = name not in trunk
        decayed = parameter.dim() > 1
        bias = not decayed and name.endswith(".bias")
        scale = (1.0 if scorer else spec.trunk_lr) * (spec.bias_lr if bias else 1.0)
        decay = spec.weight_decay if decayed else 0.0
        fresh = {"params": [], "weight_decay": decay, "lr_scale": scale}
        groups.setdefault((scorer, decayed, bias), fresh)["params"].append(parameter)
    ordered = [groups[key] for key in sorted(groups)]
    # Fused: one pass over the weights, four times as fast for the 134 million of VGG16.
    if spec.name == "sgd":
        return torch.optim.SGD(ordered, lr=spec.lr, momentum=spec.momentum, fused=True)
    return torch.optim.AdamW(ordered, lr=spec.lr, betas=(spec.momentum, 0.999), fused=True)


def rate(spec: Optimiser, share: float) -> float:
    """The learning rate's multiple at a share of the run: a linear warm-up times the schedule.

    At share 0 a warm-up starts from a hundredth.
    """
    rising = min(1.0, 0.01 + share / spec.warmup) if spec.warmup else 1.0
    if spec.schedule == "fixed":
        return rising
    if spec.schedule == "step":
        # A rounding error before a drop is not a reason to miss it.
        return float(rising * spec.drop ** int(share / spec.drop_every + 1e-9))
    return float(rising * (1 - share) ** spec.power)


def set_rates(optimiser: torch.optim.Optimizer, multiple: float) -> None:
    """Give each group its base rate (lr × its scale) times `multiple`."""
    for group in optimiser.param_groups:
        group["lr"] = optimiser.defaults["lr"] * group["lr_scale"] * multiple


def freeze(network: Network, stride: int) -> None:
    """Hold a network's first layers, those that work at `stride` or finer, at their weights.

    They then need no backward pass, and what follows keeps no activations for them.
    """
    if stride < 2:
        return
    for parameter in network.freezable(stride):
        parameter.requires_grad_(False)


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average ← decay · average + (1 − decay) · model; buffers are copied."""
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        for own, other in zip(average.buffers(), model.buffers(), strict=True):
            own.copy_(other)


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The number format of the network's products; "auto" is bfloat16 where hardware has it."""
    if wanted == "auto":
        if device.type == "cuda":
            fast = torch.cuda.get_device_capability(device)[0] >= 8
        else:
            # Elsewhere a CPU emulates bfloat16, several times slower than float32.
            probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
            fast = bool(probe and probe())
        wanted = "bfloat16" if fast else "float32"
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    return formats[wanted]
