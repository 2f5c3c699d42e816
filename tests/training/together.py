"""Run by `torchrun`: what processes do together, written for the test to compare.

torchrun --nproc-per-node=2 tests/training/together.py OUT cpu|cuda

A small network is trained into OUT/two, and one confusion matrix counted; then two short runs that
accumulate, plain and compiled, are counted in OUT/counts.json: {"steps": …, "plain": backward
passes that exchanged gradients, "compiled": …}. On CUDA the processes share one device.
"""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from fcn_tutorial import training
from fcn_tutorial.training import Recipe, distributed, loop


def recipe(batch: int) -> Recipe:
    """Twenty steps; windows larger than the scenes, so that images differ in void."""
    base, _ = training.override(
        training.get("scenes-fcn8s"),
        ["model.width=0.5", "data.crop=48,64", "data.scale=0.4,1.0", "data.train_images=32",
         "data.test_images=5", f"batch={batch}", "epochs=5", "validate_every=5",
         "frozen_norms=true", "class_weights=inverse_sqrt", "optimiser.lr=0.05"],
    )  # fmt: skip
    return dataclasses.replace(
        base, optimiser=dataclasses.replace(base.optimiser, name="sgd", clip=1.0)
    )


def train_and_score(out: Path, batch: int, device: torch.device) -> None:
    """Train into `out`; then score the same untrained network in all processes together."""
    training.train(recipe(batch), out, device=device)
    spec = recipe(batch)
    dataset = training.open_split(spec, "test", None)
    splits = {"train": dataset, "val": dataset}
    begun = loop.start(spec, 1, training.RunFolder(out), splits, None, device)
    torch.manual_seed(0)  # `start` seeds each process of its own
    torch.nn.init.normal_(begun.network.get_parameter("score_fr.weight"))
    matrix = training.evaluate(begun.network, dataset).matrix
    if distributed.rank() == 0:
        torch.save(matrix, out / "matrix.pt")


class Counting(DistributedDataParallel):
    """Counts the backward passes whose gradients are exchanged, and exchanges them as usual."""

    exchanges = 0

    def __init__(self, module: nn.Module, *arguments: Any, **options: Any) -> None:
        super().__init__(module, *arguments, **options)
        self.register_comm_hook(None, _count)


def _count(state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    Counting.exchanges += bucket.is_last()
    return allreduce_hook(None, bucket)  # type: ignore[arg-type]


def count_exchanges(out: Path, device: torch.device) -> None:
    """Two short runs with the class that counts in the place of torch's."""
    loop.DistributedDataParallel = Counting  # type: ignore[misc]
    if device.type == "cpu":  # the compiler of the CPU takes half a minute
        torch.compile = partial(torch.compile, backend="eager")
    counts = {}
    for name, compiled in (("plain", "false"), ("compiled", "true")):
        small, _ = training.override(
            training.get("scenes-fcn8s"),
            ["model.width=0.25", "data.crop=48,64", "data.train_images=16", "data.test_images=2",
             "batch=4", "accumulate=2", "epochs=3", "validate_every=3", "baselines=false",
             f"compile={compiled}"],
        )  # fmt: skip
        Counting.exchanges = 0
        record = training.train(small, out / name, device=device)
        counts |= {name: Counting.exchanges, "steps": record["train"]["steps"]}
    if distributed.rank() == 0:
        (out / "counts.json").write_text(json.dumps(counts))


def main() -> None:
    """All of it, in each process."""
    out, device = Path(sys.argv[1]), torch.device(sys.argv[2])
    torch.set_num_threads(1)
    if device.type == "cuda":
        dist.init_process_group("gloo")  # NCCL refuses two processes on one device
    with distributed.group(device):
        train_and_score(out / "two", 4, device)
        count_exchanges(out, device)


if __name__ == "__main__":
    main()
