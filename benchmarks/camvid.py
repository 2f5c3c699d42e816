"""CamVid from the raw folder to the table: every run that the comparison asks for, then the scores.

    python -m benchmarks.camvid --data CamVid/ --weights mobilenet_v2.safetensors
                                [--full --squeezenet squeezenet1_1.safetensors] [--seeds 0 1 2]
                                [--device cpu|cuda] [--out runs/camvid] [--smoke]

The plain comparison has the three stages, the control that trains 32s as long as all three
together, 8s at once, and 8s that sees its images enlarged, on MobileNetV2. `--full` adds stages,
control and 8s at once on SqueezeNet, 8s from scratch, 8s with learned deconvolutions, and, where
VGG16's weights are given by `--vgg16`, 8s in the published and in the present layout of the
borders.

Each run has a folder of its own under `--out`. One that is finished is taken as it is and one that
was interrupted goes on, so the command can be stopped and given again; smoke runs lie apart, in
`smoke`. Exit status: 0 done; 1 a run failed, whose message stands above.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_tutorial import training
from fcn_tutorial.metrics import over_seeds, shown
from fcn_tutorial.training.records.record import scored
from fcn_tutorial.training.run import RunFolder

STAGES = ("camvid-fcn32s", "camvid-fcn16s", "camvid-fcn8s-staged")


@dataclass(frozen=True)
class Run:
    """One line of the table, trained once a seed.

    group: folder of its runs. trunk: key of the weights it starts from; "" for none.
    """

    label: str
    recipe: str
    group: str
    trunk: str = "mobilenet_v2"
    settings: tuple[str, ...] = ()
    staged: bool = False

    @property
    def epochs(self) -> int:
        """Passes over the training images."""
        return training.override(training.get(self.recipe), self.settings)[0].epochs

    def folder(self, out: Path, seed: int) -> Path:
        """Where the run of a seed lies."""
        return out / self.group / f"{self.recipe}-seed{seed}"


def plan(full: bool, trunks: Sequence[str]) -> list[Run]:
    """The runs, in the order of the table; those of a trunk without weights are left out."""
    runs = [
        *_compared("MobileNetV2", "mobilenet_v2"),
        Run("8s at once, images enlarged, MobileNetV2", "camvid-fcn8s-magnified", "mobilenet_v2"),
    ]
    if full:
        runs += [
            Run(
                "8s from scratch, MobileNetV2", "camvid-fcn8s", "scratch", "",
                ("model.weights=", "model.norms=batch", "frozen_stride=0"),
            ),
            Run(
                "8s, learned deconvolution, MobileNetV2", "camvid-fcn8s", "learned",
                settings=("model.deconvolution=learned",),
            ),
            *_compared("SqueezeNet", "squeezenet", "model.backbone=squeezenet1_1"),
            *(
                Run(
                    f"8s, borders as {name}, VGG16", "camvid-fcn8s", f"vgg16-{name}", "vgg16",
                    ("model.backbone=vgg16", f"model.alignment={name}"),
                )
                for name in ("caffe", "same")
            ),
        ]  # fmt: skip
    return [run for run in runs if not run.trunk or run.trunk in trunks]


def _compared(name: str, trunk: str, *settings: str) -> Iterator[Run]:
    """Stages, control and at once on one trunk."""
    for stage, label in zip(STAGES, ("32s", "16s after 32s", "8s after 16s"), strict=True):
        # The stages before it are finished by then, and taken as they are.
        yield Run(f"{label}, {name}", stage, trunk, trunk, settings, staged=True)
    yield Run(f"32s for the epochs of all three, {name}", "camvid-fcn32s-long", trunk, trunk,
              settings)  # fmt: skip
    yield Run(f"8s at once, {name}", "camvid-fcn8s", trunk, trunk, settings)


def command(run: Run, seed: int, args: argparse.Namespace) -> list[str]:
    """The `fcn-tutorial train` that makes a run."""
    folder = run.folder(args.out, seed)
    line = [sys.executable, "-m", "fcn_tutorial", "train", run.recipe, "--data", str(args.data)]
    if run.trunk:
        line += ["--weights", str(getattr(args, run.trunk))]
    for setting in run.settings:
        line += ["--set", setting]
    line += ["--seed", str(seed), "--out", str(folder)]
    if args.device:
        line += ["--device", args.device]
    if args.smoke:
        line += ["--smoke"]
    if run.staged:
        line += ["--staged"]
    if RunFolder(folder).begun:
        line += ["--resume"]
    return line


def table(runs: Sequence[Run], out: Path, seeds: Sequence[int], split: str = "test") -> str:
    """A Markdown table: percent, the mean over the seeds and their standard deviation."""
    columns = shown("readme")
    head = " | ".join(["CamVid", "seeds", *(m.title for m in columns)])
    lines = [f"| {head} |", "|---" * (2 + len(columns)) + "|"]
    for run in runs:
        records = [_record(run.folder(out, seed)) for seed in seeds]
        found = [scored(record[split]) for record in records if record]
        cells = [m.text(*over_seeds([s.get(m.key) for s in found])) for m in columns]
        lines.append(f"| {run.label} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _record(folder: Path) -> Mapping[str, Any]:
    path = RunFolder(folder).record
    if not path.is_file():
        return {}
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    trunks = [name for name in ("mobilenet_v2", "squeezenet", "vgg16") if getattr(args, name)]
    args.out = place(args)
    runs = plan(args.full, trunks)
    status = finish([(run, seed) for seed in args.seeds for run in runs], args)
    if status == 0:
        print(f"\n{table(runs, args.out, args.seeds)}")
    return status


def place(args: argparse.Namespace) -> Path:
    """Where the runs go: those of a smoke run apart, so that none is taken for a whole one."""
    out: Path = args.out / "smoke" if args.smoke else args.out
    return out


def finish(every: Sequence[tuple[Run, int]], args: argparse.Namespace) -> int:
    """Make the runs, each with its seed, that are not finished; the status of the first to fail."""
    todo = [(run, seed) for run, seed in every if not _record(run.folder(args.out, seed))]
    total = sum(run.epochs for run, _ in todo)
    print(f"{len(todo)} of {len(every)} runs to make, {total} epochs", flush=True)
    for number, (run, seed) in enumerate(todo, 1):
        print(f"\n[{number}/{len(todo)}] {run.label}, seed {seed}", flush=True)
        done = subprocess.run(command(run, seed, args))
        if done.returncode:
            return done.returncode
    return 0


def add_common(parser: argparse.ArgumentParser, out: Path) -> None:
    """Arguments of every command that trains on CamVid from MobileNetV2; `out`: where by itself."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the raw folder")
    parser.add_argument(
        "--weights", dest="mobilenet_v2", type=Path, required=True, metavar="FILE",
        help="MobileNetV2 trained on ImageNet",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N")
    parser.add_argument("--device", metavar="D", help="cpu, cuda [cuda where there is one]")
    parser.add_argument("--out", type=Path, default=out, metavar="DIR")
    parser.add_argument("--smoke", action="store_true", help="the same path in seconds, tiny")


def _parser() -> argparse.ArgumentParser:
    summary, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.camvid", description=summary)
    add_common(parser, Path("runs") / "camvid")
    parser.add_argument("--squeezenet", type=Path, metavar="FILE", help="SqueezeNet 1.1, likewise")
    parser.add_argument("--vgg16", type=Path, metavar="FILE", help="VGG16, likewise")
    parser.add_argument("--full", action="store_true", help="the long comparison, for a GPU")
    return parser


if __name__ == "__main__":
    sys.exit(main())
