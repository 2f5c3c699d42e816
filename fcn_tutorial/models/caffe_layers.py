"""Weights of Caffe files for networks whose layers have those files' names: `load_layers`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from fcn_tutorial import surgery
from fcn_tutorial.models import backbones, trunks


def load_layers(
    network: nn.Module,
    layers: Mapping[str, nn.Module],
    blobs: Mapping[str, Tensor],
    path: Path | str,
    required: Iterable[str],
) -> surgery.Report:
    """Fill convolutions and batch norms of `network` with the weights of a file.

    Args:
        layers: modules of `network` by the names of their layers in the file. A norm of two blobs
            takes them as scale and shift, as Caffe forks with a layer "BN" have them for inference,
            and then neither shifts nor scales by statistics of its own. One of three (mean,
            variance, and what both are to be divided by) has its scale and shift in the layer
            "scale…" beside its "bn…".
        blobs: as `surgery.load_caffemodel` reads them.
        path: of the file, for errors.
        required: the names that the file must have, in the right shape.

    Returns:
        What was copied, skipped (layers of another shape, such as scores of other classes), left as
        it was and not used.

    Raises:
        ValueError: naming file and layer, where a required one is missing or does not fit.
    """
    names = {module: name for name, module in network.named_modules()}
    new: dict[str, Tensor] = {}
    used: set[str] = set()
    for layer, module in layers.items():
        values = {part: f"{layer}.{part}" for part in ("weight", "bias")}
        if isinstance(module, nn.BatchNorm2d):
            if f"{layer}.2" in blobs:
                values = {part: f"{layer.replace('bn', 'scale', 1)}.{part}" for part in values}
            statistics = _statistics(module, layer, blobs)
            new |= {f"{names[module]}.{part}": value for part, value in statistics.items()}
            used |= {f"{layer}.{i}" for i in range(3)}
        for part, blob in values.items():
            if blob in blobs:
                wanted = cast(Tensor, getattr(module, part)).shape
                new[f"{names[module]}.{part}"] = _shaped(blobs[blob], wanted)
                used.add(blob)
    for layer in required:
        found = new.get(f"{names[layers[layer]]}.weight")
        if found is None:
            have = ", ".join(sorted({blob.rpartition(".")[0] for blob in blobs})[:6])
            raise ValueError(f"{path}: no layer {layer!r}; it holds {have}, …")
        wanted = cast(Tensor, layers[layer].weight).shape
        if found.shape != wanted:
            raise ValueError(
                f"{path}: {layer} has weights {tuple(found.shape)}, this network needs "
                f"{tuple(wanted)}"
            )
    report = surgery.transplant(new, network)
    unused = tuple(blob for blob in blobs if blob not in used)
    return surgery.Report(report.copied, report.skipped, report.missing, unused)


def _statistics(norm: nn.BatchNorm2d, layer: str, blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The running mean and variance that a layer of the file stands for; none where it has none."""
    if f"{layer}.2" in blobs:
        mean, variance, factor = (blobs[f"{layer}.{i}"].flatten() for i in range(3))
        share = 1 / factor if factor.item() else torch.zeros(1)  # as Caffe's batch_norm_layer.cpp
        return {"running_mean": mean * share, "running_var": variance * share}
    if f"{layer}.weight" in blobs:
        ones = torch.ones(norm.num_features)
        return {"running_mean": 0 * ones, "running_var": (1 - norm.eps) * ones}
    return {}


def _shaped(blob: Tensor, wanted: torch.Size) -> Tensor:
    """The blob as (out, in, rows, columns), or (channels,), where it has these values."""
    fits = blob.numel() == wanted.numel() and (len(wanted) == 1 or len(blob) == wanted[0])
    return blob.reshape(wanted) if fits else blob


def vgg16_blobs(path: Path | str) -> dict[str, Tensor]:
    """The weights of a `.caffemodel`, or torchvision's VGG16 under the names of its Caffe layers.

    Raises:
        ValueError: as `surgery.load_caffemodel` and `backbones.read_tensors`.
    """
    if Path(path).suffix == ".caffemodel":
        return surgery.load_caffemodel(path)
    stored = backbones.read_tensors(path)
    features = enumerate(trunks.vgg16_features(1 / 64))
    theirs = [f"features.{i}" for i, layer in features if isinstance(layer, nn.Conv2d)]
    layers = trunks.PLANS["vgg16"].caffe_layers
    names = dict(zip([*theirs, "classifier.0", "classifier.3"], layers, strict=True))
    split = ((key, *key.rpartition(".")) for key in stored)
    return {f"{names[at]}.{part}": stored[key] for key, at, _, part in split if at in names}
