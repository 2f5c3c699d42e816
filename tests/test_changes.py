"""Settings changed one at a time on CamVid: what is run, with what, and what is kept of it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import changes
from fcn_tutorial import training
from fcn_tutorial.datasets import CamVid
from fcn_tutorial.training.recipes.settings import as_dict

GIVEN = ["--data", "CamVid", "--weights", "trunk.safetensors"]
MATRIX = [[90, 10], [20, 80]]


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every setting by its dotted name."""
    found = {}
    for key, value in settings.items():
        inner = flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        found.update(inner)
    return found


def test_a_change_alters_what_it_names_and_nothing_else() -> None:
    plain = flat(as_dict(training.get(changes.RECIPE)))
    for change in changes.CHANGES:
        recipe, _ = training.override(training.get(change.recipe), change.settings)
        altered = {key for key, value in flat(as_dict(recipe)).items() if value != plain[key]}
        assert altered == {setting.partition("=")[0] for setting in change.settings}, change.group
    names = [change.group for change in changes.CHANGES]
    assert names[0] == changes.PLAIN and not changes.CHANGES[0].settings
    assert len({*names}) == len({change.label for change in changes.CHANGES}) == len(names)


def test_all_take_as_many_steps_and_none_opens_the_test_split() -> None:
    seen = set()
    for change in changes.CHANGES:
        run = changes.with_budget(change, 3)
        recipe, _ = training.override(training.get(run.recipe), run.settings)
        seen.add((recipe.epochs, recipe.batch, recipe.iterations, recipe.accumulate))
        assert recipe.data.test_split == "" and recipe.select == "last"
        assert recipe.validate_every == recipe.epochs  # one look at val, at the end
        assert bool(run.trunk) == bool(recipe.model.weights)
        assert run.folder(Path("out"), 1) == change.folder(Path("out"), 1)
    assert seen == {(3, 8, 0, 1)}


def test_a_film_is_scored_by_networks_that_have_not_seen_it() -> None:
    for change in changes.CHANGES:
        for film in changes.FILMS:
            run = changes.with_budget(change, 3, film)
            recipe, _ = training.override(training.get(run.recipe), run.settings)
            data = recipe.data
            assert (data.train_split, data.val_split) == (f"without-{film}", f"film-{film}")
            assert data.test_split == "" and film in run.folder(Path("out"), 1).parts
    assert {*changes.FILMS} < {*CamVid.films}


