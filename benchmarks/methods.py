"""Every method before FCN, the FCNs and the networks after them, on one bench.

    python -m benchmarks.methods [--data DIR] [--only NAME]… [--seeds N…] [--out DIR]
                                 [--json FILE] [--smoke]

All learn from the 600 generated scenes of `scenes-fcn8s` and are scored once on the first hundred
of its test scenes, 128×128. With `--data`, the folder of CamVid, they learn from its 367 training
frames and are scored once on a part of its 233 test frames, spread evenly over them and the same
for all, 360×480: the slowest takes seconds a frame. What each takes of either data set is in
`benchmarks.entries`; on CamVid the budget alone decided it, and nothing was chosen by a score.

None learns for more than the budget, seconds of processor time, its loader's included: those before
FCN take as many pixels as still help, networks as many steps as that holds, under the settings of
their recipes. (On a machine that does other work a second holds less; the record has what each
took.) Rendering or reading the images is not counted; the pass that recomputes SegNet's norms on
scenes, and a look at eight validation images, are.

Each run has a process of its own. Memory is the most that this process held, while it learned and
labelled the first test image, beyond what it held when learning began: not the images, the
libraries or the first weights of a network, and not the process that prepares its batches. Runs
made before this was measured do not have it, and count as they are.

Each method and seed is a run, kept in a file of its own under `--out` (`runs/methods` or
`runs/methods-camvid`): a command that was stopped goes on with those that are missing, and one
whose settings or number of test images have changed is run again. A run of all, with all seeds of
the record (three on scenes, one on CamVid), that is not a smoke run writes
`benchmarks/results/methods-cpu.json` or `methods-camvid-cpu.json`; others write where `--json`
says. The book's tables read them. On CamVid these are the project's first runs of SegNet-Basic and
U-Net, narrow ones and for a minute; longer ones are not among them.

The file:

    {"schema": 1, "created": …, "git": …, "versions": {…}, "device": …, "threads": 1,
     "smoke": false, "data": "scenes" | "camvid", "budget_seconds": …, "size": [128, 128],
     "train": 600, "test": 100, "thin": [classes that are nearly all boundary],
     "runs": [{"method": …, "family": "before" | "fcn" | "after", "seed": …, "settings": {…},
               "fit_seconds": …, "predict_seconds": an image, "memory_mib": …, "parameters": …,
               "macs": an image or null, "boundary_iu": …, "thin_iu": …, and a record's scores,
               matrix included}]}
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.command import RESULTS, head
from benchmarks.cost import loaded, spent
from benchmarks.entries import CAMVID, SCENES, Bench, Entry, Sets
from fcn_tutorial.files import write_atomically
from fcn_tutorial.metrics import (
    ConfusionMatrix,
    boundary_only,
    over_seeds,
    thin_classes,
    thin_iu,
)
from fcn_tutorial.training.records.record import describe, dumps

SCHEMA = 1
BAND = 2  # pixels on either side of a boundary


# ---- What is measured ----------------------------------------------------------------------------


def run(entry: Entry, seed: int, sets: Sets, smoke: bool) -> dict[str, Any]:
    """Fit one method, score it, and say what it cost."""
    settings = entry.chosen(smoke)
    torch.manual_seed(seed)
    fitted = entry.fit(entry, sets, seed, settings)
    guesses: list[NDArray[Any]] = []
    began = spent()
    for image, _ in sets.test:
        guesses.append(np.asarray(fitted.predict(image)))
        if len(guesses) == 1:  # the answers that are kept are not the method's memory
            memory = fitted.meter.mebibytes()
    seconds = (spent() - began) / len(sets.test)
    whole, near = (ConfusionMatrix(len(sets.classes), ignore_index=255) for _ in range(2))
    for guess, (_, truth) in zip(guesses, sets.test, strict=True):
        labels = torch.as_tensor(truth)
        whole.update(guess, labels)
        near.update(guess, boundary_only(labels, BAND))
    thin = thin_classes([truth for _, truth in sets.test], len(sets.classes))
    scores = whole.compute()
    return {
        "method": entry.name,
        "family": entry.family,
        "seed": seed,
        "settings": settings,
        "fit_seconds": round(fitted.seconds, 2),
        "predict_seconds": round(seconds, 5),
        "memory_mib": round(memory, 1),
        "parameters": fitted.parameters,
        "macs": fitted.macs,
        "boundary_iu": near.compute().mean_iu,
        "thin_iu": thin_iu(scores, thin) if thin else None,
        **describe(whole, sets.classes, "test", len(sets.test)),
    }


def kept_apart(entry: Entry, seed: int, sets: Sets, smoke: bool, path: Path) -> dict[str, Any]:
    """The run, made by a process of its own that finds the images in memory, and left in a file.

    So what it holds is no other method's, and what another freed does not hide what it takes.
    Raises ChildProcessError where that process ends without a run; it says why by itself.
    """

    def make() -> None:
        write_atomically(path, dumps(run(entry, seed, sets, smoke)).encode())

    child = multiprocessing.get_context("fork").Process(target=make)
    child.start()
    child.join()
    if child.exitcode:
        raise ChildProcessError(f"{entry.name}, seed {seed}: ended with {child.exitcode}, no run")
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return made


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


def kept(path: Path, entry: Entry, smoke: bool, images: int) -> bool:
    """Whether a file holds a run with the settings of today, scored on so many images."""
    if not path.is_file():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    today = json.loads(json.dumps(entry.chosen(smoke))), images
    return bool((found["settings"], found["images"]) == today)


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """A line a method: percent, seconds and MiB, the mean over its seeds; – for what none told."""
    head = f"{'method':16}{'seeds':>6}{'mean IU':>13}{'accuracy':>10}{'boundary':>10}{'thin':>7}"
    lines = [head + f"{'parameters':>12}{'fit s':>8}{'ms/image':>10}{'MiB':>7}"]
    for name in dict.fromkeys(run["method"] for run in runs):
        mine = [run for run in runs if run["method"] == name]

        def mean(key: str, mine: Sequence[Mapping[str, Any]] = mine) -> float:
            return over_seeds([run.get(key) for run in mine])[0] or 0.0

        _, spread = over_seeds([100 * run["mean_iu"] for run in mine])
        iu = f"{100 * mean('mean_iu'):.1f}" + ("" if spread is None else f" ± {spread:.1f}")
        memory = any("memory_mib" in run for run in mine)
        lines.append(
            f"{name:16}{len(mine):6}{iu:>13}{100 * mean('pixel_accuracy'):10.1f}"
            f"{100 * mean('boundary_iu'):10.1f}{100 * mean('thin_iu'):7.1f}"
            f"{mean('parameters'):12,.0f}{mean('fit_seconds'):8.1f}"
            f"{1000 * mean('predict_seconds'):10.1f}"
            + (f"{mean('memory_mib'):7.0f}" if memory else f"{'–':>7}")
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    bench = CAMVID if args.data else SCENES
    torch.set_num_threads(1)
    entries = [entry for entry in bench.entries if not args.only or entry.name in args.only]
    seeds = args.seeds or bench.seeds
    out = args.out or Path("runs") / bench.name
    out = out / "smoke" if args.smoke else out
    out.mkdir(parents=True, exist_ok=True)
    try:
        sets = bench.sets(args.smoke, args.data)
    except (FileNotFoundError, ValueError) as error:
        print(f"--data {args.data}: {error}", file=sys.stderr)
        return 1
    planned = plan(entries, seeds)
    paths = {(e.name, seed): out / f"{e.name}-seed{seed}.json" for e, seed in planned}
    n = len(sets.test)
    missing = [(e, s) for e, s in planned if not kept(paths[e.name, s], e, args.smoke, n)]
    print(f"{len(missing)} of {len(planned)} runs to make", flush=True)
    loaded()
    for entry, seed in (bar := tqdm(missing, unit="run", disable=None)):
        bar.set_postfix_str(f"{entry.name}, seed {seed}")
        found = kept_apart(entry, seed, sets, args.smoke, paths[entry.name, seed])
        tqdm.write(table([found]).splitlines()[-1])
        sys.stdout.flush()
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in paths.values()]
    runs.sort(key=lambda one: [e.name for e in bench.entries].index(one["method"]))
    print(table(runs))  # seeds in order
    complete = not args.only and tuple(seeds) == bench.seeds and not args.smoke
    if path := args.json or (RESULTS / f"{bench.name}-cpu.json" if complete else None):
        write_atomically(path, dumps(as_record(bench, runs, sets, args.smoke)).encode())
        print(f"wrote {path}")
    return 0


def as_record(bench: Bench, runs: Sequence[Any], sets: Sets, smoke: bool) -> dict[str, Any]:
    """All runs as plain values, by the schema above."""
    thin = thin_classes([truth for _, truth in sets.test], len(sets.classes))
    return {
        **head(SCHEMA, torch.device("cpu"), smoke),
        "data": bench.data.name,
        "budget_seconds": bench.budget,
        "size": list(np.asarray(sets.test[0][1]).shape),
        "train": len(sets.train),
        "test": len(sets.test),
        "thin": [sets.classes[c] for c in thin],
        "runs": list(runs),
    }


def _parser() -> argparse.ArgumentParser:
    summary, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=summary)
    parser.add_argument("--data", type=Path, metavar="DIR", help="CamVid's folder [scenes]")
    names = [entry.name for entry in SCENES.entries]
    parser.add_argument("--only", action="append", choices=names, help="repeatable")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="[those of the record]")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where runs are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    parser.add_argument("--smoke", action="store_true", help="tiny: shows that it runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
