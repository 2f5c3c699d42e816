"""A run that was cut goes on as itself, as asked, or not at all."""

import copy
import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fcn_tutorial import training
from fcn_tutorial.cli import main
from fcn_tutorial.models.trunks import PLANS, build
from fcn_tutorial.training import Recipe, RunFolder, loop
from tests.training.killing import command, differences

torch.set_num_threads(1)

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
SMALL = (
    "model.width=0.25", "data.crop=48,64", "data.train_images=8", "data.test_images=2",
    "batch=4", "epochs=3", "validate_every=3", "baselines=false",
)  # fmt: skip


@pytest.fixture
def small() -> Recipe:
    return training.override(training.get("scenes-fcn8s"), SMALL)[0]


def after(steps: int) -> Callable[[], bool]:
    """A `stop` for a run that begins."""
    asked = iter(range(100))
    return lambda: next(asked) == steps


def cut(recipe: Recipe, out: Path, steps: int, **options: Any) -> RunFolder:
    """A run stopped after so many steps."""
    with pytest.raises(training.Interrupted):
        training.train(recipe, out, stop=after(steps), **options)
    return RunFolder(out)


# --- Settings, epochs, seeds --------------------------------------------------------------------


def test_a_run_goes_on_with_another_rate_if_that_is_named_and_the_record_says_so(
    small: Recipe, tmp_path: Path
) -> None:
    folder = cut(small, tmp_path, 3)
    slower, named = training.override(small, ["optimiser.lr=1e-5", "optimiser.warmup=0.05"])
    with pytest.raises(ValueError, match=r"optimiser\.lr=0\.004 instead of 1e-05; .*or say --set"):
        training.train(slower, tmp_path, resume=True)
    other, options = training.override(small, ["model.dropout=0.5"])
    with pytest.raises(ValueError, match=r"model\.dropout=0\.0 instead of 0\.5; resume with the s"):
        training.train(other, tmp_path, resume=True, overrides=options)
    record = training.train(slower, tmp_path, resume=True, overrides=named)
    change = {"step": 3, "setting": "optimiser.lr", "from": 0.004, "to": 1e-5}
    assert record["train"]["changes"] == [change]
    rates = [float(row["lr"]) for row in csv.DictReader(folder.log.open())]
    assert rates[0] > 1e-3 and max(rates[1:]) <= 1e-5
    # From here on that is the run's rate, and going back to the first one must be said as well.
    with pytest.raises(ValueError, match=r"optimiser\.lr=1e-05 instead of 0\.004"):
        training.train(small, tmp_path, resume=True)


