"""The paper's stages, one run after the other: 32s, then 16s, then 8s."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from fcn_tutorial.training import recipes
from fcn_tutorial.training.initial import Files
from fcn_tutorial.training.loop import finished, never, train
from fcn_tutorial.training.recipes.recipe import Recipe
from fcn_tutorial.training.run import RunFolder


def train_staged(
    recipe: Recipe,
    out: Path | str,
    vary: Callable[[Recipe], Recipe],
    *,
    data: Path | str | None = None,
    weights: Files = None,
    seed: int = 0,
    device: Any = "cpu",
    overrides: dict[str, Any] | None = None,
    resume: bool | Literal["auto"] = False,
    other_data: bool = False,
    tensorboard: bool = False,
    stop: Callable[[], bool] = never,
) -> dict[str, Any]:
    """Run the recipes that `recipe` starts from, coarsest first, then it; returns its record.

    Each stage has a run folder of its own beside `out`, named RECIPE-seedN, as `train` by itself
    would have it. A stage that is finished is taken as it is, one that was interrupted goes on with
    `resume`. vary: what is done to every stage's recipe (overrides, smoke). weights: of the
    coarsest stage. The other arguments are those of `train`.

    Raises:
        ValueError: where a finished stage was run with other settings, and as `train`.
        FileNotFoundError, OSError: as `train`.
    """
    out, folders = Path(out), dict[str, Path]()
    record: dict[str, Any] = {}
    for stage in recipes.chain(recipes.get(recipe.name)):
        varied = vary(stage)
        folder = out if stage.name == recipe.name else out.parent / f"{stage.name}-seed{seed}"
        folders[stage.name] = folder
        coarser = [folders[name] for name in stage.coarser.split(",") if name]
        # What it starts from is given here, whatever `vary` left of it.
        varied = dataclasses.replace(varied, coarser=stage.coarser)
        record = finished(varied, seed, RunFolder(folder))
        if not record:
            if RunFolder(folder).record.is_file() and not resume:
                raise ValueError(
                    f"{folder}: holds {stage.name} run with other settings; name another folder "
                    "with --out, or move it away"
                )
            record = train(
                varied,
                folder,
                data=data,
                weights=coarser or weights,
                seed=seed,
                device=device,
                overrides=overrides,
                resume="auto" if resume else False,
                other_data=other_data,
                tensorboard=tensorboard,
                stop=stop,
            )
    return record
