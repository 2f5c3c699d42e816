"""Statistics of batch norms in one pass, and what a step weighs its pixels with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fcn_tutorial import training
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.models import FCN
from fcn_tutorial.training import norms, optimisation
from fcn_tutorial.training.optimisation import Objective
from fcn_tutorial.training.run import RunFolder


def test_they_are_the_mean_of_each_batchs_mean_and_variance() -> None:
    torch.manual_seed(0)
    network, scenes = FCN("tiny", 8, width=0.25), Scenes(n=5, size=(32, 48))
    network.train()
    seen: list[Any] = []
    first: Any = network.backbone.stage8[1]
    assert isinstance(first, nn.BatchNorm2d)
    hook = first.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
    norms.recompute(network, scenes, 2)
    hook.remove()
    assert [len(batch) for batch in seen] == [2, 2, 1]
    means = torch.stack([batch.mean((0, 2, 3)) for batch in seen]).mean(0)
    variances = torch.stack([batch.var((0, 2, 3)) for batch in seen]).mean(0)
    assert torch.allclose(first.running_mean, means, atol=1e-5)  # type: ignore[arg-type]
    assert torch.allclose(first.running_var, variances, rtol=1e-4)  # type: ignore[arg-type]
    assert network.training and first.training and first.momentum == 0.1
    before = [m.running_mean.clone() for m in network.modules() if isinstance(m, nn.BatchNorm2d)]  # type: ignore[union-attr]
    norms.recompute(network, scenes, 2)  # says the same again, whatever was there
    after = [m.running_mean for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))  # type: ignore[arg-type]


def test_a_recipe_that_asks_for_it_keeps_the_weights_with_them(tmp_path: Path) -> None:
    recipe, _ = training.override(
        training.smoke(training.get("scenes-fcn8s")), ["recompute_norms=true"]
    )
    training.train(recipe, tmp_path / "run")
    kept = load_file(RunFolder(tmp_path / "run").best)
    counters = {n: int(t) for n, t in kept.items() if n.endswith("num_batches_tracked")}
    assert set(counters.values()) == {recipe.data.train_images // recipe.batch}
    with pytest.raises(ValueError, match="recompute_norms=true"):
        training.override(recipe, ["frozen_norms=true"])


def test_weights_of_classes_can_be_given_or_be_of_median_frequency() -> None:
    recipe = training.smoke(training.get("scenes-fcn8s"))
    names = Scenes.classes
    factors = ",".join(str(1 + i) for i in range(len(names)))
    given, _ = training.override(recipe, [f"class_factors={factors}"])
    scenes = Scenes(n=3, size=(32, 32))
    found = optimisation.class_weights(given, scenes)["labels"]
    assert found.tolist() == [1.0 + i for i in range(len(names))]
    with pytest.raises(ValueError, match=f"class_factors: 1 numbers for {len(names)} classes"):
        optimisation.class_weights(training.override(recipe, ["class_factors=2"])[0], scenes)
    median, _ = training.override(recipe, ["class_weights=median"])
    found = optimisation.class_weights(median, scenes)["labels"]
    masks = torch.stack([mask for _, mask in scenes])
    frequencies = {}
    for i in range(len(names)):
        holding = [mask for mask in masks if bool((mask == i).any())]
        if holding:
            pixels = sum(int((mask == i).sum()) for mask in holding)
            frequencies[i] = pixels / sum(mask.numel() for mask in holding)
    middle = float(torch.tensor([*frequencies.values()], dtype=torch.float64).quantile(0.5))
    for i in range(len(names)):
        assert float(found[i]) == pytest.approx(middle / frequencies[i] if i in frequencies else 0)


def test_borders_cost_more_in_a_run_that_asks_for_it() -> None:
    recipe = training.smoke(training.get("scenes-fcn8s"))
    weighed, _ = training.override(recipe, ["border_weight=10"])
    network = FCN("tiny", 2, width=0.25)
    labels = torch.ones(1, 32, 32, dtype=torch.uint8)
    labels[..., 15] = 0
    scores = torch.randn(1, 2, 4, 4)
    values = []
    for one in (recipe, weighed):
        objective = Objective(one, network, {"labels": torch.ones(2)}, [{"labels": labels}])
        values.append(float(objective.of(scores, {"labels": labels})))
    fine = network.enlarge(scores, (32, 32))
    column = nn.functional.cross_entropy(fine, labels.long(), reduction="none")[..., 15]
    extra = 10 * torch.exp(torch.tensor(-4 / 50)) * column.sum() / labels.numel()
    assert values[1] - values[0] == pytest.approx(float(extra), rel=1e-4)


@pytest.mark.parametrize("loss", ["mean", "sum", "image_mean"])
def test_a_batch_without_a_labelled_pixel_teaches_nothing(loss: str) -> None:
    """A division by the smallest number there is would make its gradient infinite times zero."""
    recipe = training.smoke(training.get("scenes-fcn8s"))
    settings = [f"loss={loss}", "border_weight=10", "accumulate=2"]
    recipe, _ = training.override(recipe, settings)
    network = FCN("tiny", 2, width=0.25)
    labels = {"labels": torch.full((1, 32, 32), 255, dtype=torch.uint8)}
    objective = Objective(recipe, network, {"labels": torch.ones(2)}, [labels, labels])
    scores = torch.randn(1, 2, 4, 4, requires_grad=True)
    share = objective.of(scores, labels)
    share.backward()
    assert float(share) == 0 and scores.grad is not None and not scores.grad.any()
