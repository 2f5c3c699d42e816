"""Every method before FCN, the FCNs and the networks after them, on one bench.

    python -m benchmarks.methods [--only NAME]… [--seeds 0 1 2] [--out runs/methods]
                                 [--json FILE] [--smoke]

All learn from the 600 generated scenes of `scenes-fcn8s` and are scored once on the first hundred
of its test scenes, 128×128. None learns for more than
`BUDGET` seconds of processor time, its loader's included: those before FCN take as many pixels as
still help, networks as many steps as that holds, under the settings of their recipes. (On a machine
that does other work a second holds less; the record has what each took.) Rendering the scenes is
not counted; the pass that recomputes SegNet's norms, and a look at eight validation scenes, are.

Each method and seed is a run, kept in a file of its own under `--out`: a command that was stopped
goes on with those that are missing, and one whose settings or number of test scenes have changed is
run again. A run of all, with all seeds, that is not a smoke run writes
`benchmarks/results/methods-cpu.json`; others write where `--json` says. The book's tables read it.

The file:

    {"schema": 1, "created": …, "git": …, "versions": {…}, "device": …, "threads": 1,
     "smoke": false, "budget_seconds": …, "size": [128, 128], "train": 600, "test": 100,
     "thin": [classes that are nearly all boundary],
     "runs": [{"method": …, "family": "before" | "fcn" | "after", "seed": …, "settings": {…},
               "fit_seconds": …, "predict_seconds": an image, "parameters": …, "macs": an image or
               null, "boundary_iu": …, "thin_iu": …, and a record's scores, matrix included}]}
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.command import RESULTS, head
from fcn_tutorial import models, prior, training
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.files import write_atomically
from fcn_tutorial.metrics import (
    ConfusionMatrix,
    boundary_only,
    over_seeds,
    thin_classes,
    thin_iu,
)
from fcn_tutorial.prior.texton_forest import Tree
from fcn_tutorial.surgery import macs
from fcn_tutorial.training.records.record import describe, dumps
from fcn_tutorial.training.run import RunFolder

SCHEMA = 1
BUDGET = 70.0  # seconds of one core
BAND = 2  # pixels on either side of a boundary
BASE = "scenes-fcn8s"  # whose scenes all see
TEST = 100  # of its test scenes: the slowest label three in a second

Items = Sequence[tuple[Any, Any]]


class Sets(NamedTuple):
    """The scenes, rendered once: what is learned from, and what is scored."""

    train: Items
    test: Items


class Fitted(NamedTuple):
    """What came of learning: labels of an image, a count of what was learned, and its cost."""

    predict: Callable[[Tensor], Any]
    seconds: float
    parameters: int
    macs: int | None


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    family: before FCN, FCN, or after it. settings: what decides its run, for the record; `small`
    replaces some of them in a smoke run. random: whether another seed gives another result.
    """

    name: str
    family: str
    fit: Callable[[Entry, Sets, int, Mapping[str, Any]], Fitted]
    settings: Mapping[str, Any]
    small: Mapping[str, Any]
    random: bool = True

    def chosen(self, smoke: bool) -> dict[str, Any]:
        """The settings of a run."""
        return {**self.settings, **(self.small if smoke else {})}


# ---- The methods ---------------------------------------------------------------------------------


def _before(entry: Entry, sets: Sets, seed: int, settings: Mapping[str, Any]) -> Fitted:
    """A method of `prior`, with processor time."""
    seeded = {"seed": seed} if entry.random else {}
    method = prior.methods()[entry.name](len(Scenes.classes), **settings, **seeded)
    began = spent()
    method.fit(sets.train)
    return Fitted(method.predict, spent() - began, learned(method), None)


def _network(entry: Entry, sets: Sets, seed: int, settings: Mapping[str, Any]) -> Fitted:
    """A recipe from nothing, for a number of steps; the clock runs from the first one on."""
    recipe = _recipe(settings)
    ticks: list[float] = []

    def stop() -> bool:  # asked before each step
        ticks.append(spent())
        return False

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        training.train(recipe, folder, seed=seed, stop=stop)
        seconds = spent() - ticks[0]
        network, _ = models.load(RunFolder(folder).best)
    side = recipe.data.crop[0]
    return Fitted(network.predict, seconds, learned(network), macs(network, side))


def _recipe(settings: Mapping[str, Any]) -> training.Recipe:
    """The recipe of a network's run: eight scenes to validate on, and none of the stages."""
    changes = [f"{key}={value}" for key, value in settings.items() if key not in ("recipe", "tiny")]
    recipe = training.get(settings["recipe"])
    recipe, _ = training.override(recipe, ["data.test_images=8", *changes])
    recipe = dataclasses.replace(recipe, coarser="", baselines=False)
    return training.smoke(recipe) if settings.get("tiny") else recipe


