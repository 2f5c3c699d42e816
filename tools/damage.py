"""Read damaged files by the thousand and count what comes of it: `make damage`.

The files and their readers are in tests/datasets/damage.py. A damaged file may be read, where the
damage left it a file, or refused with the documented error. Everything else is a fault: another
exception, an error that names no file, a process that ends or hangs, two seconds more than a sound
file takes (thrice) or a gigabyte, a file outside the folder, a failure that the next try, on a
sound file, suffers from.
Cases run in child processes; a case is repeated with --first N --count 1.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.project import ROOT

CHILD = "tests.datasets.damage"
SOUND = ("read", "refused")
FAULTS = ("raised", "unnamed", "outside", "memory", "slow", "spoilt", "hang", "crash")
_ALARMS = (-14, -27)  # the status of a process that a timer of its case has ended


def cases(count: int, seed: int = 0, kinds: Sequence[str] = (), first: int = 0) -> Iterator[Any]:
    """The outcome of each case from `first` on: a dict with index, kind, file, outcome, …."""
    done = first
    with tempfile.TemporaryDirectory() as sandbox:
        while done < first + count:
            numbers = (seed, done, first + count - done)
            command = [sys.executable, "-m", CHILD, sandbox, *map(str, numbers)]
            running: dict[str, Any] | None = None
            with subprocess.Popen(
                [*command, *kinds], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as child:
                assert child.stdout is not None and child.stderr is not None, "they are pipes"
                for line in child.stdout:
                    found = json.loads(line)
                    running = found
                    if found["outcome"] != "started":
                        yield found
                        running, done = None, found["index"] + 1
                complaint = child.stderr.read().decode(errors="replace")
            if running is None and child.returncode:
                raise SystemExit(f"the child process failed:\n{complaint[-3000:]}")
            if running is not None:
                ended = "hang" if child.returncode in _ALARMS else "crash"
                said = f"status {child.returncode}: {complaint[-1000:]}"
                yield running | {"outcome": ended, "said": said, "seconds": 0, "megabytes": 0}
                done = running["index"] + 1


def table(found: Sequence[dict[str, Any]]) -> str:
    """A row for each kind: how many were read, refused or at fault, and the dearest case."""
    kinds = list(dict.fromkeys(case["kind"] for case in found))
    bad = [name for name in FAULTS if any(case["outcome"] == name for case in found)]
    head = ["kind", "cases", *SOUND, *bad, "most MB", "most s"]
    rows = [head]
    for kind in [*kinds, "all"]:
        own = [case for case in found if kind in (case["kind"], "all")]
        counts = [sum(case["outcome"] == name for case in own) for name in (*SOUND, *bad)]
        most = [max(case[key] for case in own) for key in ("megabytes", "seconds")]
        cells = [len(own), *counts, most[0], f"{most[1]:.2f}"]
        rows.append([kind, *(f"{c:,}" if isinstance(c, int) else c for c in cells)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table and every fault; 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--kind", action="append", default=[], help="one kind only; repeatable")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every outcome here too")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    began = time.perf_counter()
    found = []
    for case in cases(options.count, options.seed, options.kind, options.first):
        found.append(case)
        if case["outcome"] not in SOUND:
            last = case["said"].strip().splitlines()[-1:] or [""]
            where = f"{case['kind']}, {case.get('file', '?')}, {case.get('damage', '?')}"
            print(f"case {case['index']} ({where}): {case['outcome']}: {last[0][:300]}", flush=True)
    if options.json:
        options.json.write_text("\n".join(map(json.dumps, found)) + "\n")
    faults = sum(case["outcome"] not in SOUND for case in found)
    print(table(found))
    seconds = time.perf_counter() - began
    print(f"{len(found):,} cases of seed {options.seed} in {seconds:.0f} s, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
