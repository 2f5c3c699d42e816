"""Recipes are values: overridden by text with checks, and the same after JSON."""

import copy
import json
from pathlib import Path

import pytest

from fcn_tutorial import assets, training
from fcn_tutorial.cli import main
from fcn_tutorial.training import RECIPES, as_dict, explain, from_dict, get, override, smoke


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = get(name)
    assert recipe.name == name
    assert as_dict(from_dict(json.loads(json.dumps(as_dict(recipe))))) == as_dict(recipe)


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_is_explained_and_can_be_set_to_what_it_is(name: str) -> None:
    recipe = get(name)
    rows = list(explain(recipe))
    assert all(meaning for _, _, meaning in rows)
    same, done = override(recipe, [f"{k}={v}" for k, v, _ in rows if k != "data.name"])
    assert same == recipe
    assert done["data.crop"] == recipe.data.crop


def test_overrides_change_only_what_they_name() -> None:
    recipe = get("camvid-fcn8s")
    settings = ["optimiser.lr=1e-3", "data.crop=64x96", "data.flip=false", "epochs=3"]
    variant, done = override(recipe, settings)
    assert (variant.optimiser.lr, variant.data.crop, variant.epochs) == (1e-3, (64, 96), 3)
    assert not variant.data.flip and variant.data.scale == recipe.data.scale
    assert done == {
        "optimiser.lr": 1e-3, "data.crop": (64, 96), "data.flip": False, "epochs": 3
    }  # fmt: skip
    assert get("camvid-fcn8s") is recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimizer.lr=1", "did you mean optimiser"),
        ("optimiser.Lr=1", "did you mean lr"),
        ("epochs=many", "expected int"),
        ("data.flip=1", "expected true or false"),
        ("data.crop=64", "expected 2 numbers"),
        ("optimiser.name=adam", "expected one of adamw, sgd"),
        ("name=mine", "--set name: cannot be set"),
        ("data.name=camvid", "--set data.name: cannot be set"),
        ("data=camvid", "is a group; set one of data.crop"),
        ("precision=half", "expected one of float32, bfloat16, float16, auto"),
        ("optimiser=sgd", "is a group; set one of optimiser.name"),
        ("epochs", "expected key=value"),
        ("crop=3,3", "no setting 'crop'; did you mean data.crop?"),
        ("lr=1", "did you mean optimiser.lr?"),
        ("batch=0", "batch=0"),
        ("epochs=-1", "epochs=-1"),
        ("data.task=both", "set baselines=false too"),
    ],
)
def test_a_bad_override_says_what_would_do(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(get("scenes-fcn8s"), [setting])


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean scenes-fcn8s"):
        get("scene-fcn8s")


@pytest.mark.parametrize("alias", training.ALIASES)
def test_a_name_that_stands_for_a_recipe_is_none_itself(
    alias: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = training.ALIASES[alias]
    assert get(alias) is RECIPES[name] and alias not in RECIPES
    assert main(["recipes"]) == 0
    assert f"{alias:{max(map(len, RECIPES))}}  stands for {name}\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", RECIPES)
def test_smoke_is_small(name: str) -> None:
    recipe = smoke(get(name))
    assert recipe.model.width == get(name).model.width / 16
    # Of less, the valid convolutions of a U-Net leave nothing to score.
    side = 204 if recipe.data.name == "isbi-em" else 64
    assert recipe.data.crop == (side, side) and recipe.batch == 2
    assert recipe.data.train_images // recipe.batch * recipe.epochs == 2


def test_stored_recipes_are_read_back_and_edited_ones_refused() -> None:
    for recipe in training.RECIPES.values():
        stored = training.as_dict(recipe)
        assert training.as_dict(training.from_dict(stored)) == stored
    for path in sorted((assets.root() / "results").glob("*/*.json")):
        training.from_dict(json.loads(path.read_text())["settings"])
    stored = training.as_dict(training.get("scenes-fcn8s"))
    for key, value in (
        ("batch", 1e9), ("batch", 1 << 70), ("batch", True), ("epochs", "3"), ("summary", 1),
        ("loss", ["mean"]), ("published", 3), ("data.crop", [128]), ("data.crop", [10**9, 10**9]),
        ("data.crop", ["a", "b"]), ("data.crop", [-1, 5]), ("data.scale", [1, float("nan")]),
        ("data.scale", [0, 1]), ("data.train_split", []), ("data.multiple", 0),
        ("data.test_images", -1), ("data.test_images", 1 << 40), ("data.modality", "x"),
        ("model.width", float("inf")), ("optimiser.lr", None), ("data.name", {}), ("model", 1),
        ("save_every", -1), ("epochs", 0), ("accumulate", 3),
    ):  # fmt: skip
        group, _, name = key.rpartition(".")
        edited = copy.deepcopy(stored)
        (edited[group] if group else edited)[name] = value
        with pytest.raises(ValueError, match=r"not a recipe|data\.|data set|expected 1|divide"):
            training.from_dict(edited)


def test_more_scenes_than_memory_holds_are_refused_before_one_is_rendered() -> None:
    recipe, _ = training.override(training.get("scenes-fcn8s"), ["data.test_images=1000000000"])
    with pytest.raises(ValueError, match=r"1,000,000,000 scenes of 128×128 are too many"):
        training.open_split(recipe, "test", None)
    for few in (["data.crop=32,32", "data.test_images=8193"], ["data.crop=4096,4096"]):
        recipe, _ = training.override(training.get("scenes-fcn8s"), few)
        with pytest.raises(ValueError, match="too many to render and keep"):
            training.open_split(recipe, "test", None)


def test_settings_and_seeds_that_no_run_can_have_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--smoke", "--out", str(tmp_path / "out")]
    for seed in (1 << 64, 1 << 32, -1):
        assert main(["train", "scenes-fcn8s", f"--seed={seed}", *out]) == 1
        assert capsys.readouterr().err == f"fcn-tutorial: --seed {seed}: expected 0 to 4294967295\n"
    assert main(["train", "scenes-fcn8s", "--set", "data.multiple=0", *out]) == 1
    assert "--set data.multiple=0: expected 1 to 4096" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
