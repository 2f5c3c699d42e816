"""A run does what its record says, stops when asked, and goes on as if it never had."""

import csv
import dataclasses
import itertools
import json
import math
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from fcn_tutorial import losses, models, training
from fcn_tutorial.cli import main
from fcn_tutorial.datasets.loading import Augmented
from fcn_tutorial.files import write_atomically
from fcn_tutorial.models import FCN
from fcn_tutorial.training import Recipe, checkpoint, loop, optimisation
from fcn_tutorial.training.records.record import describe
from fcn_tutorial.training.run import RunFolder
from fcn_tutorial.training.stream import EpochSampler
from fcn_tutorial.transforms import augmentation
from fcn_tutorial.upsampling import upsample
from tests.models.networks import fcn

torch.set_num_threads(1)

SMALL = (
    "model.width=0.25", "data.crop=48,64", "data.train_images=10", "data.test_images=4",
    "batch=4", "epochs=3", "validate_every=2", "ema=0.9", "baselines=false",
)  # fmt: skip
SMALL_COMMAND = [
    "train", "scenes-fcn8s", "--device", "cpu",
    *(part for setting in SMALL for part in ("--set", setting)),
]  # fmt: skip


@pytest.fixture
def small() -> Recipe:
    recipe, _ = training.override(training.get("scenes-fcn8s"), SMALL)
    return recipe


