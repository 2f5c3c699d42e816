"""Ours beside the published form and beside other libraries, measured in one run.

    python -m benchmarks.core [--only NAME]… [--json FILE] [--device cpu|cuda] [--smoke]
                              [--threads N]

Contestants take turns (A B A B …) after a warm-up; the table shows medians with quartiles in
brackets, the ratio theirs / ours, and the target where there is one. A smoke run has no targets,
its sizes being others. A complete run that is not a smoke run writes
`benchmarks/results/core-<device kind>.json`; others write where `--json` says. Exit status:
0 done, whatever was reached; 1 a clear error; 2 wrong usage.

The file:

    {"schema": 1, "created": …, "git": …, "versions": {…}, "device": …, "device_kind": "cpu",
     "threads": 2, "smoke": false, "cases": ["upsampling", …], "seconds": …,
     "rows": [{"case": …, "work": …, "unit": "s" | "s/image" | "MiB",
               "ours":   {"name": …, "median": …, "quartiles": [first, third], "rounds": …},
               "theirs": {… same keys …},
               "ratio": theirs / ours, "ratio_quartiles": [first, third] of the rounds' own ratios,
               "target": number or null, "reached": true, false or null}],
     "checks": [{"case", "work", "what", "ours", "theirs", "target", "reached"}],
     "skipped": [{"case", "work", "what", "why"}]}
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import CASES
from benchmarks.rows import Check, Line, Row, Skipped, table
from benchmarks.timing import ROOT, Settings
from fcn_tutorial.training.run import provenance, write_atomically

SCHEMA = 1
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ("scikit-learn", "torchmetrics", "segmentation-models-pytorch")


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("--device cuda: torch sees no CUDA device; use --device cpu", file=sys.stderr)
        return 1
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    chosen = [name for name in CASES if not args.only or name in args.only]
    path = args.json
    if path is None and len(chosen) == len(CASES) and not args.smoke:
        path = RESULTS / f"core-{device.type}.json"
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)

    began = time.perf_counter()
    lines: list[Line] = []
    for number, name in enumerate(chosen, 1):
        say = _Progress(f"[{number}/{len(chosen)}] {name}")
        lines += CASES[name](Settings(device, args.smoke, say))
        gc.collect()  # one case's networks are gone before the next one's are built
    seconds = round(time.perf_counter() - began, 1)
    if args.smoke:
        lines = [replace(line, target=None) if isinstance(line, Row) else line for line in lines]
    _Progress.clear()
    print(table(lines))
    record = as_record(lines, device, args.smoke, chosen, seconds)
    print(f"\n{record['device']}, {seconds:.0f} s; medians [quartiles]; ratio is theirs / ours")
    if path is not None:
        write_atomically(path, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
        print(f"wrote {path}")
    return 0


def as_record(
    lines: list[Line], device: torch.device, smoke: bool, cases: list[str], seconds: float
) -> dict[str, Any]:
    """The run as plain values, by the schema above."""
    record = provenance(device)
    record["versions"] |= {name: _version(name) for name in PEERS}
    return {
        "schema": SCHEMA,
        **record,
        "device_kind": device.type,
        "threads": torch.get_num_threads(),
        "smoke": smoke,
        "cases": cases,
        "seconds": seconds,
        "rows": [line.as_json() for line in lines if isinstance(line, Row)],
        "checks": [line.as_json() for line in lines if isinstance(line, Check)],
        "skipped": [line.as_json() for line in lines if isinstance(line, Skipped)],
    }


class _Progress:
    """One line on a terminal, overwritten by the next; silent where nobody watches."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __call__(self, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{self.prefix}: {text}"[:100], end="", file=sys.stderr, flush=True)

    @staticmethod
    def clear() -> None:
        """Leave the line to what is printed next."""
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _parser() -> argparse.ArgumentParser:
    summary, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.core", description=summary)
    parser.add_argument(
        "--only", action="append", choices=list(CASES), help="run this comparison; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny sizes: shows that it runs, times mean nothing"
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads of torch")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