def test_the_recipe_as_it_is_has_three_seeds_and_a_change_those_that_are_named() -> None:
    planned = changes.plan((), [1])
    assert [seed for run, seed in planned if run.group == changes.PLAIN] == [0, 1, 2]
    assert [seed for run, seed in planned if run.group != changes.PLAIN] == [1] * (
        len(changes.CHANGES) - 1
    )
    assert [(run.group, seed) for run, seed in changes.plan(["lovasz"], [0, 3])] == [
        ("lovasz", 0),
        ("lovasz", 3),
    ]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run, without running them; a run writes its record."""
    seen: list[list[str]] = []
    really = subprocess.run

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if "train" not in command:  # the record's commit is git's to tell
            return really(command, **options)
        seen.append(command)
        folder = Path(command[command.index("--out") + 1])
        folder.mkdir(parents=True)
        val = {"mean_iu": 0.7386, "pixel_accuracy": 0.85, "iu": {"sky": 0.75, "pole": 0.7273}}
        record = {
            "device": "a CPU, 1 thread",
            "train": {"seconds": 5.0, "steps": 360},
            "val": {**val, "confusion": MATRIX, "absent": "truth_only"},
            "test": None,
        }
        (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return seen


def test_the_record_has_the_matrix_of_every_run(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some" / "changes.json"
    arguments = [*GIVEN, "--out", str(tmp_path / "runs"), "--only", "scratch", "--only", "plain"]
    assert changes.main([*arguments, "--json", str(file)]) == 0
    assert len(commands) == 4
    assert "| from nothing | 1 | 73.9 | 85.0 |" in capsys.readouterr().out
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["settings"] == {"recipe": "camvid-fcn8s", "epochs": 8}
    assert [(run["name"], run["seed"]) for run in record["runs"]] == [
        ("plain", 0), ("plain", 1), ("plain", 2), ("scratch", 0),
    ]  # fmt: skip
    *_, scratch = record["runs"]
    assert scratch["confusion"] == MATRIX and scratch["classes"] == ["sky", "pole"]
    assert scratch["settings"] == ["model.weights=", "model.norms=batch", "frozen_stride=0"]
    assert (scratch["seconds"], scratch["steps"]) == (5.0, 360)
    line = commands[-1]
    assert "--weights" not in line and "model.weights=" in line and "epochs=8" in line
    assert changes.main(arguments) == 0  # nothing is run again, and a part is kept nowhere
    assert len(commands) == 4 and "wrote" not in capsys.readouterr().out


def lay_films(root: Path) -> None:
    """Lists and empty files, named as CamVid's."""
    named = {
        "train": ("0001TP_006720", "0006R0_f00930", "0001TP_006690"),
        "val": ("0016E5_07959",),
        "test": ("Seq05VD_f00000",),
    }
    for split, names in named.items():
        lines = []
        for name in names:
            pair = [root / folder / f"{name}.png" for folder in (split, f"{split}annot")]
            for path in pair:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            lines.append(" ".join(f"/SegNet/CamVid/{p.parent.name}/{p.name}" for p in pair))
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_films_are_left_out_in_turn(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, data = tmp_path / "films.json", tmp_path / "CamVid"
    lay_films(data)
    arguments = ["--data", str(data), *GIVEN[2:], "--out", str(tmp_path / "runs")]
    arguments += ["--only", "no-flip", "--films"]
    assert changes.main([*arguments, "--json", str(file)]) == 0
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["frames"] == {
        "train": {"0001TP": [6690, 6720], "0006R0": [930]},
        "val": {"0016E5": [7959]},
        "test": {"Seq05VD": [0]},
    }
    seen = record["runs"]
    assert [(run["name"], run["film"]) for run in seen] == [
        ("no-flip", "0001TP"), ("no-flip", "0006R0"),
    ]  # fmt: skip
    assert all(run["settings"] == ["data.flip=false"] for run in seen)
    told = capsys.readouterr().out
    assert told.index("film 0001TP left out:") < told.index("film 0006R0 left out:")
    assert [f"data.val_split=film-{film}" in line for film, line in zip(
        changes.FILMS, commands, strict=True)] == [True, True]  # fmt: skip
    assert changes.main(arguments[:-1]) == 0  # val is a run of its own
    assert len(commands) == 3


def test_a_folder_without_films_is_one_line_before_any_training(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(tmp_path), *GIVEN[2:], "--out", str(tmp_path / "runs"), "--films"]
    assert changes.main(arguments) == 1
    assert "train.txt not found" in capsys.readouterr().err and not commands


def test_runs_of_another_length_and_tiny_ones_are_not_taken_for_these(
    commands: list[list[str]], tmp_path: Path
) -> None:
    file = tmp_path / "changes.json"
    arguments = [*GIVEN, "--out", str(tmp_path / "runs"), "--only", "lovasz", "--json", str(file)]
    for number, other in enumerate(([], ["--epochs", "9"], ["--smoke"], []), 1):
        assert changes.main([*arguments, *other]) == 0
        assert len(commands) == min(number, 3)  # the last one finds its own run
    epochs = [next(word for word in line if word.startswith("epochs=")) for line in commands]
    assert epochs == ["epochs=8", "epochs=9", "epochs=8"]


def test_a_failed_run_ends_the_command_without_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess[bytes]([], 130)
    monkeypatch.setattr(subprocess, "run", lambda command: failed)
    file = tmp_path / "changes.json"
    assert changes.main([*GIVEN, "--out", str(tmp_path / "r"), "--json", str(file)]) == 130
    assert not file.exists()