def test_a_run_leaves_a_complete_folder_and_its_scores_repeat(
    small: Recipe, tmp_path: Path
) -> None:
    record = training.train(small, tmp_path / "run", seed=1, overrides={"epochs": 3})
    folder = RunFolder(tmp_path / "run")
    assert json.loads(folder.record.read_text()) == json.loads(json.dumps(record))
    assert record["schema"] == 1 and record["recipe"] == "scenes-fcn8s" and record["seed"] == 1
    assert record["train"]["steps"] == 6 and record["train"]["images"] == 10
    for split in ("val", "test"):
        scores = record[split]
        assert scores["split"] == split and scores["images"] == 4
        known = [iu for iu in scores["iu"].values() if iu is not None]
        assert scores["mean_iu"] == pytest.approx(sum(known) / len(known))
    rows = list(csv.DictReader(folder.log.open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [bool(row["val_mean_iu"]) for row in rows] == [False, True, True]
    for picture in (folder.curve, folder.samples):
        Image.open(picture).verify()
    assert not list((tmp_path / "run").glob("*.partial*"))

    model, card = models.load(folder.best)
    model = model.to(memory_format=torch.channels_last)
    assert card.details["recipe"]["epochs"] == 3
    dataset = training.open_split(small, "test", None)
    confusion = training.evaluate(model, dataset)
    assert describe(confusion, dataset.classes, "test", 4) == record["test"]
    assert record["test"]["confusion"] == confusion.matrix.tolist()


def test_a_file_or_a_pipe_is_told_of_steps_speed_and_the_time_left(
    small: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By a clock on which each of twenty steps of four images takes 16 s."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    learn, asked = loop.learn, itertools.count()

    def sixteen_seconds(*arguments: Any) -> Tensor:
        clock.now += 16
        return learn(*arguments)

    monkeypatch.setattr(loop, "learn", sixteen_seconds)
    changed = ["model.width=0.06", "data.crop=32,32", "data.train_images=40", "epochs=2"]
    few, _ = training.override(small, changed)
    with pytest.raises(training.Interrupted):
        training.train(few, tmp_path / "run", stop=lambda: next(asked) == 16)
    lines = capsys.readouterr().out.splitlines()
    told = [re.fullmatch(r"step (\d+) of 20  loss \d\.\d+  0\.2 img/s  (.*) left", line)
            for line in lines if line.startswith("step ")]  # fmt: skip
    # After 16 s, then whenever 30 s have gone by; the tenth step ends an epoch.
    assert [(int(m[1]), m[2]) for m in told if m] == [
        (1, "5 min"), (3, "5 min"), (5, "4 min"), (7, "3 min"), (9, "3 min"), (11, "2 min"),
        (13, "2 min"), (15, "80 s"),
    ]  # fmt: skip
    assert len([line for line in lines if re.match(r"epoch 1 of 2 +160 s  loss", line)]) == 1


def test_a_recipe_chooses_what_its_loss_is_made_of(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each logged loss is a batch's mean focal loss plus half its Lovász loss, from scratch."""
    original, expected = losses.tasks.upsample_loss, []

    def loss_and_definition(scores: Any, target: Any, factor: int, *rest: Any, **more: Any) -> Any:
        with torch.no_grad():
            fine = upsample(scores, factor, tuple(target.shape[1:]), rest[0],
                            border=more["border"])  # fmt: skip
            terms, void, weight, *_ = rest[1:]
            focal = losses.focal_loss(fine, target, terms.focal, void, weight)
            expected.append(float(focal + 0.5 * losses.lovasz_softmax(fine, target)))
            assert terms == (2.0, "lovasz", 0.5)
        return original(scores, target, factor, *rest, **more)

    monkeypatch.setattr(losses.tasks, "upsample_loss", loss_and_definition)
    chosen = ["focal=2", "region=lovasz", "region_weight=0.5", "epochs=1", "data.test_images=1"]
    recipe, _ = training.override(small, chosen)
    record = training.train(recipe, tmp_path)
    assert record["settings"]["region"] == "lovasz" and len(expected) == record["train"]["steps"]
    (row,) = csv.DictReader(RunFolder(tmp_path).log.open())
    assert float(row["loss"]) == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    for wrong, message in (
        ("region=iou", "region=iou: expected one of none, dice, lovasz"),
        ("focal=-1", "focal=-1.0: expected 0 or more"),
        ("region_weight=nan", "region_weight=nan: expected 0 or more"),
    ):
        with pytest.raises(ValueError, match=f"--set {message}"):
            training.override(small, [wrong])


def test_a_stopped_run_resumes_to_the_same_bits(small: Recipe, tmp_path: Path) -> None:
    training.train(small, tmp_path / "whole")
    # In the middle of the first epoch, and of the second; the third time it may end.
    for asked, stop in ((1, asking(1)), (4, asking(4)), (6, loop.never)):
        try:
            training.train(small, tmp_path / "cut", resume=asked > 1, stop=stop)
        except training.Interrupted as stopped:
            assert f"step {asked} of 6" in str(stopped)
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    best, best_cut = (load_file(f.best) for f in (whole, cut))
    assert all(torch.equal(best[key], value) for key, value in best_cut.items())
    ours, theirs = whole.read_state(), cut.read_state()
    for part in ("model", "average"):
        assert all(torch.equal(ours[part][k], v) for k, v in theirs[part].items())
    assert whole.log.read_bytes() == cut.log.read_bytes()


def asking(steps: int) -> Callable[[], bool]:
    """A `stop` that lets a run of six steps, from wherever it goes on, come to so many."""
    done = iter(range(7) if steps == 1 else range(1, 7))
    return lambda: next(done) == steps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_line_ends_with_the_step_at_hand_and_saves_it(
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    learn, steps = loop.learn, []

    def learn_and_signal(*arguments: Any) -> Tensor:
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), number)
        return learn(*arguments)

    monkeypatch.setattr(loop, "learn", learn_and_signal)
    assert main([*SMALL_COMMAND, "--out", str(tmp_path)]) == 130
    assert RunFolder(tmp_path).read_state()["progress"]["step"] == len(steps) == 2
    said = capfd.readouterr().err
    assert (
        "once more stops at once" in said and "stopped at step 2 of 6; the state is saved" in said
    )
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert after == handlers


def test_a_library_call_leaves_signals_to_its_caller(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, seen = loop.learn, []

    def watch(*arguments: Any) -> Tensor:
        seen.append([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)])
        return learn(*arguments)

    monkeypatch.setattr(loop, "learn", watch)
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    training.train(dataclasses.replace(small, epochs=1), tmp_path)
    assert seen and all(handlers == before for handlers in seen)


def test_a_run_folder_is_not_overwritten_and_resumes_only_itself(
    small: Recipe, tmp_path: Path
) -> None:
    short = dataclasses.replace(small, epochs=1)
    training.train(short, tmp_path)
    folder = RunFolder(tmp_path)
    with pytest.raises(ValueError, match="add --resume"):
        training.train(short, tmp_path)
    with pytest.raises(ValueError, match="another recipe"):
        training.train(small, tmp_path, resume=True)
    with pytest.raises(ValueError, match="another seed"):
        training.train(short, tmp_path, seed=5, resume=True)
    whole = folder.last.read_bytes()
    for key, value, what in (
        ("classes", {"labels": ["other"]}, "other classes"),
        ("number of processes", 2, "another number of processes"),
    ):
        folder.last.write_bytes(whole)
        folder.write_state({**folder.read_state(), key: value})
        with pytest.raises(ValueError, match=what):
            training.train(short, tmp_path, resume=True)
    folder.previous.unlink()
    folder.last.write_bytes(whole[:1000])
    with pytest.raises(ValueError, match=r"last\.pt: damaged"):
        training.train(short, tmp_path, resume=True)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        training.train(short, tmp_path / "new", resume=True)


def test_a_diverging_run_says_so(small: Recipe, tmp_path: Path) -> None:
    wild, _ = training.override(small, ["optimiser.lr=1e30", "optimiser.warmup=0"])
    with pytest.raises(ValueError, match=r"no longer finite .* lower optimiser\.lr"):
        training.train(wild, tmp_path)


def test_training_without_its_data_says_how_to_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FCN_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"--data DIR, or set FCN_DATA"):
        training.train(training.get("camvid-fcn8s"), tmp_path / "run")


def test_each_epoch_sees_each_image_once_in_another_order() -> None:
    sampler = EpochSampler(images=12, batch=4, seed=0)
    orders = []
    for sampler.epoch in range(3):
        keys = [key for batch in sampler for key in batch]
        assert {epoch for epoch, _ in keys} == {sampler.epoch}
        assert sorted(index for _, index in keys) == list(range(12))
        orders.append(keys)
    assert len({tuple(i for _, i in order) for order in orders}) == 3
    sampler.start = 2
    assert list(sampler) == [orders[2][8:]] and len(sampler) == 1
    with pytest.raises(ValueError, match="batch=13"):
        EpochSampler(12, 13, 0)


def test_augmentation_depends_on_seed_epoch_and_index_alone(small: Recipe) -> None:
    dataset = training.open_split(small, "train", None)
    transform = augmentation((40, 40), (0.5, 2.0), jitter=0.3)
    augmented = Augmented(dataset, transform, seed=0)
    image, mask = augmented[2, 3]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again, mask_again = augmented[2, 3]
    assert torch.equal(image, again) and torch.equal(mask, mask_again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(image, augmented[3, 3][0])
    assert not torch.equal(image, Augmented(dataset, transform, seed=1)[2, 3][0])


def test_rates_rise_then_fall_to_zero() -> None:
    spec = dataclasses.replace(training.get("camvid-fcn8s").optimiser, warmup=0.1, power=0.9)
    rates = [optimisation.rate(spec, i / 1000) for i in range(1001)]
    peak = max(range(1001), key=rates.__getitem__)
    assert peak == pytest.approx(100, abs=2)
    assert rates[0] == pytest.approx(0.01) and rates[-1] == 0
    assert rates[500] == pytest.approx(0.5**0.9)
    fixed = dataclasses.replace(spec, warmup=0.0, power=0.0)
    assert {optimisation.rate(fixed, i / 10) for i in range(10)} == {1.0}


@pytest.mark.parametrize("method", ["adamw", "sgd"])
def test_biases_and_norms_are_not_decayed_and_trunk_and_scorers_have_their_rates(
    method: str,
) -> None:
    recipe = training.get("scenes-fcn8s")
    spec = dataclasses.replace(
        recipe.optimiser, name=method, lr=0.1, trunk_lr=0.5, weight_decay=0.3
    )
    model = FCN("tiny", 3)
    optimiser = optimisation.make(spec, model)
    optimisation.set_rates(optimiser, 0.2)
    names = {id(p): n for n, p in model.named_parameters()}
    seen = []
    for group in optimiser.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.append(name)
            in_trunk = name.startswith("backbone.")
            assert group["lr"] == pytest.approx(0.1 * 0.2 * (0.5 if in_trunk else 1.0))
            assert group["weight_decay"] == (0.3 if parameter.dim() > 1 else 0.0)
    assert sorted(seen) == sorted(names.values())


#: Modules that work at stride 4 or finer.
FINEST = {
    "mobilenet_v2": ("stage8.0.", "stage8.1.", "stage8.2.", "stage8.3."),
    "efficientnet_b0": ("stage8.0.", "stage8.1.", "stage8.2.", "stage8.3."),
    "convnext_tiny": ("stage8.0.", "stage8.1.", "stage8.2.0."),
}


@pytest.mark.parametrize("trunk", FINEST)
def test_frozen_layers_are_those_at_their_stride_or_finer(trunk: str) -> None:
    model = fcn(trunk, 3, norms="folded", width=0.25)
    optimisation.freeze(model, 1)
    assert all(p.requires_grad for p in model.parameters())
    optimisation.freeze(model, 4)
    # Every frozen weight sees only what the second halving or an earlier one has left.
    image = torch.randn(1, 3, 64, 64)
    sizes = {}

    def note(name: str) -> Any:
        return lambda module, inputs, output: sizes.__setitem__(name, output.shape[-1])

    for name, module in model.named_modules():
        if "fc" in name:
            continue  # of a squeeze-and-excite block: its map is one pixel at every stride
        if isinstance(module, torch.nn.Conv2d) and name.startswith("backbone."):
            module.register_forward_hook(note(name))
    model(image)
    for name, size in sizes.items():
        weight = model.get_parameter(f"{name}.weight")
        assert weight.requires_grad == (64 // size > 4), name
    # And with a convolution stops all that lies beside it: norms, linear layers, scales, factors.
    held = {n for n, p in model.backbone.named_parameters() if not p.requires_grad}
    stage8 = [n for n, _ in model.backbone.named_parameters() if n.startswith("stage8")]
    finest = [n for n in stage8 if n.startswith(FINEST[trunk])]
    assert finest and held >= {*finest} and not any(n.startswith("stage16") for n in held)


def test_the_average_is_exponential() -> None:
    model, average = FCN("tiny", 2), FCN("tiny", 2)
    before = {k: v.clone() for k, v in average.named_parameters()}
    model.backbone.stage8[1].running_mean.fill_(7.0)  # type: ignore[index, union-attr, operator]
    optimisation.update_average(average, model, 0.75)
    for key, value in average.named_parameters():
        expected = 0.75 * before[key] + 0.25 * model.get_parameter(key)
        assert torch.allclose(value, expected)
    assert (average.backbone.stage8[1].running_mean == 7.0).all()  # type: ignore[index, union-attr]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_run_learns(tmp_path: Path) -> None:
    """Sixty steps on sixteen scenes bring the loss well below ln C, where it starts."""
    recipe, _ = training.override(
        training.get("scenes-fcn8s"),
        ["model.width=0.5", "data.crop=64,64", "data.train_images=16", "data.test_images=2",
         "batch=8", "epochs=30", "validate_every=30", "class_weights=none"],
    )  # fmt: skip
    training.train(recipe, tmp_path)
    rows = list(csv.DictReader(RunFolder(tmp_path).log.open()))
    assert float(rows[0]["loss"]) < math.log(12) + 0.2
    assert float(rows[-1]["loss"]) < 0.6 * math.log(12)
