"""Peak memory of one form of upsampling and loss, measured in a process of its own.

`python -m benchmarks.memory FORM --factor 32 --batch 8 --side 500 --threads 2` prints the MiB of
resident memory that one forward and backward pass adds to what the process held before it.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

import torch

from benchmarks.forms import FORMS, Work

_STATUS = Path("/proc/self/status")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("--factor", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--side", type=int, required=True)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    form = FORMS[args.form]
    device = torch.device("cpu")
    form(Work.make(args.factor, 1, 2 * args.factor, device))  # loads kernels and starts threads
    work = Work.make(args.factor, args.batch, args.side, device)
    _forget_peak()
    before = _resident("VmRSS")
    form(work)
    print(_resident("VmHWM") - before)


def _forget_peak() -> None:
    """Let the peak start from here, where Linux allows it; else it starts from the imports'."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _resident(field: str) -> float:
    """MiB of resident memory, now (VmRSS) or at most (VmHWM).

    Not `ru_maxrss` where Linux tells better: it starts from what the parent process held.
    """
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return int(lines[field].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB here


if __name__ == "__main__":
    main()
