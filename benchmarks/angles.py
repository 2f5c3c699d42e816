"""Angles between the gradients of two tasks on one trunk, over a training.

    python -m benchmarks.angles [--only SEED]… [--json FILE] [--smoke] [--threads N]

A narrow FCN-8s with a semantic and a geometric head learns generated scenes from random weights;
each step adds the two losses. At some steps the training stands still, and each of `BATCHES`
batches gives two gradients with respect to the trunk's weights, one a task. A complete run that is
not a smoke run writes `benchmarks/results/angles-cpu.json` (a minute on an idle CPU core);
others write where `--json` says. Exit status as `benchmarks.core`.

The file, after what `benchmarks.command.head` says:

    "settings": {"images": …, "batch": …, "lr": …, "weights": of the trunk},
    "seeds": {"0": [{"step": 1, "between": [cosine of semantic and geometric gradient, a batch],
                     "within": [cosine of the semantic gradients of two batches, a pair of batches],
                     "ratio": [norm of the geometric gradient by the semantic one's, a batch],
                     "losses": {"semantic": …, "geometric": …}}, …], …}
"""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks import command
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.losses import TaskLosses, multitask_loss
from fcn_tutorial.models import FCN

SCHEMA = 1
SEEDS = ("0", "1", "2")
LR, BATCH, BATCHES, SIDE = 4e-3, 8, 6, 64
AT = (1, 2, 5, 10, 20, 50, 100, 200)  # steps done; at none the trunk has no gradient yet
TASKS = {"semantic": len(Scenes.classes), "geometric": len(Scenes.geometric_classes)}

Images = tuple[Tensor, dict[str, Tensor]]


def rendered(n: int) -> Images:
    """The first n training scenes and their labels for both tasks."""
    scenes = Scenes(n=n, size=(SIDE, SIDE), task="both")
    images, masks = zip(*(scenes[i] for i in range(n)), strict=True)
    truth = {task: torch.stack([m[task] for m in masks]).as_subclass(Tensor) for task in TASKS}
    return torch.stack(images).as_subclass(Tensor), truth


def loss_of(network: FCN, data: Images, pick: Tensor) -> TaskLosses:
    """The sum of the tasks' mean losses, and each by itself, on some of the images."""
    images, truth = data
    scores = network(network.preprocess(images[pick]))
    return multitask_loss(scores, {task: labels[pick] for task, labels in truth.items()}, 1)


def gradients(network: FCN, data: Images, pick: Tensor) -> dict[str, Tensor]:
    """Each task's gradient with respect to the weights of the trunk, as one vector."""
    found = {}
    for task in TASKS:
        network.zero_grad()
        images, truth = data
        scores = network(network.preprocess(images[pick]))
        multitask_loss({task: scores[task]}, {task: truth[task][pick]}, 1).total.backward()
        grads = [p.grad for p in network.backbone.parameters() if p.grad is not None]
        found[task] = torch.cat([grad.flatten() for grad in grads])
    return found


def cosine(one: Tensor, other: Tensor) -> float:
    """Of the angle between two vectors, to three decimals."""
    return round(float(one @ other / (one.norm() * other.norm())), 3)


def measure(network: FCN, data: Images) -> dict[str, Any]:
    """What the file says of one step; the network itself is left alone, its norms included."""
    network = copy.deepcopy(network)
    picks = torch.arange(len(data[0])).split(BATCH)[:BATCHES]
    found = [gradients(network, data, pick) for pick in picks]
    parts = loss_of(network, data, picks[0]).parts
    return {
        "between": [cosine(g["semantic"], g["geometric"]) for g in found],
        "within": [
            cosine(a["semantic"], b["semantic"]) for a, b in itertools.combinations(found, 2)
        ],
        "ratio": [round(float(g["geometric"].norm() / g["semantic"].norm()), 3) for g in found],
        "losses": {task: round(float(loss), 4) for task, loss in parts.items()},
    }


def learn(seed: int, data: Images, steps: Sequence[int], width: float) -> list[dict[str, Any]]:
    """Train from random weights, and measure after each of `steps`."""
    torch.manual_seed(seed)
    network = FCN("tiny", TASKS, 8, width=width)
    optimiser = torch.optim.AdamW(network.parameters(), LR, weight_decay=1e-4)
    rows = []
    for step in range(1, max(steps) + 1):
        loss = loss_of(network, data, torch.randint(len(data[0]), (BATCH,)))
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        if step in steps:
            rows.append({"step": step, **measure(network, data)})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    args = command.parser("angles", __doc__, SEEDS).parse_args(arguments)
    planned = command.plan(args, "angles", SEEDS)
    if planned is None:
        return 1
    device, chosen, path = planned
    images, steps, width = (16, (1, 2), 1 / 8) if args.smoke else (128, AT, 1 / 2)
    data = rendered(images)
    trunk = FCN("tiny", TASKS, 8, width=width).backbone
    settings = {
        "images": images,
        "batch": BATCH,
        "lr": LR,
        "weights": sum(p.numel() for p in trunk.parameters()),
    }
    record: dict[str, Any] = {**command.head(SCHEMA, device, args.smoke), "settings": settings}
    record["seeds"] = {}
    for seed in chosen:
        record["seeds"][seed] = learn(int(seed), data, steps, width)
        print(f"seed {seed}: {record['seeds'][seed][-1]}", flush=True)
        command.keep(record, path)
    command.tell(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
