"""Why is it all background? Checks at the start and after the first steps, with the usual causes.

Nothing here stops a run: each check yields sentences, which the loop prints and the record keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fcn_tutorial.models import Network
from fcn_tutorial.models.network import ONLY, named
from fcn_tutorial.training.recipes.recipe import Recipe
from fcn_tutorial.transforms import PREPROCESSING

#: Images that are looked at before the first step.
LOOKED_AT = 8
#: Steps after which the loss is compared with where it began.
FIRST_STEPS = 50
# A summed loss is N times a mean one, so its rates are around 1e-10 and those of a mean 1e-5 to
# 1e-1 (reference solver.prototxt; `losses.translate`).
_LEAST_MEAN_RATE, _MOST_SUMMED_RATE = 1e-8, 1e-6


def require_labels(splits: Mapping[str, Any]) -> None:
    """Check that every split has something to score: that not all its labels are void.

    Args:
        splits: the data sets of a run, by name. One is read up to its first labelled pixel.

    Raises:
        ValueError: naming a split that has nothing.
    """
    for name, dataset in splits.items():
        lacking = set(named(dataset.classes))
        for i in range(len(dataset)):
            masks = named(dataset[i][1])
            lacking -= {t for t in lacking if bool((masks[t] != dataset.ignore_index).any())}
            if not lacking:
                break
        for task in lacking:
            of = "" if task == ONLY else f" of {task}"
            raise ValueError(
                f"none of the {len(dataset)} {name} masks has a labelled pixel{of}: all are void; "
                "check that they are the label images"
            )


def before(
    recipe: Recipe, model: Network, train_set: Any, files: Sequence[Path] = ()
) -> Iterator[str]:
    """What looks wrong before the first step: labels, weights, preprocessing, learning rate."""
    yield from _labels(train_set)
    yield from _weights(recipe, model)
    for path in files:
        yield from _preprocessing(model, path)
    yield from _rate(recipe)


@contextmanager
def explaining_norms(recipe: Recipe, images: Tensor) -> Iterator[None]:
    """Within, the error of a batch norm that sees a single value in each channel says what helps.

    `images` are (N, C, H, W), a part of a batch; a stride of 32 leaves one value of 32×32 pixels.

    Raises:
        ValueError: that of the batch norm.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        count, _, rows, columns = images.shape
        raise ValueError(
            f"{count} image of {rows}×{columns} leaves batch norm one value a channel, which has "
            f"no variance: set batch={2 * recipe.batch} (now {recipe.batch}, in "
            f"accumulate={recipe.accumulate} parts), a larger data.crop, or model.norms=folded"
        ) from error


def after(losses: Sequence[float], num_classes: int, recipe: Recipe) -> Iterator[str]:
    """Whether the first steps have left the plateau ln C, where scores of zero begin.

    Args:
        losses: of each step so far, as means over pixels.
    """
    plateau = math.log(num_classes)
    plain = recipe.focal == 0 and recipe.region == "none"  # others have plateaus of their own
    if len(losses) < FIRST_STEPS:
        return
    recent = sum(losses[-10:]) / 10
    if plain and abs(recent - plateau) < 0.01 * plateau:
        yield (
            f"after {len(losses)} steps the loss is still ln {num_classes} = {plateau:.3f}: the "
            f"network says the same of every class. The usual causes: a learning rate made for "
            f"another loss (optimiser.lr={recipe.optimiser.lr:g}, loss={recipe.loss}), a "
            "trunk without pretrained weights or with weights of zero, everything frozen "
            f"(frozen_stride={recipe.frozen_stride}), or preprocessing of other weights"
        )
    elif recent > 2 * max(losses[0], plateau):
        yield (
            f"after {len(losses)} steps the loss has risen from {losses[0]:.3f} to {recent:.3f}: "
            f"lower optimiser.lr (now {recipe.optimiser.lr:g}) or set optimiser.clip"
        )


def one_class(matrix: Tensor, classes: Sequence[str], recipe: Recipe) -> Iterator[str]:
    """Whether nearly all pixels of a scored set were given one class that is not nearly all."""
    predicted, truth = matrix.sum(0), matrix.sum(1)
    share = predicted / predicted.sum().clamp(min=1)
    top = int(share.argmax())
    if float(share[top]) > 0.995 and float(truth[top] / truth.sum().clamp(min=1)) < 0.98:
        plain = recipe.class_weights == "none"
        weights = "try --set class_weights=inverse_sqrt, " if plain else ""
        yield (
            f"{100 * float(share[top]):.1f}% of the pixels are labelled {classes[top]}: the "
            "network ignores its input so far. If this stays, see the first warnings of the run, "
            f"{weights}and check that masks hold labels, not colours"
        )


def _labels(train_set: Any) -> Iterator[str]:
    counts: dict[str, Tensor] = {}
    looked = min(LOOKED_AT, len(train_set))
    for i in range(looked):
        for task, mask in named(train_set[i * len(train_set) // looked][1]).items():
            histogram = torch.bincount(mask.flatten().long(), minlength=256)
            counts[task] = counts.get(task, 0) + histogram
    for task, names in named(train_set.classes).items():
        known, seen = len(names), counts[task]
        where = "labels" if task == ONLY else f"labels of {task}"
        strange = [c for c in range(known, 256) if seen[c] and c != train_set.ignore_index]
        if strange:
            yield f"{where} {strange[:5]} are out of range: the {known} classes are 0–{known - 1}"
        if not seen[:known].any():
            yield f"{where}: {looked} training masks have no labelled pixel, all is void"
        elif int((seen[:known] > 0).sum()) == 1:
            only = names[int(seen[:known].argmax())]
            yield f"{where}: {looked} training masks show one class only, {only}"


def _weights(recipe: Recipe, model: Network) -> Iterator[str]:
    trunk = model.trunk()
    for name, parameter in model.named_parameters():
        # Of tokens and positions, which are added, zero is an ordinary start.
        multiplies = parameter.dim() > 1 and name.endswith("weight")
        if multiplies and name in trunk and not parameter.detach().any():
            yield f"{name} is zero throughout: no gradient passes it. Are its weights missing?"
    if not any(p.requires_grad for p in model.parameters()):
        yield f"nothing is left to learn: frozen_stride={recipe.frozen_stride} holds all layers"


def _preprocessing(model: Network, path: Path) -> Iterator[str]:
    """Compare what a weights file says of its input with what the network does to it."""
    try:
        with safe_open(path, "pt") as file:
            said = (file.metadata() or {}).get("input", "")
    except (SafetensorError, OSError):
        return
    for prepared in model.preprocess.names:
        part = PREPROCESSING[prepared][0]
        means = ",".join(f"{m:g}" for m in part.mean)
        if "mean" in said and means not in said.replace(" ", ""):
            yield (
                f"{path.name} was trained on {said!r}, the network prepares images as "
                f"{prepared!r} (mean {means}): set model.preprocessing"
            )


def _rate(recipe: Recipe) -> Iterator[str]:
    lr, loss = recipe.optimiser.lr, recipe.loss
    if loss == "sum" and lr > _MOST_SUMMED_RATE:
        yield (
            f"optimiser.lr={lr:g} with loss=sum: a sum over N pixels has N times the gradient of a "
            "mean; rates near 1e-10 are usual (losses.translate)"
        )
    if loss != "sum" and lr < _LEAST_MEAN_RATE:
        yield (
            f"optimiser.lr={lr:g} with loss={loss}: such rates belong to a sum over pixels; "
            "multiply by the valid pixels of a batch (losses.translate), or set loss=sum"
        )
