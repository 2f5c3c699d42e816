"""Curves of small training runs: one that is healthy, seven that are not, and a sweep of rates.

    python -m benchmarks.curves [--only PART]… [--json FILE] [--smoke] [--threads N]

A narrow FCN-8s learns generated scenes from random weights, with plain SGD and momentum. `runs`:
each of `RUNS` is the healthy run with one usual fault. `rates`: batches of 4 and 16 at ten
learning rates each, validated at the end; all of them see as many images. A complete run that is
not a smoke run writes `benchmarks/results/curves-cpu.json` (three minutes on a CPU core); others
write where `--json` says. Exit status as `benchmarks.core`.

The file, after `created`, `git`, `versions`, `device`, `device_kind`, `threads`, `smoke`:

    "settings": {"classes": …, "images": …, "batch": …, "lr": …, "entropy": of the labels' shares},
    "runs": {"healthy": {"train": [loss of each step], "epoch": steps, "mean_iu": at the end,
                         "val": [[steps done, loss], …]}, …},
    "rates": [{"batch": 4, "lr": …, "train": …, "epoch": …, "val": …, "mean_iu": …}, …]

A loss that is no longer a number is null, and ends its run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import command
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.losses import pixel_cross_entropy
from fcn_tutorial.metrics import ConfusionMatrix
from fcn_tutorial.models import FCN
from fcn_tutorial.training.evaluation import judging

SCHEMA = 1
CLASSES = len(Scenes.classes)
MOMENTUM = 0.9
LR, BATCH, EPOCHS = 0.05, 8, 9
FEW = 8  # images of the run that has too few
VALIDATIONS = 30  # in a run
BATCHES = (4, 16)
RATES = tuple(2.0**k / 1000 for k in range(1, 11))

Images = tuple[Tensor, Tensor]
Found = dict[str, Any]


class Material(NamedTuple):
    """Images (N, 3, H, W) and labels (N, H, W) to learn from, and to validate on."""

    train: Images
    val: Images
    width: float  # of the trunk

    @classmethod
    def rendered(cls, smoke: bool) -> Material:
        """320 and 64 scenes of 64 × 64 pixels; for a smoke run fewer, and a narrower network."""
        sizes = (16, 2, 1 / 8) if smoke else (320, 64, 1 / 2)
        return cls(_scenes("train", sizes[0]), _scenes("val", sizes[1]), sizes[2])


def _scenes(split: str, n: int) -> Images:
    scenes = Scenes(n=n, split=split, size=(64, 64))
    images, labels = zip(*(scenes[i] for i in range(n)), strict=True)
    return torch.stack(images).as_subclass(Tensor), torch.stack(labels).as_subclass(Tensor)


def fresh(width: float) -> FCN:
    """The network before its first step, the same at each call."""
    torch.manual_seed(0)
    return FCN("tiny", CLASSES, 8, width=width)


def learn(
    network: FCN,
    batches: Iterator[Images],
    val: Images,
    lr: float,
    steps: int,
    epoch: int,
    validations: int = VALIDATIONS,
) -> Found:
    """Train on `batches`, and validate so many times on the way, the last time at the end."""
    learned = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learned, lr, MOMENTUM)
    train: list[float | None] = []
    validated: list[tuple[int, float | None]] = []
    iu = 0.0
    for step, (images, labels) in zip(range(1, steps + 1), batches, strict=False):
        loss = pixel_cross_entropy(network(network.preprocess(images)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        train.append(_rounded(loss))
        if train[-1] is None:
            break
        if step * validations // steps > (step - 1) * validations // steps:
            value, iu = validate(network, val)
            validated.append((step, value))
    return {"train": train, "epoch": epoch, "val": validated, "mean_iu": round(iu, 4)}


def validate(network: FCN, val: Images) -> tuple[float | None, float]:
    """Loss and mean IU on the validation images."""
    images, labels = val
    confusion = ConfusionMatrix(CLASSES)
    with judging(network), torch.no_grad():
        scores = network(network.preprocess(images))
    confusion.update(scores.argmax(1), labels)
    return _rounded(pixel_cross_entropy(scores, labels)), confusion.compute().mean_iu


def _rounded(loss: Tensor) -> float | None:
    value = loss.item()
    return float(f"{value:.4g}") if math.isfinite(value) else None


def shuffled(data: Images, batch: int, seed: int = 0) -> Iterator[Images]:
    """Batches without end, in another order each epoch; the incomplete one is left out."""
    images, labels = data
    order = torch.Generator().manual_seed(seed)
    while True:
        for part in torch.randperm(len(images), generator=order).split(batch):
            if len(part) == batch:
                yield images[part], labels[part]


def in_order(data: Images, batch: int) -> Iterator[Images]:
    """Batches without end in the order of the data, as a reader gives them."""
    while True:
        yield from zip(*(part.split(batch) for part in data), strict=True)


def by_openness(data: Images) -> Images:
    """Sorted by the share of sky and road: open places first, narrow streets last."""
    images, labels = data
    order = (labels < 2).float().mean((1, 2)).argsort(descending=True)
    return images[order], labels[order]


def half_mirrored(batches: Iterator[Images]) -> Iterator[Images]:
    """Every second image of a batch mirrored, and its mask not."""
    for images, labels in batches:
        turned = images.clone()
        turned[::2] = images[::2].flip(-1)
        yield turned, labels


# ---- The runs ------------------------------------------------------------------------------------


def healthy(material: Material, lr: float = LR, network: FCN | None = None) -> Found:
    """Nothing is wrong, unless it is the rate."""
    network = fresh(material.width) if network is None else network
    return _as_usual(material, network, shuffled(material.train, BATCH), lr)


def _as_usual(material: Material, network: FCN, batches: Iterator[Images], lr: float = LR) -> Found:
    epoch = len(material.train[0]) // BATCH
    return learn(network, batches, material.val, lr, epoch * EPOCHS, epoch)


def rate_too_high(material: Material) -> Found:
    """40 times the healthy rate."""
    return healthy(material, 40 * LR)


def rate_too_low(material: Material) -> Found:
    """A hundredth of it."""
    return healthy(material, LR / 100)


def trunk_frozen(material: Material) -> Found:
    """Only the score layers learn, on a trunk that never learned anything."""
    network = fresh(material.width)
    for parameter in network.backbone.parameters():
        parameter.requires_grad_(False)
    return healthy(material, network=network)


def not_shuffled(material: Material) -> Found:
    """The images come as they were filed: by kind of place."""
    ordered = by_openness(material.train)
    return _as_usual(material, fresh(material.width), in_order(ordered, BATCH))


def few_images(material: Material) -> Found:
    """Eight images, again and again; an epoch counts as many steps as in the other runs."""
    few = (material.train[0][:FEW], material.train[1][:FEW])
    return _as_usual(material, fresh(material.width), shuffled(few, BATCH))


def other_colours(material: Material) -> Found:
    """Whoever reads the validation images takes blue for red."""
    images, labels = material.val
    return healthy(material._replace(val=(images.flip(1), labels)))


def masks_not_mirrored(material: Material) -> Found:
    """The augmentation forgets the mask."""
    batches = half_mirrored(shuffled(material.train, BATCH))
    return _as_usual(material, fresh(material.width), batches)


RUNS: dict[str, Callable[[Material], Found]] = {
    "healthy": healthy,
    "rate too high": rate_too_high,
    "rate too low": rate_too_low,
    "trunk frozen": trunk_frozen,
    "not shuffled": not_shuffled,
    "few images": few_images,
    "other colours": other_colours,
    "masks not mirrored": masks_not_mirrored,
}


def runs(material: Material) -> Found:
    """The curves of each of `RUNS`."""
    found = {}
    for name, run in RUNS.items():
        found[name] = run(material)
        print(f"  {name}: {found[name]['train'][-1]}", flush=True)
    return found


def rates(material: Material) -> list[Found]:
    """Batches times rates, from the same weights; all see as many images, a third of a run's."""
    rows = []
    images = len(material.train[0]) * EPOCHS // 3
    for batch in BATCHES:
        for lr in RATES:
            batches, epoch = shuffled(material.train, batch), len(material.train[0]) // batch
            network = fresh(material.width)
            row = learn(network, batches, material.val, lr, images // batch, epoch, 1)
            rows.append({"batch": batch, "lr": lr, **row})
            print(f"  batch {batch}, rate {lr:g}: {row['val'][-1:]}", flush=True)
    return rows


PARTS: dict[str, Callable[[Material], Any]] = {"runs": runs, "rates": rates}


def entropy(labels: Tensor) -> float:
    """Of the shares of the classes: the loss of a network that knows nothing else."""
    shares = torch.bincount(labels[labels != Scenes.ignore_index].int(), minlength=CLASSES).double()
    shares = shares[shares > 0] / shares.sum()
    return round(-float((shares * shares.log()).sum()), 4)


def prepared(smoke: bool) -> tuple[Material, Mapping[str, Any]]:
    """The scenes, and what the record tells of the settings."""
    material = Material.rendered(smoke)
    return material, {
        "classes": CLASSES,
        "images": len(material.train[0]),
        "batch": BATCH,
        "lr": LR,
        "entropy": entropy(material.train[1]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    return command.in_parts("curves", __doc__, SCHEMA, PARTS, prepared, arguments)


if __name__ == "__main__":
    sys.exit(main())
