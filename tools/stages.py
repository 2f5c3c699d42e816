"""Run every stage of the check, go on after a failure, and print what each took.

The stages, their order and their time budgets are the table in CONTRIBUTING.md; each stage is the
make target of that name.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools.project import ROOT


@dataclass(frozen=True)
class Stage:
    """One row of the table: a make target and the seconds it may take on two CPU cores."""

    name: str
    budget: int


def clock(seconds: float) -> str:
    """Minutes and seconds, such as 2:05."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def read_stages(root: Path = ROOT) -> list[Stage]:
    """Rows ``| `name` | what | m:ss |`` of the table in CONTRIBUTING.md, in their order."""
    page = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d+):(\d\d) \|$", page, re.M)
    if not rows:
        raise SystemExit("CONTRIBUTING.md has no table of stages: | `name` | what | m:ss |")
    return [Stage(name, 60 * int(minutes) + int(seconds)) for name, minutes, seconds in rows]


def run(stage: Stage, root: Path = ROOT) -> tuple[bool, float]:
    """Run one stage; returns whether it passed and the seconds it took."""
    command = [os.environ.get("MAKE", "make"), "--no-print-directory", stage.name]
    print(f"\n=== {stage.name}: {' '.join(command)} (budget {clock(stage.budget)})", flush=True)
    started = time.perf_counter()
    passed = subprocess.run(command, cwd=root, env={**os.environ, "FRESH": "1"}).returncode == 0
    return passed, time.perf_counter() - started


def summary(results: list[tuple[Stage, bool, float]]) -> str:
    """Table of stage, outcome, time and budget, with the total as its last row."""
    lines = [f"{'stage':<10} {'':<7} {'took':>6} {'budget':>7}"]
    for stage, passed, seconds in results:
        late = "  over budget" if seconds > stage.budget else ""
        outcome = "ok" if passed else "FAILED"
        lines.append(
            f"{stage.name:<10} {outcome:<7} {clock(seconds):>6} {clock(stage.budget):>7}{late}"
        )
    took = sum(seconds for *_, seconds in results)
    budget = sum(stage.budget for stage, *_ in results)
    lines.append(f"{'all':<10} {'':<7} {clock(took):>6} {clock(budget):>7}")
    return "\n".join(lines)


def main() -> int:
    """Run all stages, or those named on the command line."""
    results = []
    for stage in read_stages():
        if len(sys.argv) > 1 and stage.name not in sys.argv[1:]:
            continue
        passed, seconds = run(stage)
        results.append((stage, passed, seconds))
    print(f"\n{summary(results)}")
    failed = [stage.name for stage, passed, _ in results if not passed]
    if failed:
        print(f"failed: {', '.join(failed)} (run one again with `make {failed[0]}`)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
