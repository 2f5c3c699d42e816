"""Run by `torchrun`: train a small network, and count one confusion matrix, in some processes.

torchrun --nproc-per-node=2 tests/training/together.py OUT BATCH cpu|cuda

On CUDA they share one device.
"""

import dataclasses
import sys
from pathlib import Path

import torch

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


def main() -> None:
    """Train into OUT; then score the same untrained network in all processes together."""
    out, batch, device = Path(sys.argv[1]), int(sys.argv[2]), torch.device(sys.argv[3])
    torch.set_num_threads(1)
    if device.type == "cuda":
        torch.distributed.init_process_group("gloo")  # NCCL refuses two processes on one device
    with distributed.group(device):
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


if __name__ == "__main__":
    main()
