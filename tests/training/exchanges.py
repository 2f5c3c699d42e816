"""Run by `torchrun`: train with accumulation, plain and compiled, and count exchanged gradients.

torchrun --nproc-per-node=2 tests/training/exchanges.py OUT cpu|cuda

Writes OUT/counts.json: {"steps": …, "plain": backward passes that exchanged, "compiled": …}.
"""

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


class Counting(DistributedDataParallel):
    """Counts the backward passes whose gradients are exchanged, and exchanges them as usual."""

    exchanges = 0

    def __init__(self, module: nn.Module, *arguments: Any, **options: Any) -> None:
        super().__init__(module, *arguments, **options)
        self.register_comm_hook(None, _count)


def _count(state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    Counting.exchanges += bucket.is_last()
    return allreduce_hook(None, bucket)  # type: ignore[arg-type]


def main() -> None:
    """Two short runs; what the package imports from torch is replaced before it is imported."""
    out, device = Path(sys.argv[1]), torch.device(sys.argv[2])
    torch.set_num_threads(1)
    torch.nn.parallel.DistributedDataParallel = Counting  # type: ignore[misc]
    if device.type == "cpu":  # the compiler of the CPU takes half a minute
        torch.compile = partial(torch.compile, backend="eager")
    from fcn_tutorial import training

    dist.init_process_group("gloo")  # on CUDA both share one device, which NCCL refuses
    counts = {}
    for name, compiled in (("plain", "false"), ("compiled", "true")):
        recipe, _ = training.override(
            training.get("scenes-fcn8s"),
            ["model.width=0.25", "data.crop=48,64", "data.train_images=16", "data.test_images=2",
             "batch=4", "accumulate=2", "epochs=3", "validate_every=3", "baselines=false",
             f"compile={compiled}"],
        )  # fmt: skip
        Counting.exchanges = 0
        record = training.train(recipe, out / name, device=device)
        counts |= {name: Counting.exchanges, "steps": record["train"]["steps"]}
    if dist.get_rank() == 0:
        (out / "counts.json").write_text(json.dumps(counts))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
