"""Every recipe runs from the command line, small, on generated data in the official layouts."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fcn_tutorial import training, visualize
from fcn_tutorial.cli import main
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.datasets.sources import SOURCES
from fcn_tutorial.training import RECIPES
from fcn_tutorial.training.run import RunFolder


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as FCN_DATA names it, with ten scenes or so in every layout."""
    root = tmp_path_factory.mktemp("data")
    for name, n in (("voc", 8), ("nyud", 8), ("siftflow", 8), ("camvid", 8), ("isbi-em", 2)):
        write = SOURCES[name].writer
        assert write is not None
        write(root, n=n, size=(72, 96), seed=0)
    scenes = Scenes(n=10, size=(72, 96))
    for part in ("images", "masks"):
        (root / "own" / part).mkdir(parents=True)
    for i in range(10):
        image, mask = scenes[i]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / "own" / "images" / f"{i}.png")
        Image.fromarray(mask.numpy()).save(root / "own" / "masks" / f"{i}.png")
    return root


def command(recipe: str, root: Path, out: Path) -> list[str]:
    data = root / "own" if recipe.startswith("folder") else root
    given = (
        ["--set", f"data.classes={','.join(Scenes.classes)}"] if recipe.startswith("folder") else []
    )
    # Half of so short a run would be the forest of colours; test_cli.py has a run with it.
    given += ["--set", "baselines=false"]
    return ["train", recipe, "--smoke", "--data", str(data), "--out", str(out), *given]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_small_and_leaves_a_complete_run(
    name: str, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Half of so short a run would be matplotlib's; test_loop.py has a run draw its curve.
    monkeypatch.setattr(visualize, "training_curve", lambda rows, path, curves: path.touch())
    assert main(command(name, generated, tmp_path / "run")) == 0
    folder = RunFolder(tmp_path / "run")
    record: dict[str, Any] = json.loads(folder.record.read_text())
    recipe = training.get(name)
    assert record["recipe"] == name and record["train"]["steps"] == 2
    assert record["overrides"]["smoke"] is True
    for path in (folder.last, folder.best, folder.log, folder.curve, folder.samples):
        assert path.is_file(), path.name
    for split in ("val", "test"):
        wanted = getattr(recipe.data, f"{split}_split")
        assert (record[split] is None) == (not wanted)
    if recipe.data.task == "both":
        assert set(record["val"]["tasks"]) == {"semantic", "geometric"}
        assert record["val"]["mean_iu"] == record["val"]["tasks"]["semantic"]["mean_iu"]
    assert len(record["published"]) == len(recipe.published)


@pytest.mark.slow
def test_a_vgg16_recipe_runs_at_full_width(generated: Path, tmp_path: Path) -> None:
    recipe, _ = training.override(training.get("voc-fcn8s-today"), ["model.width=16", "ema=0"])
    small = training.smoke(recipe)
    assert small.model.width == 1
    # SGD without momentum keeps nothing but the weights, which are half a gigabyte on disk.
    plain = dataclasses.replace(recipe.optimiser, name="sgd", momentum=0.0)
    record = training.train(
        dataclasses.replace(small, optimiser=plain), tmp_path / "run", data=generated
    )
    stored = training.RunFolder(tmp_path / "run").read_state()["model"]
    # FCN-32s with 21 classes has 134,346,581 parameters; the skips read 512 and 256 channels.
    skips = 21 * (512 + 1) + 21 * (256 + 1)
    assert sum(tensor.numel() for tensor in stored.values()) == 134_346_581 + skips
    assert record["val"]["images"] == 2


def test_stages_start_from_each_other(generated: Path, tmp_path: Path) -> None:
    """--staged: what an untrained finer net says first is what the coarser one has learned."""
    out = tmp_path / "runs" / "voc-fcn8s-seed0"
    assert main([*command("voc-fcn8s", generated, out), "--staged"]) == 0
    kinds = {}
    for name in ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s"):
        folder = RunFolder(tmp_path / "runs" / f"{name}-seed0")
        kinds[name] = json.loads(folder.record.read_text())["train"]["weights"]["kind"]
    assert kinds == {"voc-fcn32s": "random", "voc-fcn16s": "network", "voc-fcn8s": "network"}
    coarse = (tmp_path / "runs" / "voc-fcn32s-seed0" / "record.json").stat().st_mtime_ns
    # A second time, nothing is left to do, and nothing is done.
    assert main([*command("voc-fcn8s", generated, out), "--staged"]) == 0
    assert (tmp_path / "runs" / "voc-fcn32s-seed0" / "record.json").stat().st_mtime_ns == coarse


def test_late_fusion_starts_from_one_network_for_each_stream(
    generated: Path, tmp_path: Path
) -> None:
    out = tmp_path / "nyud-fcn16s-rgb-hha-seed0"
    assert main([*command("nyud-fcn16s-rgb-hha", generated, out), "--staged"]) == 0
    names = {path.name.removesuffix("-seed0") for path in tmp_path.iterdir()}
    assert names == {
        "nyud-fcn32s-rgb", "nyud-fcn32s-hha", "nyud-fcn32s-rgb-hha", "nyud-fcn16s-rgb-hha"
    }  # fmt: skip
    record = json.loads((tmp_path / "nyud-fcn32s-rgb-hha-seed0" / "record.json").read_text())
    assert len(record["train"]["weights"]["files"]) == 2


def test_the_scores_of_a_run_repeat_from_its_folder(
    generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command("camvid-fcn8s", generated, out)) == 0
    record = json.loads((out / "record.json").read_text())
    capsys.readouterr()
    assert main(["evaluate", str(out), "--data", str(generated)]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["mean_iu"] == pytest.approx(record["test"]["mean_iu"], abs=1e-6)


def test_tensorboard_gets_losses_scores_and_samples(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = training.smoke(training.get("scenes-fcn8s"))
    training.train(recipe, tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    scalars = set(events.Tags()["scalars"])
    assert {"train/loss", "train/lr", "train/images_per_second", "val/mean_iu"} <= scalars
    assert events.Tags()["images"] == ["val/samples"]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_keeps_float32_weights(precision: str, tmp_path: Path) -> None:
    recipe, _ = training.override(
        training.smoke(training.get("scenes-fcn8s")), [f"precision={precision}"]
    )
    record = training.train(recipe, tmp_path)
    assert record["train"]["precision"] == precision
    state = RunFolder(tmp_path).read_state()
    weights = [t for t in state["model"].values() if t.is_floating_point()]
    assert {tensor.dtype for tensor in weights} == {torch.float32}
    assert (state["scaler"] != {}) == (precision == "float16")


def test_a_staged_recipe_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    """Its stages are known by name, so the change would be lost."""
    shorter = dataclasses.replace(training.get("scenes-fcn8s-staged"), epochs=1)
    with pytest.raises(ValueError, match="scenes-fcn8s-staged was changed; give the changes as"):
        training.train_staged(shorter, tmp_path / "run", lambda stage: stage)
    assert not list(tmp_path.iterdir())
