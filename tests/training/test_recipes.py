"""Recipes are values: overridden by text with checks, and the same after JSON."""

import json

import pytest

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
    same, done = override(recipe, [f"{k}={v}" for k, v, _ in rows if not k.endswith("name")])
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
        ("optimiser.name=adam", "cannot be set"),
        ("precision=half", "expected one of float32, bfloat16, float16, auto"),
        ("optimiser=sgd", "is a group; set one of optimiser.name"),
        ("epochs", "expected key=value"),
        ("crop=3,3", "no setting 'crop'; did you mean data.crop?"),
        ("lr=1", "did you mean optimiser.lr?"),
        ("batch=0", "batch=0"),
        ("epochs=-1", "epochs=-1"),
    ],
)
def test_a_bad_override_says_what_would_do(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(get("scenes-fcn8s"), [setting])


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean scenes-fcn8s"):
        get("scene-fcn8s")


@pytest.mark.parametrize("name", RECIPES)
def test_smoke_is_small(name: str) -> None:
    recipe = smoke(get(name))
    assert recipe.model.width == get(name).model.width / 16
    assert recipe.data.crop == (64, 64) and recipe.batch == 2
    assert recipe.data.train_images // recipe.batch * recipe.epochs == 2