def test_a_finished_run_goes_on_for_more_epochs(small: Recipe, tmp_path: Path) -> None:
    training.train(small, tmp_path)
    longer, named = training.override(small, ["epochs=5"])
    record = training.train(longer, tmp_path, resume=True, overrides=named)
    assert record["train"]["steps"] == 10 and record["settings"]["epochs"] == 5
    assert record["train"]["changes"][0]["setting"] == "epochs"
    rows = list(csv.DictReader(RunFolder(tmp_path).log.open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    shorter, named = training.override(small, ["epochs=1"])
    with pytest.raises(ValueError, match="epochs=1 ends at step 2, the checkpoint is at step 10"):
        training.train(shorter, tmp_path, resume=True, overrides=named)


def test_auto_begins_goes_on_and_leaves_a_finished_run_alone(tmp_path: Path) -> None:
    options = [part for setting in SMALL for part in ("--set", setting)]
    line = ["train", "scenes-fcn8s", "--device", "cpu", *options, "--resume", "auto", "--out"]
    assert main([*line, str(tmp_path / "whole")]) == 0
    small, _ = training.override(training.get("scenes-fcn8s"), SMALL)
    cut(small, tmp_path / "cut", 2)
    assert main([*line, str(tmp_path / "cut")]) == 0
    folder = RunFolder(tmp_path / "cut")
    assert folder.log.read_bytes() == RunFolder(tmp_path / "whole").log.read_bytes()
    written = {path: path.stat().st_mtime_ns for path in folder.path.iterdir()}
    assert main([*line, str(tmp_path / "cut")]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.path.iterdir()} == written


def test_a_finished_run_is_not_overwritten_because_its_checkpoints_are_gone(
    small: Recipe, tmp_path: Path
) -> None:
    training.train(small, tmp_path)
    folder = RunFolder(tmp_path)
    for path in (folder.last, folder.previous):
        path.unlink()
    best = folder.best.read_bytes()
    with pytest.raises(ValueError, match="holds a run already"):
        training.train(small, tmp_path)
    other, named = training.override(small, ["epochs=1"])
    for resume in (True, "auto"):
        with pytest.raises(FileNotFoundError, match="nothing to resume"):
            training.train(other, tmp_path, resume=resume, overrides=named)
    assert folder.best.read_bytes() == best
    assert training.train(small, tmp_path, resume="auto")["train"]["steps"] == 6


# --- Data and weights ---------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for part in ("images", "masks"):
        (tmp_path / "own" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(10):
        image = rng.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / "own" / "images" / f"{i}.png")
        Image.fromarray((image[..., 0] > 99).astype(np.uint8)).save(
            tmp_path / "own" / "masks" / f"{i}.png"
        )
    return tmp_path / "own"


@pytest.fixture
def folder_recipe() -> Recipe:
    settings = ["model.backbone=tiny", "model.weights=", "model.width=0.25", "data.crop=32,32",
                "data.epoch_images=8", "batch=2", "epochs=2", "validate_every=2",
                "data.classes=dark,light", "model.norms=batch", "baselines=false"]  # fmt: skip
    return training.override(training.get("folder"), settings)[0]


def test_other_data_are_refused_or_accepted_by_name(
    folder_recipe: Recipe, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    cut(folder_recipe, out, 2, data=photos)
    for mask in (photos / "masks").iterdir():
        Image.fromarray(1 - np.array(Image.open(mask))).save(mask)
    with pytest.raises(ValueError, match=r"other data \(train, val, test\).* --other-data"):
        training.train(folder_recipe, out, data=photos, resume=True)
    record = training.train(folder_recipe, out, data=photos, resume=True, other_data=True)
    (change,) = record["train"]["changes"]
    assert change["setting"] == "data" and change["step"] == 2
    assert change["to"] == record["train"]["data"] != change["from"]


def test_one_more_photo_is_other_data(folder_recipe: Recipe, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut(folder_recipe, out, 2, data=photos)
    for part in ("images", "masks"):
        (photos / part / "new.png").write_bytes((photos / part / "3.png").read_bytes())
    with pytest.raises(ValueError, match="other data"):
        training.train(folder_recipe, out, data=photos, resume=True)


def test_a_run_that_goes_on_remembers_what_it_started_from(small: Recipe, tmp_path: Path) -> None:
    trunks = []
    for name in ("one", "other"):
        torch.manual_seed(len(name))
        trunks.append(tmp_path / f"{name}.safetensors")
        save_file(build(PLANS["tiny"], 0.25, "same").state_dict(), trunks[-1])
    out = tmp_path / "run"
    cut(small, out, 2, weights=trunks[0])
    with pytest.raises(ValueError, match=r"the run began with one\.safetensors.*leave --weights"):
        training.train(small, out, weights=trunks[1], resume=True)
    trunks[0].unlink()
    weights = training.train(small, out, resume=True)["train"]["weights"]
    assert weights["kind"] == "trunk" and weights["files"][0]["name"] == "one.safetensors"


def test_an_optimisers_state_that_is_none_is_refused_with_the_checkpoint_named(
    small: Recipe, tmp_path: Path
) -> None:
    """Sound by its digest, as if something else had written it; torch would fail inside a step."""
    folder = cut(small, tmp_path, 2)
    sound = folder.read_state()
    for wrong, said in (
        ([], r"exp_avg of a weight is \[\]"),
        (torch.zeros(3, 1, 4), r"exp_avg of a weight is \(3, 1, 4\)"),
        (None, "exp_avg of a weight is None"),
        (..., "state differs from weight to weight"),  # it is left out
    ):
        stored = copy.deepcopy(sound)
        first = next(iter(stored["optimiser"]["state"].values()))
        first["exp_avg"] = wrong
        if wrong is ...:
            del first["exp_avg"]
        folder.write_state(stored)
        with pytest.raises(ValueError, match=rf"last\.pt: damaged .*the optimiser's {said}"):
            training.train(small, tmp_path, resume=True)


def test_a_checkpoint_that_describes_a_huge_network_is_refused_before_memory_is_asked_for(
    small: Recipe, tmp_path: Path
) -> None:
    folder = cut(small, tmp_path, 1)
    stored = folder.read_state()
    stored["network"]["num_classes"] = 10**10
    folder.write_state(stored)
    with pytest.raises(ValueError, match=r"last\.pt: damaged, .* shape \(12, .*expected \(1000000"):
        training.train(small, tmp_path, resume=True)


# --- Not finite ---------------------------------------------------------------------------------


def test_an_explosion_leaves_the_last_good_checkpoint_which_goes_on_with_a_lower_rate(
    small: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(small, tmp_path, 2)
    options = [part for setting in SMALL for part in ("--set", setting)]
    line = ["train", "scenes-fcn8s", "--device", "cpu", "--out", str(tmp_path), *options]
    assert main([*line, "--resume", "--set", "optimiser.lr=1e38"]) == 1
    said = capsys.readouterr().err
    assert "lower optimiser.lr" in said
    assert f"--resume with it goes on from step 2, {folder.last}" in said
    for path in (folder.last, folder.previous):
        if path.exists():
            stored = torch.load(path, weights_only=True)["model"]
            assert all(t.isfinite().all() for t in stored.values())
    assert not folder.best.exists() and not folder.record.exists()
    assert main([*line, "--resume", "--set", "optimiser.lr=1e-3"]) == 0
    best = load_file(folder.best)
    assert all(t.isfinite().all() for t in best.values() if t.is_floating_point())


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_that_is_void_throughout_is_refused_before_training(
    small: Recipe, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = training.stream.open_split

    def opened(recipe: Recipe, name: str, data: Path | None) -> Any:
        dataset = original(recipe, name, data)
        if name == split:
            dataset._items = [(image, torch.full_like(mask, 255)) for image, mask in dataset._items]
        return dataset

    monkeypatch.setattr(training.stream, "open_split", opened)
    monkeypatch.setattr(loop, "start", lambda *_: pytest.fail("training began"))
    with pytest.raises(ValueError, match=f"none of the 2 {split} masks has a labelled pixel"):
        training.train(small, tmp_path)


# --- Ends that can be caught --------------------------------------------------------------------


SHORT = ("--set", "epochs=20", "--set", "validate_every=20")  # 60 steps


def workers(parent: int) -> list[int]:
    """The processes that prepare batches for `parent`."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in children.read_text().split()]


def running(out: Path) -> "subprocess.Popen[str]":
    """A run in a group of its own, with its first checkpoint written and its workers at work."""
    process = subprocess.Popen(
        command(out, *SHORT), start_new_session=True, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    for _ in range(6000):
        if (out / "last.pt").exists() and workers(process.pid):
            return process
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise RuntimeError(process.communicate()[1])


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "run"
    assert main(command(out, *SHORT)[3:]) == 0
    return out


@LINUX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_loses_no_step(
    number: signal.Signals, calm: Path, tmp_path: Path
) -> None:
    process = running(tmp_path)
    os.killpg(process.pid, number)
    said = process.communicate()[1]
    assert process.returncode == 130 and "Traceback" not in said
    step = RunFolder(tmp_path).read_state()["progress"]["step"]
    assert f"stopped at step {step} of 60; the state is saved" in said
    assert main(command(tmp_path, *SHORT, "--resume")[3:]) == 0
    assert differences(calm, tmp_path) == []


@LINUX
def test_the_death_of_a_process_that_prepares_batches_loses_no_step(
    calm: Path, tmp_path: Path
) -> None:
    """As when memory runs out and the system kills one."""
    process = running(tmp_path)
    for pid in workers(process.pid):
        os.kill(pid, signal.SIGKILL)
    said = process.communicate()[1]
    step = RunFolder(tmp_path).read_state()["progress"]["step"]
    assert process.returncode == 1 and "Traceback" not in said
    assert f"the batch of step {step + 1} could not be had" in said
    assert "the state is saved, --resume goes on" in said
    assert main(command(tmp_path, *SHORT, "--resume", "auto")[3:]) == 0
    assert differences(calm, tmp_path) == []


@pytest.mark.parametrize("cause", [EOFError, KeyboardInterrupt])
def test_a_batch_that_fails_ends_the_run_and_its_processes(
    cause: type[BaseException], small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever keeps the error, as a notebook does: at exit Python would wait for them for good.

    EOFError has no message; it is what the pipe of a process that died may leave.
    """

    def ended(*arguments: Any) -> Any:
        raise cause

    monkeypatch.setattr(training.stream, "islice", ended)
    with pytest.raises((ChildProcessError, KeyboardInterrupt)) as caught:
        training.train(small, tmp_path / "run")
    assert not multiprocessing.active_children(), caught
    if cause is EOFError:
        assert "batch of step 1 could not be had: EOFError()" in str(caught.value)


def test_a_run_cut_while_it_validates_validates_first(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train(small, tmp_path / "calm")
    original = training.reports.evaluate_tasks

    def killed(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.reports, "evaluate_tasks", killed)
    with pytest.raises(KeyboardInterrupt):
        training.train(small, tmp_path / "cut")
    folder = RunFolder(tmp_path / "cut")
    assert folder.read_state()["progress"]["step"] == 6 and not folder.best.exists()
    monkeypatch.setattr(training.reports, "evaluate_tasks", original)
    record = training.train(small, tmp_path / "cut", resume=True)
    calm = RunFolder(tmp_path / "calm")
    assert folder.log.read_bytes() == calm.log.read_bytes()
    assert record["val"] == json.loads(calm.record.read_text())["val"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_step_that_fails_half_way_leaves_the_state_before_it(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when memory runs out in a backward pass, after norms and dropout have moved on."""
    settings = [*SMALL, "model.dropout=0.2"]
    recipe, _ = training.override(training.get("scenes-fcn8s"), settings)
    training.train(recipe, tmp_path / "calm")
    of, shares = training.optimisation.Objective.of, []

    def fail(*arguments: Any) -> Any:
        shares.append(1)
        if len(shares) == 4:
            raise error("no memory left")
        return of(*arguments)

    monkeypatch.setattr(training.optimisation.Objective, "of", fail)
    with pytest.raises(error) as raised:
        training.train(recipe, tmp_path / "cut")
    assert raised.value.__notes__ == ["the state after step 3 is saved: --resume goes on"]
    training.train(recipe, tmp_path / "cut", resume=True)
    assert differences(tmp_path / "calm", tmp_path / "cut") == []
