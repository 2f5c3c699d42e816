"""The recipes by name, and any of them made small."""

from __future__ import annotations

import dataclasses
from typing import Any

from fcn_tutorial.datasets import sources
from fcn_tutorial.files import did_you_mean
from fcn_tutorial.training.recipes import after, own, published
from fcn_tutorial.training.recipes.recipe import AnyModel, Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for module in (own, published, after) for recipe in module.all_recipes()
}

#: Names that stand for a recipe and may pass to another one, when it does better on val.
ALIASES = {"camvid-fcn8s-best": "camvid-fcn8s-magnified"}


def get(name: str) -> Recipe:
    """The recipe of that name, or the one that the name stands for now.

    Args:
        name: of `RECIPES` or `ALIASES`.

    Returns:
        A frozen recipe; `dataclasses.replace` and `override` make variants.

    Raises:
        ValueError: for an unknown name, with the nearest ones.

    ::

        >>> get("camvid-fcn8").name
        Traceback (most recent call last):
            ...
        ValueError: no recipe 'camvid-fcn8'; did you mean camvid-fcn8s or camvid-fcn32s or ...
    """
    found = RECIPES.get(ALIASES.get(name, name))
    if found is not None:
        return found
    raise ValueError(f"no recipe {name!r}{did_you_mean(name, [*RECIPES, *ALIASES])}")


def chain(recipe: Recipe) -> list[Recipe]:
    """The recipes that a staged run goes through.

    Args:
        recipe: the last of them; its `coarser` names what it starts from.

    Returns:
        Coarsest first, `recipe` last; `recipe` alone where it starts from none.

    Raises:
        ValueError: as `get`, for what `coarser` names.

    ::

        >>> [stage.name for stage in chain(get("scenes-fcn8s-staged"))]
        ['scenes-fcn32s', 'scenes-fcn16s', 'scenes-fcn8s-staged']
    """
    found: list[Recipe] = []
    for name in filter(None, recipe.coarser.split(",")):
        found += [stage for stage in chain(get(name)) if stage not in found]
    return [*found, recipe]


def smoke(recipe: Recipe) -> Recipe:
    """A recipe made small: the same code path in seconds.

    Args:
        recipe: any.

    Returns:
        A variant of a sixteenth of the width, which has no place for pretrained weights; images
        of 64 pixels, batch 2, two steps.

    ::

        >>> small = smoke(get("scenes-fcn8s"))
        >>> small.batch, small.epochs, small.data.crop, small.model.width
        (2, 1, (64, 64), 0.0625)
    """
    return dataclasses.replace(
        recipe,
        model=_narrow(recipe.model),
        data=sources.get(recipe.data.name).small(recipe.data),
        batch=2,
        epochs=1,
        iterations=0,
        accumulate=min(2, recipe.accumulate),
        coarser="",
        validate_every=1,
    )


def _narrow(model: AnyModel) -> AnyModel:
    """The same network with random weights, and a sixteenth of the width where it has one."""
    width = getattr(model, "width", None)
    narrower: Any = {} if width is None else {"width": width / 16}
    return dataclasses.replace(model, weights="", **narrower)
