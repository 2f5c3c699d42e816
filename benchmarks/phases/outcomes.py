"""A plugin of pytest that writes a line of JSON a test, as soon as it has ended.

FCN_OUTCOMES names the file. Unlike pytest's own reports it survives a process that dies.
"""

from __future__ import annotations

import json
import os
from typing import Any


def pytest_runtest_logreport(report: Any) -> None:
    """A test's outcome; of setting up and tearing down only what went wrong."""
    if report.when == "call" or report.outcome != "passed":
        _write(report, report.duration)


def pytest_collectreport(report: Any) -> None:
    """A file that cannot be read."""
    if report.failed:
        _write(report, 0.0)


def _write(report: Any, seconds: float) -> None:
    why = "" if report.passed else report.longreprtext[-1500:]
    line = {
        "test": report.nodeid,
        "outcome": report.outcome,
        "seconds": round(seconds, 2),
        "why": why,
    }
    with open(os.environ["FCN_OUTCOMES"], "a", encoding="utf-8") as file:
        print(json.dumps(line), file=file)
