"""Train the paper's stages on generated scenes; four small networks land beside this file.

    python data/weights/train_scene_stages.py [RUNS]

FCN-32s, then 16s and 8s that start from it, and 32s alone for as many epochs as all three: seed 0
of the recipes `scenes-fcn8s-staged` (`--staged`) and `scenes-fcn32s-long`. Five minutes on two CPU
cores. Run folders go to RUNS (`runs` by default), under the names that `fcn-tutorial train` gives
them; one that is finished is taken as it is.

Convolutions are stored in eight bits, a step for each output channel. The batch norm behind each
takes the step into its statistics, so that `models.load` needs to know nothing of it.
"""

from __future__ import annotations

import argparse
import copy
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fcn_tutorial import models
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.training import recipes
from fcn_tutorial.training.evaluation import evaluate
from fcn_tutorial.training.staged import train_staged

SEED = 0
MADE_BY = "data/weights/train_scene_stages.py"
#: Recipe of each file that is written.
STAGES = {
    "scenes-fcn32s": "scene-fcn32s",
    "scenes-fcn16s": "scene-fcn16s",
    "scenes-fcn8s-staged": "scene-fcn8s",
    "scenes-fcn32s-long": "scene-fcn32s-long",
}


def in_eight_bits(model: nn.Module) -> dict[str, Tensor]:
    """The state of a network whose convolutions, where a batch norm follows, are int8.

    With w ≈ step · q, what the norm makes of w ∗ x − mean it makes of q ∗ x − mean / step too, once
    its variance is divided by step² as well.
    """
    state = copy.deepcopy(model.state_dict())
    layers = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)
    ]
    for (conv_name, conv), (name, norm) in pairwise(layers):
        if not isinstance(norm, nn.BatchNorm2d) or not isinstance(conv, nn.Conv2d):
            continue
        assert norm.running_mean is not None and norm.running_var is not None
        step = (conv.weight.detach().abs().amax((1, 2, 3)) / 127).clamp(min=1e-12)
        whole = (conv.weight.detach() / step[:, None, None, None]).round()
        state[f"{conv_name}.weight"] = whole.to(torch.int8)
        state[f"{name}.running_mean"] = norm.running_mean / step
        state[f"{name}.running_var"] = (norm.running_var + norm.eps) / step**2 - norm.eps
    return state


def main() -> None:
    """Train what is not trained yet, write the four files, and show what eight bits cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=Path, default=Path("runs"))
    runs: Path = parser.parse_args().runs
    for last in ("scenes-fcn8s-staged", "scenes-fcn32s-long"):
        train_staged(recipes.get(last), runs / f"{last}-seed{SEED}", lambda r: r, seed=SEED)
    test = Scenes(n=200, split="test")
    for recipe, name in STAGES.items():
        trained = runs / f"{recipe}-seed{SEED}" / "best.safetensors"
        out = Path(__file__).with_name(f"{name}.safetensors")
        with safe_open(trained, "pt") as file:
            metadata = dict(file.metadata() or {}) | {"made by": MADE_BY}
        model, _ = models.load(trained)
        save_file(in_eight_bits(model), out, metadata)
        small, _ = models.load(out)
        before, after = (100 * evaluate(m, test).compute().mean_iu for m in (model, small))
        print(f"{out.name}: {out.stat().st_size / 1e6:.2f} MB, mean IU {after:.2f} ({before:.2f})")


if __name__ == "__main__":
    main()
