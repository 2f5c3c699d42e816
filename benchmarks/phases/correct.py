"""Whether a GPU computes what a CPU does: the tests that carry the marker `cuda`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from benchmarks.phases.bundle import ROOT, Bundle, Cut, Work
from fcn_tutorial.training.run import provenance

#: What a file with such tests contains (see tests/devices.py).
SIGN = "tests.devices"
SMOKE = ROOT / "tests" / "cuda" / "test_values.py"
TOGETHER = 4  # files at a time: each starts torch, and most wait for a compiler


def files() -> list[Path]:
    """The files that have tests for a device, by name."""
    found = sorted((ROOT / "tests").rglob("test_*.py"))
    return [path for path in found if SIGN in path.read_text(encoding="utf-8")]


def run(work: Work, keep: Bundle) -> None:
    """A process for each file: an error on the device spoils all that follows in its process.

    A smoke run takes the CPU's side of one file. Raises Cut, or RuntimeError naming tests that
    failed.
    """
    record: dict[str, Any] = {
        "schema": 1, **provenance(torch.device(work.device)), "smoke": work.smoke, "tests": []
    }  # fmt: skip
    cut: list[str] = []
    with ThreadPoolExecutor(TOGETHER) as pool:
        asked = [pool.submit(outcomes, path, work) for path in [SMOKE] * work.smoke or files()]
        for done in as_completed(asked):
            tests, unfinished = done.result()
            record["tests"] = sorted(record["tests"] + tests, key=lambda test: test["test"])
            cut += unfinished
            keep.add(f"benchmarks/results/correct-{work.device}.json", record)
    count = Counter(test["outcome"] for test in record["tests"])
    said = ", ".join(f"{number} {outcome}" for outcome, number in sorted(count.items()))
    keep.add(f"benchmarks/results/correct-{work.device}.json", record, said or "no test ran")
    wrong = [test["test"] for test in record["tests"] if test["outcome"] == "failed"]
    if wrong or not count["passed"]:
        raise RuntimeError(f"{said or 'no test ran'}: {', '.join(wrong)}")
    if cut:
        raise Cut(f"no time left in {', '.join(cut)}")


def outcomes(path: Path, work: Work) -> tuple[list[dict[str, Any]], list[str]]:
    """What became of each test of a file, and the file's name if it was not finished."""
    name = path.relative_to(ROOT).as_posix()
    chosen = ["-k", "cpu and upsampling"] if work.smoke else ["-m", "cuda"]
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "outcomes"
        report.touch()
        try:
            code = subprocess.run(
                [*line, "-p", "benchmarks.phases.outcomes", name, *chosen],
                cwd=ROOT, env={**os.environ, "FCN_OUTCOMES": str(report)}, timeout=work.left(),
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            code = None
        found = [json.loads(text) for text in report.read_text(encoding="utf-8").splitlines()]
    if code is not None and (code < 0 or code in (2, 3, 4)) and not _failed(found):
        found.append(
            {"test": name, "outcome": "failed", "seconds": 0, "why": f"pytest ended with {code}"}
        )
    return found, [name] if code is None else []


def _failed(tests: list[dict[str, Any]]) -> bool:
    return any(test["outcome"] == "failed" for test in tests)