def _prior(name: str, small: Mapping[str, Any] | None = None, **settings: Any) -> Entry:
    few = {"pixels": 400, "images": 4, **(small or {})}
    return Entry(name, "before", _before, settings, few)


def _net(name: str, family: str, recipe: str, iterations: int, **settings: Any) -> Entry:
    every = {"recipe": recipe, "iterations": iterations, **settings}
    return Entry(name, family, _network, every, {"tiny": True})


#: In the order of the table. Pixels and steps are what `BUDGET` holds on one core of the machine
#: that made the record.
ENTRIES = (
    Entry("majority", "before", _before, {}, {}, random=False),
    _prior("colour-forest", {"trees": 2}),
    _prior("pixel-svm", pixels=50_000),
    _prior("pixel-forest", {"trees": 2}),
    _prior("textons", {"words": 4}),
    _prior("texton-forest", {"trees": 1, "depth": 2}),
    _prior("slic"),
    _prior("felzenszwalb"),
    _prior("patch-cnn", {"epochs": 1}),
    _prior("regions", {"patches": 64}),
    _prior("forest-cut"),
    _prior("forest-crf"),
    _net("fcn-32s", "fcn", BASE, 175, **{"model.stride": 32}),
    _net("fcn-16s", "fcn", BASE, 175, **{"model.stride": 16}),
    _net("fcn-8s", "fcn", BASE, 175),
    _net("segnet", "after", "scenes-segnet", 104),
    _net("segnet-basic", "after", "scenes-segnet-basic", 110),
    _net("unet", "after", "scenes-unet", 108),
    _net("deeplab", "after", "scenes-deeplab", 145),
)


# ---- What is measured ----------------------------------------------------------------------------


def spent() -> float:
    """Processor seconds of this process and of those of its children that have ended."""
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


#: Where a method keeps what it has learned.
_PARTS = ("label", "forest", "classifier", "learner", "method", "network", "trunk", "centres",
          "first", "second")  # fmt: skip


def learned(part: Any) -> int:
    """How many numbers learning chose: weights; two for each split of a tree, C for each leaf."""
    if isinstance(part, int | np.integer):
        return 1
    if isinstance(part, nn.Module):
        return sum(parameter.numel() for parameter in part.parameters())
    if isinstance(part, np.ndarray):
        return int(part.size)
    if isinstance(part, list):
        return sum(map(learned, part))
    if isinstance(part, Tree):
        splits = int((~np.isnan(part.thresholds)).sum())
        return int(splits * 2 + (splits + 1) * part.shares.shape[1])
    if hasattr(part, "estimators_"):  # a random forest of scikit-learn
        trees = [one.tree_ for one in part.estimators_]
        splits = int(sum(t.node_count - t.n_leaves for t in trees))
        return int(splits * 2 + (splits + len(trees)) * len(part.classes_))
    if hasattr(part, "coef_"):  # a linear machine of scikit-learn
        return int(part.coef_.size + part.intercept_.size)
    return sum(learned(getattr(part, name)) for name in _PARTS if hasattr(part, name))


def run(entry: Entry, seed: int, sets: Sets, smoke: bool) -> dict[str, Any]:
    """Fit one method, score it, and say what it cost."""
    settings = entry.chosen(smoke)
    torch.manual_seed(seed)
    fitted = entry.fit(entry, sets, seed, settings)
    classes = Scenes.classes
    whole, near = (ConfusionMatrix(len(classes), ignore_index=255) for _ in range(2))
    began = spent()
    guesses: list[NDArray[Any]] = [np.asarray(fitted.predict(image)) for image, _ in sets.test]
    seconds = (spent() - began) / len(sets.test)
    for guess, (_, truth) in zip(guesses, sets.test, strict=True):
        labels = torch.as_tensor(truth)
        whole.update(guess, labels)
        near.update(guess, boundary_only(labels, BAND))
    thin = thin_classes([truth for _, truth in sets.test], len(classes))
    scores = whole.compute()
    return {
        "method": entry.name,
        "family": entry.family,
        "seed": seed,
        "settings": settings,
        "fit_seconds": round(fitted.seconds, 2),
        "predict_seconds": round(seconds, 5),
        "parameters": fitted.parameters,
        "macs": fitted.macs,
        "boundary_iu": near.compute().mean_iu,
        "thin_iu": thin_iu(scores, thin) if thin else None,
        **describe(whole, classes, "test", len(sets.test)),
    }


