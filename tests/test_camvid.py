"""The whole comparison on CamVid: which runs, in which order, and what is left to do."""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import camvid
from fcn_tutorial import training
from fcn_tutorial.models import backbones

GIVEN = ["--data", "CamVid", "--weights", "trunk.safetensors"]


@pytest.mark.parametrize("full", [False, True])
def test_every_run_is_of_a_recipe_that_takes_its_settings(full: bool) -> None:
    runs = camvid.plan(full, ["mobilenet_v2", "squeezenet", "vgg16"])
    for run in runs:
        recipe, overrides = training.override(training.get(run.recipe), run.settings)
        assert recipe.model.backbone in backbones.names()
        assert len(overrides) == len(run.settings)
    places = [run.folder(Path("out"), 0) for run in runs]
    assert len({*places}) == len(places) == (6 if not full else 15)
    assert len({run.label for run in runs}) == len(runs)


def test_the_plain_comparison_is_the_one_that_was_asked_for() -> None:
    *asked, at_once, enlarged = camvid.plan(False, ["mobilenet_v2"])
    assert [training.get(run.recipe).epochs for run in asked] == [30, 15, 15, 60]
    assert [run.recipe for run in (at_once, enlarged)] == ["camvid-fcn8s", "camvid-fcn8s-magnified"]


def test_runs_of_a_trunk_without_weights_are_left_out() -> None:
    labels = [run.label for run in camvid.plan(True, ["mobilenet_v2"])]
    assert len(labels) == 8 and not [name for name in labels if "Squeeze" in name or "VGG" in name]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run, without running them; a run writes its record."""
    seen: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
        seen.append(command)
        folder = Path(command[command.index("--out") + 1])
        folder.mkdir(parents=True)
        score = 0.5 + 0.01 * len(seen)
        record = {"test": {"mean_iu": score, "pixel_accuracy": 0.9}}
        (folder / "record.json").write_text(json.dumps(record))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return seen


def test_what_is_finished_is_not_run_again_and_the_table_has_all(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*GIVEN, "--out", str(tmp_path), "--seeds", "0", "1"]
    assert camvid.main(arguments) == 0
    assert len(commands) == 12
    first = capsys.readouterr().out
    assert "| 32s, MobileNetV2 | 2 | 54.0 ± 4.2 | 90.0 ± 0.0 |" in first  # 51 and 57
    assert camvid.main(arguments) == 0
    assert len(commands) == 12
    again = capsys.readouterr().out
    assert again.startswith("0 of 12 runs to make, 0 epochs")
    assert again.splitlines()[-8:] == first.splitlines()[-8:]


def test_a_smoke_run_is_not_taken_for_a_whole_one(
    commands: list[list[str]], tmp_path: Path
) -> None:
    assert camvid.main([*GIVEN, "--out", str(tmp_path), "--smoke"]) == 0
    assert camvid.main([*GIVEN, "--out", str(tmp_path)]) == 0
    assert len(commands) == 12 and sum("--smoke" in line for line in commands) == 6


def test_an_interrupted_run_goes_on_and_a_failed_one_stops_the_rest(
    commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str]) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 130)

    monkeypatch.setattr(subprocess, "run", fail)
    folder = tmp_path / "mobilenet_v2" / "camvid-fcn32s-seed0"
    folder.mkdir(parents=True)
    (folder / "last.pt").touch()
    assert camvid.main([*GIVEN, "--out", str(tmp_path)]) == 130
    assert len(commands) == 1 and "--resume" in commands[0]
