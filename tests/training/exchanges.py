"""Run by `torchrun`: how often gradients are exchanged in a few steps of a run.

torchrun --nproc-per-node=2 tests/training/exchanges.py OUT ACCUMULATE COMPILE
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from fcn_tutorial import training
from fcn_tutorial.training import distributed, loop


def main() -> None:
    """Print the exchanges of each step, as counted by a hook on the gradients' reduction."""
    out, accumulate, compiled = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    torch.compile = partial(torch.compile, backend="eager")  # type: ignore[assignment]
    recipe, _ = training.override(
        training.get("scenes-fcn8s"),
        ["model.width=0.25", "data.crop=48,64", "data.train_images=8", "data.test_images=1",
         "batch=4", "epochs=4", "validate_every=9", f"accumulate={accumulate}",
         f"compile={compiled}"],
    )  # fmt: skip
    learn, exchanges = loop.learn, []

    def count(state, bucket):  # DistributedDataParallel takes no other annotations than its own
        exchanges[-1] += 1
        return allreduce_hook(state, bucket)

    def learn_and_count(run: Any, parts: Any) -> Any:
        if not exchanges:
            run.shared.register_comm_hook(None, count)
        exchanges.append(0)
        return learn(run, parts)

    loop.learn = learn_and_count
    with distributed.group(torch.device("cpu")):
        training.train(recipe, out)
        if distributed.rank() == 0:
            print("exchanges", *exchanges)


if __name__ == "__main__":
    main()