def scenes(smoke: bool) -> Sets:
    """The scenes of the recipes; of a smoke run, four and two small ones."""
    recipe = training.get(BASE)
    spec = (training.smoke(recipe) if smoke else recipe).data

    def rendered(split: str, n: int) -> Items:
        every = Scenes(n=n, split=split, size=spec.crop)
        return [every[i] for i in tqdm(range(n), f"rendering {split}", leave=False, disable=None)]

    return Sets(rendered("train", spec.train_images), rendered("test", _scored(smoke)))


def _scored(smoke: bool) -> int:
    """How many test scenes there are."""
    recipe = training.get(BASE)
    return min(TEST, (training.smoke(recipe) if smoke else recipe).data.test_images)


# ---- The command ---------------------------------------------------------------------------------


def plan(entries: Iterable[Entry], seeds: Sequence[int]) -> list[tuple[Entry, int]]:
    """All methods with the first seed, then those with a random part with the next one, …"""
    entries = list(entries)
    return [
        (entry, seed)
        for number, seed in enumerate(seeds)
        for entry in entries
        if entry.random or number == 0
    ]


def kept(path: Path, entry: Entry, smoke: bool) -> dict[str, Any] | None:
    """What a file holds of a run with the settings of today; None where it has to be made."""
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    today = json.loads(json.dumps(entry.chosen(smoke))), _scored(smoke)
    return found if (found["settings"], found["images"]) == today else None


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """A line a method: percent and seconds, the mean over its seeds."""
    head = f"{'method':16}{'seeds':>6}{'mean IU':>13}{'accuracy':>10}{'boundary':>10}{'thin':>7}"
    lines = [head + f"{'parameters':>12}{'fit s':>8}{'ms/image':>10}"]
    for name in dict.fromkeys(run["method"] for run in runs):
        mine = [run for run in runs if run["method"] == name]

        def mean(key: str, mine: Sequence[Mapping[str, Any]] = mine) -> float:
            return over_seeds([run[key] for run in mine])[0] or 0.0

        _, spread = over_seeds([100 * run["mean_iu"] for run in mine])
        iu = f"{100 * mean('mean_iu'):.1f}" + ("" if spread is None else f" ± {spread:.1f}")
        lines.append(
            f"{name:16}{len(mine):6}{iu:>13}{100 * mean('pixel_accuracy'):10.1f}"
            f"{100 * mean('boundary_iu'):10.1f}{100 * mean('thin_iu'):7.1f}"
            f"{mean('parameters'):12,.0f}{mean('fit_seconds'):8.1f}"
            f"{1000 * mean('predict_seconds'):10.1f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    entries = [entry for entry in ENTRIES if not args.only or entry.name in args.only]
    out = args.out / "smoke" if args.smoke else args.out
    out.mkdir(parents=True, exist_ok=True)
    planned = plan(entries, args.seeds)
    paths = {(e.name, seed): out / f"{e.name}-seed{seed}.json" for e, seed in planned}
    missing = [(e, s) for e, s in planned if kept(paths[e.name, s], e, args.smoke) is None]
    print(f"{len(missing)} of {len(planned)} runs to make", flush=True)
    sets = scenes(args.smoke)
    for entry, seed in (bar := tqdm(missing, unit="run", disable=None)):
        bar.set_postfix_str(f"{entry.name}, seed {seed}")
        found = run(entry, seed, sets, args.smoke)
        write_atomically(paths[entry.name, seed], dumps(found).encode())
        tqdm.write(table([found]).splitlines()[-1])
        sys.stdout.flush()
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths.values()]
    runs.sort(key=lambda one: [e.name for e in ENTRIES].index(one["method"]))  # seeds in order
    print(table(runs))
    complete = not args.only and args.seeds == [0, 1, 2] and not args.smoke
    if path := args.json or (RESULTS / "methods-cpu.json" if complete else None):
        write_atomically(path, dumps(as_record(runs, sets, args.smoke)).encode())
        print(f"wrote {path}")
    return 0


def as_record(runs: Sequence[Any], sets: Sets, smoke: bool) -> dict[str, Any]:
    """All runs as plain values, by the schema above."""
    thin = thin_classes([truth for _, truth in sets.test], len(Scenes.classes))
    return {
        **head(SCHEMA, torch.device("cpu"), smoke),
        "budget_seconds": BUDGET,
        "size": list(np.asarray(sets.test[0][1]).shape),
        "train": len(sets.train),
        "test": len(sets.test),
        "thin": [Scenes.classes[c] for c in thin],
        "runs": list(runs),
    }


def _parser() -> argparse.ArgumentParser:
    summary, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=summary)
    names = [entry.name for entry in ENTRIES]
    parser.add_argument("--only", action="append", choices=names, help="repeatable")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--out", type=Path, default=Path("runs") / "methods", metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    parser.add_argument("--smoke", action="store_true", help="tiny: shows that it runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
