"""The verbs on trained networks: `evaluate`, `predict`, `export` and `results`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcn_tutorial.cli import configuring
from fcn_tutorial.cli.common import chosen_device
from fcn_tutorial.files import number_of

if TYPE_CHECKING:  # the modules themselves are loaded by the verb that needs them
    from fcn_tutorial.predict import Predictor


def add_to(verbs: Any) -> None:
    """Add the verbs to a parser's subparsers."""
    verb = verbs.add_parser("evaluate", help="score a run or a weights file on a split")
    _add_source(verb)
    verb.add_argument("--data", type=Path, metavar="DIR", help="folder of the data set")
    verb.add_argument(
        "--split",
        default="test",
        metavar="S",
        help="train, val, test, or all; of your own photos also a list of them [test]",
    )
    verb.add_argument(
        "--set", action="append", default=[], metavar="data.KEY=VALUE", help="as of train"
    )
    _add_test_time(verb)
    verb.add_argument("--device", metavar="D")
    verb.set_defaults(run=_evaluate)

    verb = verbs.add_parser(
        "predict",
        help="label pictures: palette PNG and overlay for each",
        epilog="STEM.png holds the labels, STEM-overlay.png shows them; networks of several tasks "
        "write STEM-TASK.png and so on. A picture that cannot be read is named, the others go on, "
        "and the exit status is 1.",
    )
    _add_source(verb)
    verb.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="pictures, folders, or patterns"
    )
    verb.add_argument("--out", type=Path, required=True, metavar="DIR")
    verb.add_argument(
        "--probabilities", action="store_true", help="STEM.npz too: float16 (classes, H, W)"
    )
    verb.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="compute N×N pixels at a time, with the same result; 0: whole pictures [above "
        "4 megapixels 1024, counted at the size the network sees]",
    )
    _add_test_time(verb)
    verb.add_argument(
        "--crf",
        action="store_true",
        help="refine with a dense CRF, DeepLab's settings; up to 4 megapixels, seconds a picture",
    )
    verb.add_argument("--device", metavar="D")
    verb.set_defaults(run=_predict)

    verb = verbs.add_parser("export", help="write a trained network for other programs")
    _add_source(verb)
    verb.add_argument("--to", required=True, choices=("onnx", "torch"), help="torch: a .pt2 file")
    verb.add_argument("--out", type=Path, required=True, metavar="FILE")
    verb.add_argument("--size", metavar="HxW", help="for images of this size only [any size]")
    verb.add_argument(
        "--uint8", action="store_true", help="preprocess inside: takes RGB uint8 (N, 3, H, W)"
    )
    verb.set_defaults(run=_export)

    verb = verbs.add_parser("results", help="published, reference port and ours, side by side")
    verb.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="DIR",
        help="run folders, or folders of them [runs]",
    )
    verb.add_argument("--json", action="store_true", help="the same as JSON")
    verb.set_defaults(run=_results)


