"""The verbs `recipes` and `train`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcn_tutorial.cli import completing, configuring
from fcn_tutorial.cli.common import asked_to_stop, chosen_device

if TYPE_CHECKING:  # the modules themselves are loaded by the verb that needs them
    from fcn_tutorial.training import Recipe
    from fcn_tutorial.training.recipes.config import Config


def add_to(verbs: Any) -> None:
    """Add the two verbs to a parser's subparsers."""
    verb = verbs.add_parser("recipes", help="list the recipes, or explain one line by line")
    completing.by(verb.add_argument("name", nargs="?", metavar="NAME"), completing.recipes)
    verb.set_defaults(run=_recipes)

    verb = verbs.add_parser(
        "train",
        help="run a recipe",
        epilog="Your own photos: train folder --data DIR, where DIR holds images/ and masks/ "
        "(`recipes folder` lists its settings). Several processes: torchrun --nproc-per-node=N "
        "-m fcn_tutorial train RECIPE …",
    )
    completing.by(
        verb.add_argument("recipe", nargs="?", metavar="RECIPE", help="as `recipes` lists them"),
        completing.recipes,
    )
    configuring.add_config(verb)
    verb.add_argument("--data", type=Path, metavar="DIR", help="folder of the data set")
    verb.add_argument(
        "--weights",
        type=Path,
        action="append",
        metavar="FILE",
        help="start from this instead: a trunk (.safetensors, .pth), a .caffemodel, a run folder",
    )
    verb.add_argument("--out", type=Path, metavar="DIR", help="run folder [runs/RECIPE-seedN]")
    verb.add_argument("--epochs", type=int, metavar="N", help="same as --set epochs=N")
    verb.add_argument("--seed", type=int, metavar="N", help="[0]")
    verb.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 … [cuda where there is one]")
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )
    verb.add_argument(
        "--staged", action="store_true", help="first train the coarser nets it starts from"
    )
    verb.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        choices=("auto",),
        help="go on from the run folder's last.pt, perhaps with --set optimiser.lr=… or more "
        "--epochs; auto: go on or begin, for jobs that are requeued",
    )
    verb.add_argument(
        "--other-data", action="store_true", help="with --resume: although the data have changed"
    )
    verb.add_argument("--smoke", action="store_true", help="the same path in seconds, tiny")
    verb.add_argument("--tensorboard", action="store_true", help="write event files as well")
    verb.set_defaults(run=_train, refuse=verb.error)


def _recipes(options: argparse.Namespace) -> int:
    from fcn_tutorial import training
    from fcn_tutorial.metrics import named

    if options.name is None:
        width = max(map(len, training.RECIPES))
        for recipe in training.RECIPES.values():
            print(f"{recipe.name:{width}}  {recipe.summary}")
        for alias, name in training.ALIASES.items():
            print(f"{alias:{width}}  stands for {name}")
        return 0
    recipe = training.get(options.name)
    print(f"{recipe.name}: {recipe.summary}\nsource: {recipe.source}\n")
    sources = dict(recipe.sources)
    for key, value, reason in training.explain(recipe):
        print(f"  {key:26} {value:14}  {reason}")
        if key in sources:
            print(f"  {'':26} {'':14}  from {sources[key]}")
    for published in recipe.published:
        value = named(published.score).text(published.value)
        print(f"  published {published.score} {value}: {published.of}; {published.source}")
    return 0


