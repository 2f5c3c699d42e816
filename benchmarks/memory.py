"""Peak memory of one form of upsampling and loss, measured in a process of its own.

`python -m benchmarks.memory FORM --factor 32 --batch 8 --side 500 --threads 2` prints the MiB of
resident memory that one forward and backward pass adds to what the process held before it.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.forms import FORMS, Work
from benchmarks.resident import forget_peak, resident


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
    forget_peak()
    before = resident("VmRSS")
    form(work)
    print(resident("VmHWM") - before)


if __name__ == "__main__":
    main()
