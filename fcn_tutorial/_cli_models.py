"""The verbs on trained networks: `evaluate` and `predict`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fcn_tutorial._cli_common import chosen_device, score_table


def add_to(verbs: Any) -> None:
    """Add the verbs to a parser's subparsers."""
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


def _evaluate(options: argparse.Namespace) -> int:
    from fcn_tutorial import training
    from fcn_tutorial.predict import Predictor
    from fcn_tutorial.training.run import describe

    predictor = Predictor.load(options.source, chosen_device(options.device))
    stored = predictor.card.details.get("recipe")
    if stored is None:
        raise ValueError(f"{options.source}: does not say what recipe made it")
    dataset = training.open_split(training.from_dict(stored), options.split, options.data)
    confusion = training.evaluate(predictor.model, dataset, f"scoring {options.split}")
    scores = describe(confusion.compute(), dataset.classes, options.split, len(dataset))
    print(score_table({options.split: scores}))
    print(json.dumps(scores))
    return 0


def _predict(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from fcn_tutorial.predict import Predictor, find_images, write_predictions

    predictor = Predictor.load(options.source, chosen_device(options.device))
    images = find_images(options.paths)
    written = write_predictions(predictor, images, options.out)
    bar = tqdm(written, "predicting", total=len(images), unit="img", leave=False, disable=None)
    count = sum(1 for _ in bar)
    print(f"{count} {'image' if count == 1 else 'images'} labelled, in {options.out}")
    return 0
