"""Resident memory of this process: now, and the most there was since a moment one chooses."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Literal

_STATUS = Path("/proc/self/status")


def forget_peak() -> None:
    """Let the peak start from here, where Linux allows it; else it starts with the process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def resident(field: Literal["VmRSS", "VmHWM"]) -> float:
    """MiB of resident memory, now (VmRSS) or at most (VmHWM).

    Not `ru_maxrss` where Linux tells better: it starts from what the parent process held.
    """
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(lines[field].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB here
