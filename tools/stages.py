"""Run every stage of the check, go on after a failure, and print what each took.

The stages, their order, their processes and their time budgets are the table in CONTRIBUTING.md;
each stage is the make target of that name. A stage starts, in that order, when a core is free for
each of its processes, so two that have one process each run side by side.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.project import ROOT

CORES = 2
#: Seconds that all stages may take together.
WHOLE = 25 * 60


@dataclass(frozen=True)
class Stage:
    """One row of the table: a make target, its processes, and its seconds on two CPU cores."""

    name: str
    budget: int
    processes: int = CORES


@dataclass(frozen=True)
class Result:
    """What came of a stage, and the seconds it took."""

    stage: Stage
    passed: bool
    seconds: float


def clock(seconds: float) -> str:
    """Minutes and seconds, such as 2:05."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def read_stages(root: Path = ROOT) -> list[Stage]:
    """Rows ``| `name` | what | processes | m:ss |`` of the table in CONTRIBUTING.md, in order."""
    page = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d) \| (\d+):(\d\d) \|$", page, re.M)
    if not rows:
        raise SystemExit(
            "CONTRIBUTING.md has no table of stages: | `name` | what | processes | m:ss |"
        )
    return [Stage(name, 60 * int(m) + int(s), int(processes)) for name, processes, m, s in rows]


def run(stage: Stage, root: Path = ROOT) -> Result:
    """Run one stage; what one with a single process prints comes at its end, in one piece."""
    command = [os.environ.get("MAKE", "make"), "--no-print-directory", stage.name]
    title = f"\n=== {stage.name}: {' '.join(command)} (budget {clock(stage.budget)})"
    alone = stage.processes == CORES
    if alone:
        print(title, flush=True)
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "FRESH": "1"}, text=True,
        stdout=None if alone else subprocess.PIPE, stderr=None if alone else subprocess.STDOUT,
    )  # fmt: skip
    if not alone:
        print(f"{title}\n{done.stdout}", end="", flush=True)
    return Result(stage, done.returncode == 0, time.perf_counter() - started)


def run_all(stages: Sequence[Stage], root: Path = ROOT) -> list[Result]:
    """Run stages, each when its cores are free; what came of them, in the same order."""
    free = threading.Semaphore(CORES)

    def freeing(stage: Stage) -> Result:
        try:
            return run(stage, root)
        finally:
            free.release(stage.processes)

    with ThreadPoolExecutor(CORES) as pool:
        started = []
        for stage in stages:
            for _ in range(stage.processes):
                free.acquire()
            started.append(pool.submit(freeing, stage))
        return [each.result() for each in started]


def summary(results: Sequence[Result], seconds: float) -> str:
    """Table of stage, outcome, time and budget; its last row, the time of all of them."""
    lines = [f"{'stage':<10} {'':<7} {'took':>6} {'budget':>7}"]
    rows = [
        (each.stage.name, "ok" if each.passed else "FAILED", each.seconds, each.stage.budget)
        for each in results
    ]
    for name, outcome, took, budget in [*rows, ("all", "", seconds, WHOLE)]:
        late = "  over budget" if took > budget else ""
        lines.append(f"{name:<10} {outcome:<7} {clock(took):>6} {clock(budget):>7}{late}")
    return "\n".join(lines)


def main() -> int:
    """Run all stages, or those named on the command line."""
    started = time.perf_counter()
    wanted = [each for each in read_stages() if each.name in sys.argv[1:] or not sys.argv[1:]]
    results = run_all(wanted)
    print(f"\n{summary(results, time.perf_counter() - started)}")
    failed = [each.stage.name for each in results if not each.passed]
    if failed:
        print(f"failed: {', '.join(failed)} (run one again with `make {failed[0]}`)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