def _train(options: argparse.Namespace) -> int:
    from fcn_tutorial import training
    from fcn_tutorial.training import distributed

    config = configuring.read(options)
    if options.recipe is None:
        options.refuse("name a RECIPE, or --config FILE")
    options.seed = options.seed or 0
    if not 0 <= options.seed < 1 << 32:
        raise ValueError(f"--seed {options.seed}: expected 0 to {(1 << 32) - 1}")
    settings = list(options.set)
    if options.epochs is not None:
        settings.append(f"epochs={options.epochs}")
    registered = _with_weights(training.get(options.recipe), options, config, settings)
    recipe, overrides = configuring.override(registered, config, settings, options.data)
    if options.smoke:
        recipe = training.smoke(recipe)
        overrides["smoke"] = True
        if options.weights:
            print(
                "note: --smoke trains a sixteenth of the width, which has no place for --weights; "
                "they are left aside",
                file=sys.stderr,
            )

    def vary(stage: Recipe) -> Recipe:
        changed, _ = configuring.override(stage, config, settings, options.data)
        return training.smoke(changed) if options.smoke else changed

    out = _out(options)
    common: dict[str, Any] = {
        "data": options.data,
        # A trunk of a sixteenth of the width has no place for pretrained weights.
        "weights": () if options.smoke else options.weights or (),
        "seed": options.seed,
        "device": chosen_device(options.device),
        "overrides": overrides,
        "resume": options.resume,
        "other_data": options.other_data,
        "tensorboard": options.tensorboard,
    }
    _describe_labels(recipe, options.data)
    try:
        with asked_to_stop() as stop:
            if options.staged:
                record = training.train_staged(registered, out, vary, **common, stop=stop)
            else:
                record = training.train(recipe, out, **common, stop=stop)
    except training.Interrupted as stopped:
        print(f"fcn-tutorial: {stopped}", file=sys.stderr)
        return 130
    if not distributed.leads():
        return 0
    _tell(record, recipe, out, options)
    return 0


def _tell(record: dict[str, Any], recipe: Recipe, out: Path, options: argparse.Namespace) -> None:
    """Print a run's scores beside those published; the baselines' too, and into its record."""
    from fcn_tutorial.metrics import named
    from fcn_tutorial.training.records.record import table, tasks
    from fcn_tutorial.training.run import RunFolder

    split = "val" if record["test"] is None else "test"
    scores = {record.get("network", recipe.name): record[split]}
    if recipe.baselines:
        record["baselines"] = _baselines(recipe, split, options.data, options.seed)
        RunFolder(out).write_record(record)
        scores.update(record["baselines"])
    for task, described in tasks(record[split]).items():
        if task:
            print(f"\n{task}")
        print(table({**scores, next(iter(scores)): described}, "train"))
    for published in record["published"]:
        value = named(published["score"]).text(published["value"])
        where = f"{published['of']} ({published['source']})"
        print(f"published {published['score']} {value}: {where}")
    for note in record.get("notes", ()):
        print(f"note: {note}")
    print(f"run folder: {out}")


def _describe_labels(recipe: Recipe, data: Path | None) -> None:
    """Say what every value of the labels was taken for, before anything is learned from them."""
    from fcn_tutorial.datasets import sources
    from fcn_tutorial.training import distributed

    found = sources.get(recipe.data.name).described(recipe.data, data)
    if distributed.leads():
        for line in found.lines:
            print(line)
    if found.problems:
        raise ValueError(found.problems[0])


def _out(options: argparse.Namespace) -> Path:
    return options.out or configuring.run_folder(options.recipe, options.seed)


def _with_weights(
    recipe: Recipe, options: argparse.Namespace, config: Config | None, settings: Sequence[str]
) -> Recipe:
    """The recipe, or the one to run `otherwise` where its pretrained weights cannot be had.

    A run that goes on does so with the recipe it began with.
    """
    from fcn_tutorial import training
    from fcn_tutorial.training import initial
    from fcn_tutorial.training.run import RunFolder

    chosen, done = configuring.override(recipe, config, settings)
    named = options.weights or any(key.startswith("model.") for key in done)
    if not recipe.otherwise or options.smoke or named:
        return recipe
    last = RunFolder(_out(options))
    if options.resume and last.last.exists():
        began: str = last.read_state()["recipe"]["name"]
        return training.get(began) if began == recipe.otherwise else recipe
    if reason := initial.missing(chosen.model.weights):
        print(
            f"note: {reason}; {recipe.otherwise} is trained instead (a file that you have: "
            "--weights FILE)",
            file=sys.stderr,
        )
        return training.get(recipe.otherwise)
    return recipe


def _baselines(recipe: Recipe, split: str, data: Path | None, seed: int) -> dict[str, Any]:
    """Scores of what needs no network, on the same images."""
    from fcn_tutorial import prior, training
    from fcn_tutorial.training.records.record import describe

    train_set, test_set = (training.open_split(recipe, s, data) for s in ("train", split))
    count = len(train_set.classes)
    methods: dict[str, prior.Baseline] = {
        "majority": prior.MajorityClass(count),
        "colour": prior.ColourForest(count, seed=seed),
    }
    found = {}
    for name, method in methods.items():
        confusion = prior.evaluate(method.fit(train_set), test_set)
        found[name] = describe(confusion, test_set.classes, split, len(test_set))
    return found
