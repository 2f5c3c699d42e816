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

import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from benchmarks import command
from benchmarks.cases import CASES
from benchmarks.rows import Check, Line, Row, Skipped, table
from benchmarks.timing import Settings

SCHEMA = 1
PEERS = ("scikit-learn", "torchmetrics", "segmentation-models-pytorch")


def main(arguments: Sequence[str] | None = None) -> int:
    args = command.parser("core", __doc__, CASES).parse_args(arguments)
    planned = command.plan(args, "core", CASES)
    if planned is None:
        return 1
    device, chosen, path = planned

    began = time.perf_counter()
    lines: list[Line] = []
    for number, name in enumerate(chosen, 1):
        say = command.Progress(f"[{number}/{len(chosen)}] {name}")
        found = CASES[name](Settings(device, args.smoke, say))
        if args.smoke:
            found = [replace(row, target=None) if isinstance(row, Row) else row for row in found]
        lines += found
        gc.collect()  # one case's networks are gone before the next one's are built
        seconds = round(time.perf_counter() - began, 1)
        record = as_record(lines, device, args.smoke, chosen[:number], seconds)
        command.keep(record, path)  # after each, so that what ends the next one loses it alone
    command.Progress.clear()
    print(table(lines))
    print(f"\n{record['device']}, {seconds:.0f} s; medians [quartiles]; ratio is theirs / ours")
    command.tell(path)
    return 0


def as_record(
    lines: list[Line], device: torch.device, smoke: bool, cases: list[str], seconds: float
) -> dict[str, Any]:
    """The run as plain values, by the schema above."""
    record = command.head(SCHEMA, device, smoke)
    record["versions"] |= {name: _version(name) for name in PEERS}
    return {
        **record,
        "cases": cases,
        "seconds": seconds,
        "rows": [line.as_json() for line in lines if isinstance(line, Row)],
        "checks": [line.as_json() for line in lines if isinstance(line, Check)],
        "skipped": [line.as_json() for line in lines if isinstance(line, Skipped)],
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
