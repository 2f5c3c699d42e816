"""`--config FILE`: a YAML file in place of options and settings, for every verb of a run."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the modules themselves are loaded by the verb that needs them
    from fcn_tutorial.datasets.spec import Data
    from fcn_tutorial.training import Recipe
    from fcn_tutorial.training.recipes.config import Config


def add_config(verb: argparse._ActionsContainer) -> None:
    """Add the option to a verb."""
    verb.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML of settings; options here go before it"
    )


def read(options: argparse.Namespace) -> Config | None:
    """The file that the options name; what it says of options that were not given is set there.

    Raises:
        FileNotFoundError, ValueError: as `read_config`.
    """
    from fcn_tutorial.training.recipes.config import OPTIONS, read_config

    if options.config is None:
        return None
    config = read_config(options.config)
    for name in (*OPTIONS, "data"):
        value = getattr(config, name)
        if value is not None and getattr(options, name, "") is None:
            setattr(options, name, [value] if name == "weights" else value)
    return config


def run_folder(recipe: str, seed: int | None) -> Path:
    """Where a run goes that names no folder."""
    return Path("runs") / f"{recipe}-seed{seed or 0}"


def run_of(options: argparse.Namespace) -> Config | None:
    """The same as `read` for a verb on a run, whose `source` is the run folder of the file."""
    config = read(options)
    if config is not None and options.source is None:
        options.source = config.out or run_folder(config.recipe, config.seed)
    if options.source is None:
        options.refuse("name a RUN_OR_CHECKPOINT, or --config FILE")
    return config


def override(
    recipe: Recipe, config: Config | None, texts: Sequence[str], data: Path | None = None
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with the file's settings, then those of `--set`; and all that was set.

    `data` is the folder that the command names: it goes before folders that the file names.
    """
    from fcn_tutorial import training
    from fcn_tutorial.datasets import sources

    recipe, done = (recipe, {}) if config is None else config.override(recipe)
    if data is not None:
        moved = sources.get(recipe.data.name).elsewhere(recipe.data, data)
        done = {k: v for k, v in done.items() if _kept(k, recipe.data, moved)}
        recipe = dataclasses.replace(recipe, data=moved)
    recipe, more = training.override(recipe, texts)
    return recipe, {**done, **more}


def scored_data(recipe: Recipe, config: Config | None, options: argparse.Namespace) -> Recipe:
    """The recipe of a run that is scored on what the command names.

    Raises:
        ValueError: for a setting of --set that is none of the data.
    """
    from fcn_tutorial.datasets import sources

    if wrong := [text for text in options.set if not text.startswith("data.")]:
        raise ValueError(f"--set {wrong[0]}: a trained network is as it is; set data.… only")
    if options.data is not None:
        data = sources.get(recipe.data.name).relabelled(recipe.data, options.data)
        recipe = dataclasses.replace(recipe, data=data)
    if config is not None:
        config = dataclasses.replace(
            config, settings=tuple(text for text in config.settings if text.startswith("data."))
        )
    return override(recipe, config, options.set, options.data)[0]


def _kept(key: str, before: Data, after: Data) -> bool:
    group, _, name = key.partition(".")
    return group != "data" or getattr(before, name) == getattr(after, name)
