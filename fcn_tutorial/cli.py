"""The command line: one verb for each thing a person does.

Exit status: 0 done, 1 a clear error, 2 wrong usage, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcn_tutorial import __version__, _cli_data

if TYPE_CHECKING:  # the modules themselves are loaded by the verb that needs them
    from fcn_tutorial.training import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        return status
    except (ValueError, OSError) as error:
        print(f"fcn-tutorial: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fcn-tutorial: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fcn-tutorial", description="Fully convolutional networks: train, score, predict."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    verb = verbs.add_parser("recipes", help="list the recipes, or explain one")
    verb.add_argument("name", nargs="?", metavar="NAME")
    verb.set_defaults(run=_recipes)

    verb = verbs.add_parser(
        "train",
        help="run a recipe",
        epilog="your own photos: train folder --set data.images=DIR --set data.masks=DIR "
        "(`recipes folder` lists its settings)",
    )
    verb.add_argument("recipe", metavar="RECIPE")
    verb.add_argument("--data", type=Path, metavar="DIR", help="folder of the data set")
    verb.add_argument("--weights", type=Path, metavar="FILE", help="pretrained trunk (safetensors)")
    verb.add_argument("--out", type=Path, metavar="DIR", help="run folder [runs/RECIPE-seedN]")
    verb.add_argument("--epochs", type=int, metavar="N", help="same as --set epochs=N")
    verb.add_argument("--seed", type=int, default=0, metavar="N")
    verb.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 … [cuda where there is one]")
    verb.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one setting"
    )
    verb.add_argument("--resume", action="store_true", help="go on from the run folder's last.pt")
    verb.add_argument("--smoke", action="store_true", help="the same path in seconds, tiny")
    verb.set_defaults(run=_train)

    verb = verbs.add_parser("evaluate", help="score a run or a weights file on a split")
    verb.add_argument("source", type=Path, metavar="RUN_OR_CHECKPOINT")
    verb.add_argument("--data", type=Path, metavar="DIR", help="folder of the data set")
    verb.add_argument("--split", default="test", metavar="S", help="train, val or test [test]")
    verb.add_argument("--device", metavar="D")
    verb.set_defaults(run=_evaluate)

    verb = verbs.add_parser("predict", help="label pictures: palette PNG and overlay for each")
    verb.add_argument("source", type=Path, metavar="RUN_OR_CHECKPOINT")
    verb.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures or folders")
    verb.add_argument("--out", type=Path, required=True, metavar="DIR")
    verb.add_argument("--device", metavar="D")
    verb.set_defaults(run=_predict)

    _cli_data.add_to(verbs)
    return parser


def _recipes(options: argparse.Namespace) -> int:
    from fcn_tutorial.training import explain, recipes

    if options.name is None:
        width = max(map(len, recipes.RECIPES))
        for recipe in recipes.RECIPES.values():
            print(f"{recipe.name:{width}}  {recipe.summary}")
        return 0
    recipe = recipes.get(options.name)
    print(f"{recipe.name}: {recipe.summary}\nsource: {recipe.source}\n")
    for key, value, reason in explain(recipe):
        print(f"  {key:26} {value:14}  {reason}")
    for published in recipe.published:
        percent = f"{100 * published.value:.1f}"
        print(f"  published {published.score} {percent}: {published.of}; {published.source}")
    return 0


def _train(options: argparse.Namespace) -> int:
    from fcn_tutorial import training
    from fcn_tutorial.training.run import RunFolder

    settings = list(options.set)
    if options.epochs is not None:
        settings.append(f"epochs={options.epochs}")
    recipe, overrides = training.override(training.get(options.recipe), settings)
    weights = options.weights
    if options.smoke:
        # A trunk of a sixteenth of the width has no place for pretrained weights.
        recipe, weights = training.smoke(recipe), None
        overrides["smoke"] = True
    out = options.out or Path("runs") / f"{recipe.name}-seed{options.seed}"
    device = _device(options.device)
    try:
        record = training.train(
            recipe, out, data=options.data, weights=weights, seed=options.seed,
            device=device, overrides=overrides, resume=options.resume,
        )  # fmt: skip
    except training.Interrupted as stopped:
        print(f"fcn-tutorial: {stopped}", file=sys.stderr)
        return 130
    split = "val" if record["test"] is None else "test"
    scores = {f"{recipe.model.backbone} {recipe.model.stride}s": record[split]}
    if recipe.baselines:
        record["baselines"] = _baselines(recipe, split, options.data, options.seed)
        RunFolder(out).write_record(record)
        scores.update(record["baselines"])
    print(_table(scores))
    for published in record["published"]:
        percent = f"{100 * published['value']:.1f}"
        where = f"{published['of']} ({published['source']})"
        print(f"published {published['score']} {percent}: {where}")
    for note in record.get("notes", ()):
        print(f"note: {note}")
    print(f"run folder: {out}")
    return 0


def _baselines(recipe: Recipe, split: str, data: Path | None, seed: int) -> dict[str, Any]:
    """Scores of what needs no network, on the same images."""
    from fcn_tutorial import prior, training
    from fcn_tutorial.training.run import describe

    train_set, test_set = (training.open_split(recipe, s, data) for s in ("train", split))
    count = len(train_set.classes)
    methods: dict[str, prior.Baseline] = {
        "majority": prior.MajorityClass(count),
        "colour": prior.ColourForest(count, seed=seed),
    }
    found = {}
    for name, method in methods.items():
        confusion = prior.evaluate(method.fit(train_set), test_set)
        found[name] = describe(confusion.compute(), test_set.classes, split, len(test_set))
    return found


def _evaluate(options: argparse.Namespace) -> int:
    from fcn_tutorial import training
    from fcn_tutorial.predict import Predictor
    from fcn_tutorial.training.run import describe

    predictor = Predictor.load(options.source, _device(options.device))
    stored = predictor.card.details.get("recipe")
    if stored is None:
        raise ValueError(f"{options.source}: does not say what recipe made it")
    dataset = training.open_split(training.from_dict(stored), options.split, options.data)
    confusion = training.evaluate(predictor.model, dataset, f"scoring {options.split}")
    scores = describe(confusion.compute(), dataset.classes, options.split, len(dataset))
    print(_table({options.split: scores}))
    print(json.dumps(scores))
    return 0


def _predict(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from fcn_tutorial.predict import Predictor, find_images, write_predictions

    predictor = Predictor.load(options.source, _device(options.device))
    images = find_images(options.paths)
    written = write_predictions(predictor, images, options.out)
    bar = tqdm(written, "predicting", total=len(images), unit="img", leave=False, disable=None)
    count = sum(1 for _ in bar)
    print(f"{count} {'image' if count == 1 else 'images'} labelled, in {options.out}")
    return 0


def _device(name: str | None) -> Any:
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: cannot be used here ({reason})") from error
    return device


def _table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Per-class IU and the four scores in percent, a column for each method."""
    widths = [max(9, len(name)) for name in columns]
    first = next(iter(columns.values()))
    label = max(16, *(len(name) for name in first["iu"]))
    lines = [" " * label + "".join(f"  {n:>{w}}" for n, w in zip(columns, widths, strict=True))]

    def row(title: str, values: list[float | None]) -> None:
        cells = ["–" if v is None else f"{100 * v:.1f}" for v in values]
        padded = "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True))
        lines.append(f"{title:{label}}{padded}")

    for name in first["iu"]:
        row(name, [scores["iu"][name] for scores in columns.values()])
    lines.append("-" * len(lines[0]))
    for key in ("mean_iu", "pixel_accuracy", "mean_accuracy", "fw_iu"):
        row(key.replace("_", " "), [scores[key] for scores in columns.values()])
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
