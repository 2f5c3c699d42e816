"""What single settings of a recipe buy on CamVid: each changed alone, all for as many steps.

    python -m benchmarks.changes --data CamVid/ --weights mobilenet_v2.safetensors
                                 [--only NAME]… [--seeds 0] [--epochs N] [--films]
                                 [--out runs/changes] [--json FILE] [--device cpu|cuda] [--smoke]

The recipe is `camvid-fcn8s`, for fewer epochs than it has; each row of `CHANGES` alters what its
`settings` say and nothing else. Scored is val alone, once, with the weights of the last step: these
runs never open the test split. A change is run with the seeds that `--seeds` names, the recipe as
it is with three at least: how far these lie apart is what a difference is measured against.

CamVid's val is seven seconds of a film that is trained on, test is another film for the most part.
With `--films` two of the three films of the training frames are held out instead, in turn: a
network learns from the other two and is scored on frames of a film that it has never seen. (The
third film has more than half of the frames; without it too little is left.)

Each run has a folder of its own under `--out`, below one for its number of epochs and, with
`--films`, one for the film. One that is finished is taken as it is and one that was interrupted
goes on, so the command can be stopped and given again, and two of them can share the changes
between them by `--only`. When no run is missing, the record is written, to
`benchmarks/results/changes-DEVICE.json`, or `changes-films-DEVICE.json` there, unless `--json` says
where; with `--only` or `--smoke` only where `--json` says. A run on a CPU core takes five to ten
minutes, with Lovász twice that; the records that are committed have some of the changes. Exit
status: 0 done; another one: that of a run that failed, whose message stands above.

The file, after what every record begins with:

    "settings": {"recipe": "camvid-fcn8s", "epochs": 8},
    "frames": with --films {split: {film: numbers of its frames in the film, in order}},
    "runs": [{"name": "plain", "label": …, "settings": ["ema=0"], "seed": 0, "seconds": of training,
              "film": the one held out, "" for val, "steps": …, "device": "x86_64 CPU, 1 thread",
              "classes": […], "confusion": [[…], …] of val or film, rows are what is there}, …]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import camvid, command
from fcn_tutorial.datasets import CamVid
from fcn_tutorial.training.run import RunFolder

SCHEMA = 1
RECIPE = "camvid-fcn8s"
#: As the recipe is; every other run is set beside it.
PLAIN = "plain"
#: Seeds that it always has: how far its scores lie apart is what a change is measured against.
SPREAD = (0, 1, 2)
#: Held out in turn: dusk in town, and a bright day on wider roads.
FILMS = ("0001TP", "0006R0")


def _change(name: str, label: str, *settings: str) -> camvid.Run:
    return camvid.Run(label, RECIPE, name, settings=settings)


#: One row a run; `group` is its name.
CHANGES = (
    _change(PLAIN, "the recipe as it is"),
    _change("no-average", "the last weights, not averaged ones", "ema=0"),
    _change("no-jitter", "no change of colours", "data.jitter=0"),
    _change("more-jitter", "colours changed twice as much", "data.jitter=0.8"),
    _change("no-scale", "no random scale", "data.scale=1,1"),
    _change("no-flip", "no mirrored images", "data.flip=false"),
    _change("small-crop", "windows of 224×288", "data.crop=224,288"),
    _change("magnified", "images enlarged 1.5 times", "model.magnification=1.5"),
    _change("even-classes", "all classes weigh alike", "class_weights=none"),
    _change("median-classes", "classes weighed by median frequency", "class_weights=median"),
    _change("lovasz", "Lovász loss beside cross-entropy", "region=lovasz"),
    _change("dice", "Dice loss beside cross-entropy", "region=dice"),
    _change("focal", "focal loss, exponent 2", "focal=2"),
    _change("dropout", "half of the channels dropped", "model.dropout=0.5"),
    _change("decay", "ten times the weight decay", "optimiser.weight_decay=0.1"),
    _change("trunk-rate", "the trunk learns as fast as the scores", "optimiser.trunk_lr=1"),
    _change("all-layers", "the first layers learn too", "frozen_stride=0"),
    _change("norms", "batch norms kept", "model.norms=batch"),
    _change("scratch", "from nothing", "model.weights=", "model.norms=batch", "frozen_stride=0"),
)


def with_budget(run: camvid.Run, epochs: int, film: str = "") -> camvid.Run:
    """The run for so many epochs, scored once at their end, on val alone or on a film left out.

    Where a film is left out, its runs are of a group of their own.
    """
    budget = [f"epochs={epochs}", f"validate_every={epochs}", "select=last", "data.test_split="]
    if film:
        budget += [f"data.train_split=without-{film}", f"data.val_split=film-{film}"]
        run = dataclasses.replace(run, group=f"{film}/{run.group}")
    trunk = "" if "model.weights=" in run.settings else run.trunk
    return dataclasses.replace(run, trunk=trunk, settings=(*run.settings, *budget))


def plan(only: Collection[str], seeds: Sequence[int]) -> list[tuple[camvid.Run, int]]:
    """The chosen changes, or all, each with each seed; without a change, with all of SPREAD."""
    return [
        (run, seed)
        for run in CHANGES
        if not only or run.group in only
        for seed in (sorted({*SPREAD, *seeds}) if run.group == PLAIN else seeds)
    ]


def found(run: camvid.Run, seed: int, film: str, made: camvid.Run, out: Path) -> dict[str, Any]:
    """What the file keeps of a finished run; `made`: the same with its budget."""
    record = json.loads(RunFolder(made.folder(out, seed)).record.read_text(encoding="utf-8"))
    train, val = record["train"], record["val"]
    return {
        "name": run.group,
        "label": run.label,
        "settings": list(run.settings),
        "seed": seed,
        "film": film,
        "seconds": train["seconds"],
        "steps": train["steps"],
        "device": record["device"],
        "classes": list(val["iu"]),
        "confusion": val["confusion"],
    }


def frames(data: Path) -> dict[str, dict[str, list[int]]]:
    """Which frames of which film each split has, by the names in its list; no image is opened."""
    found: dict[str, dict[str, list[int]]] = {}
    for split in CamVid.counts:
        films = found.setdefault(split, {})
        for image, _ in CamVid(data, split).files:
            film, _, number = image.stem.partition("_")  # as in 0001TP_006690, 0006R0_f00930
            films.setdefault(film, []).append(int(re.sub(r"\D", "", number)))
    return {s: {film: sorted(n) for film, n in sorted(f.items())} for s, f in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
    # Runs of another length, and tiny ones, are never taken for these.
    args.out = camvid.place(args) / f"epochs{args.epochs}"
    films = FILMS if args.films else ("",)
    try:
        shown = frames(args.data) if args.films else {}  # before hours of training
    except (FileNotFoundError, ValueError) as error:
        print(f"--data {args.data}: {error}", file=sys.stderr)
        return 1
    planned = [
        (run, seed, film, with_budget(run, args.epochs, film))
        for run, seed in plan(args.only or (), args.seeds)
        for film in films
    ]
    status = camvid.finish([(made, seed) for _, seed, _, made in planned], args)
    if status:
        return status
    for film in films:
        rows = list(dict.fromkeys(made for *_, held_out, made in planned if held_out == film))
        print(f"\n{f'film {film} left out:' if film else ''}")
        print(camvid.table(rows, args.out, sorted({seed for _, seed, *_ in planned}), "val"))
    device = torch.device(args.device or "cpu")
    path = args.json
    if path is None and not args.only and not args.smoke:
        kind = "changes-films" if args.films else "changes"
        path = command.RESULTS / f"{kind}-{device.type}.json"
    record = {
        **command.head(SCHEMA, device, args.smoke),
        "settings": {"recipe": RECIPE, "epochs": args.epochs},
        "frames": shown,
        "runs": [found(*one, args.out) for one in planned],
    }
    command.keep(record, path)
    command.tell(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    summary, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.changes", description=summary)
    camvid.add_common(parser, Path("runs") / "changes")
    parser.add_argument("--epochs", type=command.positive, default=8, metavar="N")
    parser.add_argument(
        "--only", action="append", choices=[run.group for run in CHANGES], help="repeatable"
    )
    parser.add_argument(
        "--films", action="store_true", help="score films left out of training, not val"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
