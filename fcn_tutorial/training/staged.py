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
    """Run the recipes that `recipe` starts from, coarsest first, then it.

    Each stage has a run folder of its own beside `out`, named RECIPE-seedN, as `train` by itself
    would have it. A stage that is finished is taken as it is.

    Args:
        recipe: the last stage, as `get` or as `get` and `vary` give it; `chain` lists those before
            it.
        out: the run folder of the last stage.
        vary: what is done to every stage's recipe (overrides, smoke).
        data: as in `train`.
        weights: what the coarsest stage starts from, instead of what its recipe names.
        seed: as in `train`, of every stage.
        device: as in `train`.
        overrides: what `vary` changed, for the records.
        resume: go on with a stage that was interrupted, and run the rest.
        other_data: as in `train`.
        tensorboard: as in `train`.
        stop: as in `train`.

    Returns:
        The record of the last stage.

    Raises:
        ValueError: for a recipe that was changed otherwise than by `vary`, where a finished stage
            was run with other settings, and as `train`.
        FileNotFoundError, Interrupted, OSError: as `train`.

    Stopped before its first step, the 32s, which comes first, has made its folder::

        >>> import contextlib, os, tempfile
        >>> from fcn_tutorial.training import Interrupted, get, smoke
        >>> with tempfile.TemporaryDirectory() as runs:
        ...     with contextlib.suppress(Interrupted):
        ...         train_staged(get("scenes-fcn8s-staged"), f"{runs}/8s", smoke, stop=lambda: True)
        ...     os.listdir(runs)
        ['scenes-fcn32s-seed0']
    """
    known = recipes.get(recipe.name)
    if recipe not in (known, vary(known)):
        raise ValueError(
            f"{recipe.name} was changed; give the changes as `vary`, which makes them in all stages"
        )
    out, folders = Path(out), dict[str, Path]()
    record: dict[str, Any] = {}
    for stage in recipes.chain(known):
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
