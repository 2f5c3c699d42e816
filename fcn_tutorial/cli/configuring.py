"""`--config FILE`: a YAML file in place of options and settings, for every verb of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the modules themselves are loaded by the verb that needs them
    from fcn_tutorial.training import Recipe
    from fcn_tutorial.training.recipes.config import Config


def add_config(verb: argparse._ActionsContainer) -> None:
    """Add the option to a verb."""
    verb.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML of settings; options here go before it"
    )


def read(options: argparse.Namespace) -> Config | None:
    """The file that the options name; what it says of options that were not given is set there.

    Raises FileNotFoundError and ValueError as `read_config` does.
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
    recipe: Recipe, config: Config | None, texts: Sequence[str]
) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with the file's settings, then those of `--set`; and all that was set."""
    from fcn_tutorial import training

    recipe, done = (recipe, {}) if config is None else config.override(recipe)
    recipe, more = training.override(recipe, texts)
    return recipe, {**done, **more}