def _add_source(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("source", nargs="?", type=Path, metavar="RUN_OR_CHECKPOINT")
    configuring.add_config(verb)
    verb.set_defaults(refuse=verb.error)


def _add_test_time(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--scales",
        type=_scales,
        default=(1.0,),
        metavar="S,S,…",
        help="look at these sizes, such as 0.75,1,1.25 [1]",
    )
    verb.add_argument("--flip", action="store_true", help="look at mirror images too")
    verb.add_argument(
        "--combine",
        choices=("mean", "max"),
        default="mean",
        help="how sizes and mirror images become one: the mean of their probabilities, or each "
        "class's largest score, as DeepLab does [mean]",
    )


def _scales(text: str) -> tuple[float, ...]:
    scales = tuple(float(part) for part in text.split(","))
    if not all(0 < scale < float("inf") for scale in scales):
        raise ValueError(text)
    return scales


_scales.__name__ = "numbers above 0"  # how argparse calls it in "invalid … value"


def _evaluate(options: argparse.Namespace) -> int:
    from fcn_tutorial import training
    from fcn_tutorial.datasets import sources
    from fcn_tutorial.training.evaluation import scored
    from fcn_tutorial.training.matching import Matched
    from fcn_tutorial.training.records.record import table, tasks

    config = configuring.run_of(options)
    predictor = _load(options)
    stored = predictor.card.details.get("recipe")
    if stored is None:
        raise ValueError(f"{options.source}: does not say what recipe made it")
    try:
        recipe = training.from_dict(stored)
    except ValueError as error:
        raise ValueError(f"{options.source}: the recipe in it is damaged ({error})") from error
    recipe = configuring.scored_data(recipe, config, options)
    names = {task: part.classes for task, part in predictor.tasks.items()}
    try:
        dataset = Matched(training.open_split(recipe, options.split, options.data), names)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{options.source}: {error}") from error
    except ValueError as error:  # the recipe in the file asks for it, or an option does
        raise ValueError(f"{options.source}: {error}") from error
    predict, tta = None, None
    if options.flip or options.scales != (1.0,):
        combine = options.combine
        asked = predictor.with_settings(options.scales, options.flip, combine=combine)
        predict = asked.predict_tasks
        tta = {"scales": list(options.scales), "flip": options.flip, "combine": combine}
    title = f"scoring {options.split}"
    described = scored(predictor.model, dataset, recipe.data, options.split, title, tta, predict)
    drawn = sources.get(recipe.data.name).drawn(recipe.data, options.split)
    share = ", drawn from all that the folder holds; --split all scores every one" if drawn else ""
    print(f"{options.split}: {number_of(len(dataset), 'image')}{share}")
    for task, part in tasks(described).items():
        if task:
            print(f"\n{task}")
        print(table({Path(options.split).stem: part}, "evaluate"))
    if note := described.get("note"):
        print(f"note: {note}")
    print(json.dumps(described))
    return 0


def _predict(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from fcn_tutorial.crf import DenseCRF
    from fcn_tutorial.predict import find_images, write_predictions

    if options.config is not None and options.source is not None:
        options.paths, options.source = [options.source, *options.paths], None
    configuring.run_of(options)
    if not options.paths:
        options.refuse("name the pictures to label")
    crf = DenseCRF() if options.crf else None
    predictor = _load(options).with_settings(
        options.scales, options.flip, options.tile, crf, options.combine
    )
    images = find_images(options.paths)
    written = write_predictions(predictor, images, options.out, options.probabilities)
    unread = 0
    for outcome in tqdm(
        written, "predicting", total=len(images), unit="img", leave=False, disable=None
    ):
        if outcome.error is not None:
            tqdm.write(f"fcn-tutorial: {outcome.error}", file=sys.stderr)
            unread += 1
    count = len(images) - unread
    print(f"{count} {'image' if count == 1 else 'images'} labelled, in {options.out}")
    return 1 if unread else 0


def _load(options: argparse.Namespace) -> Predictor:
    from fcn_tutorial.predict import Predictor

    return Predictor.load(options.source, chosen_device(options.device))


def _export(options: argparse.Namespace) -> int:
    from fcn_tutorial import export
    from fcn_tutorial.predict import Predictor

    configuring.run_of(options)
    predictor = Predictor.load(options.source)
    size = export.parse_size(options.size) if options.size else None
    done = export.export(
        predictor.model, predictor.card, options.out, options.to, size, options.uint8
    )
    sizes = ", ".join(f"{h}×{w}" for h, w in done.sizes)
    print(f"{options.out}: {done.inputs}")
    print(f"largest difference from PyTorch {done.error:.1e} (scores up to {done.largest:.3g}), "
          f"at {sizes}")  # fmt: skip
    if (longest := predictor.model.longest_side) and options.to == "onnx":
        print(f"pictures above {longest} pixels are shrunk to it, as in training")
    return 0


def _results(options: argparse.Namespace) -> int:
    from fcn_tutorial.training.records import results

    records, faults = results.find_sound(options.folders)
    tables = results.collect(records)
    print(json.dumps(results.as_dict(tables)) if options.json else results.text(tables))
    for fault in faults:
        print(f"fcn-tutorial: {fault}", file=sys.stderr)
    return 1 if faults else 0
