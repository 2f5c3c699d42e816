"""One process of several that share a training step, as `torchrun` starts it.

`torchrun --nproc-per-node=2 -m benchmarks.ranks --batch 4 --side 128` prints, as its last line,
{"exchanged": [seconds…], "alone": [seconds…], "sum": [seconds…]}: steps with the gradients
exchanged, steps without (in turn with the former), and one sum over the processes of as many
numbers as the network has weights. All as the first process sees it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.steps import make_batch, update
from benchmarks.timing import wait
from benchmarks.training import CLASSES, network
from fcn_tutorial.losses import upsample_cross_entropy
from fcn_tutorial.models import FCN
from fcn_tutorial.training import distributed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=4, help="images in each process")
    parser.add_argument("--side", type=int, default=128, help="pixels along an image's side")
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    if args.device == "cpu":
        torch.set_num_threads(1)  # a core for each process
    with distributed.group(torch.device(args.device)) as device:
        found = timed(device, args.batch, args.side, args.rounds)
    if distributed.leads():
        print(json.dumps(found))


def timed(device: torch.device, batch: int, side: int, rounds: int) -> dict[str, list[float]]:
    """The three lists of seconds; the first round is not counted."""
    model = network(CLASSES, device)
    scores: nn.Module = _FusedScores(model)
    without: Callable[[], AbstractContextManager[object]] = nullcontext
    if distributed.world_size() > 1:
        wrapped = DistributedDataParallel(scores)
        scores, without = wrapped, wrapped.no_sync
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-6)
    images, target = make_batch(batch, (side, side), CLASSES, device)
    images = images.contiguous(memory_format=torch.channels_last)
    factor, offset, border = model.placement()
    numbers = torch.zeros(sum(p.numel() for p in model.parameters()), device=device)

    def step() -> None:
        coarse = scores(images)
        loss = upsample_cross_entropy(coarse, target, factor, offset, border=border)
        update(optimiser, loss)

    def step_alone() -> None:
        with without():
            step()

    def add_up() -> None:
        distributed.total(numbers)

    work = {"exchanged": step, "alone": step_alone, "sum": add_up}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for count in range(rounds + 1):
        for name, run in work.items():
            distributed.wait()
            wait(device)
            began = time.perf_counter()
            run()
            wait(device)
            if count:
                seconds[name].append(time.perf_counter() - began)
    return seconds


class _FusedScores(nn.Module):
    """The learned part of the network as a module's forward, which DDP needs."""

    def __init__(self, model: FCN) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model.fused_scores(images)


if __name__ == "__main__":
    main()
