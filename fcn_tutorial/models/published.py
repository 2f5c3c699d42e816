"""The authors' weights in our networks: `load_published`.

Their Caffe files name each layer (conv1_1 … fc7, score_fr, score_pool4, score_pool3); ours are the
same layers in the same order. A file of the classifier alone (VGG16 of Simonyan & Zisserman, fc6
and fc7 as fully connected layers) fills the trunk and leaves the score layers as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fcn_tutorial import surgery
from fcn_tutorial.models.network import ONLY
from fcn_tutorial.models.trunks import PLANS

if TYPE_CHECKING:
    from fcn_tutorial.models.fcn import FCN

#: What the reference appends to a score layer's name for each task (siftflow-fcn8s/net.py).
TASK_SUFFIXES = {"semantic": "_sem", "geometric": "_geo"}
#: Its first layer where depth is a fourth channel (nyud-fcn32s-color-d/net.py).
EARLY_FUSION_SUFFIX = "_bgrd"


def load_published(model: FCN, path: Path | str, suffix: str = "") -> surgery.Report:
    """Fill an FCN over `vgg16` or `caffenet` from one of the authors' `.caffemodel` files.

    The network then takes RGB, and its preprocessing is set to the authors' means ("caffe"). Their
    bilinear deconvolutions are not read: ours are derived, and fixed as theirs. Where the model
    reads extra channels and the file does not, their filters become the mean of the RGB filters.

    Args:
        model: is filled in place. With another number of classes than the file, its score layers
            stay as they are.
        path: of the file.
        suffix: what the file appends to each layer's name, such as "color" or "hha" in the
            reference's late fusion; load each stream of a `LateFusion` by itself.

    Returns:
        What was copied, skipped, left as it was and not used.

    Raises:
        ValueError: for another backbone, for a file that is not a Caffe model, and, naming the
            layer, where the trunk's own are missing or do not fit.

    ::

        >>> from fcn_tutorial.models import FCN
        >>> load_published(FCN("tiny", num_classes=21), "fcn8s-heavy-pascal.caffemodel")
        Traceback (most recent call last):
            ...
        ValueError: backbone='tiny' has no published Caffe file; use vgg16 or caffenet
    """
    name = model.config.backbone
    plan = PLANS.get(name)
    if plan is None or not plan.caffe_layers:
        raise ValueError(f"backbone={name!r} has no published Caffe file; use vgg16 or caffenet")
    blobs = surgery.load_caffemodel(path)
    new: dict[str, Tensor] = {}
    used: set[str] = set()
    modules = [(key, m) for key, m in model.backbone.named_modules() if isinstance(m, nn.Conv2d)]
    for (key, module), layer in zip(modules, plan.caffe_layers, strict=True):
        found = next(
            (n for n in (layer + suffix, layer + EARLY_FUSION_SUFFIX) if f"{n}.weight" in blobs),
            None,
        )
        if found is None:
            have = ", ".join(sorted({blob.rpartition(".")[0] for blob in blobs})[:6])
            raise ValueError(f"{path}: no layer {layer + suffix!r}; it holds {have}, …")
        weight, bias = blobs[f"{found}.weight"], blobs[f"{found}.bias"]
        if key == modules[0][0] and weight.shape[1:2] == (3,) and module.in_channels > 3:
            extra = weight.mean(1, keepdim=True).expand(-1, module.in_channels - 3, -1, -1)
            weight = torch.cat([weight, extra], 1)
        if weight.numel() != module.weight.numel() or weight.shape[0] != module.out_channels:
            raise ValueError(
                f"{path}: {found} has weights {tuple(weight.shape)}, "
                f"this trunk needs {tuple(module.weight.shape)}"
            )
        new[f"backbone.{key}.weight"] = weight.reshape(module.weight.shape)
        new[f"backbone.{key}.bias"] = bias
        used |= {f"{found}.weight", f"{found}.bias"}
    for layer in model.scorers():
        names = [layer + suffix]
        if ONLY not in model.tasks:
            names = [layer + TASK_SUFFIXES.get(task, f"_{task}") for task in model.tasks]
        for part in ("weight", "bias"):
            keys = [f"{n}.{part}" for n in names]
            if all(key in blobs for key in keys):
                new[f"{layer}.{part}"] = torch.cat([blobs[key] for key in keys])
                used |= set(keys)
    report = surgery.transplant(new, model)
    model.expect("caffe")
    return surgery.Report(
        report.copied,
        report.skipped,
        report.missing,
        tuple(blob for blob in blobs if blob not in used and not blob.startswith("up")),
    )
