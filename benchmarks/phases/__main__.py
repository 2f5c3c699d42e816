"""One phase of `benchmarks.gpu`, in a process of its own: a crash or a hang loses only this one.

    python -m benchmarks.phases NAME --out DIR --device cpu|cuda --until T --carried DIR [--smoke]

T is a time of `time.monotonic`, which all processes share. Writes DIR/NAME.json (see
`benchmarks.phases.bundle`). Exit status: 0 done, 3 skipped, 4 cut short,
each with the reason as the last line; anything else: failed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.phases.bundle import CUT, SKIPPED, Bundle, Cut, Skipped, Work

#: (module, function) by name; a module is loaded by the phase that needs it.
PHASES = {
    "correct": ("correct", "run"),
    "speed": ("speed", "run"),
    "camvid": ("camvid", "run"),
    "vgg16": ("camvid", "run_vgg16"),
    "after": ("camvid", "run_after"),
    "scenes": ("scenes", "run"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phases", description=__doc__)
    parser.add_argument("name", choices=PHASES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--carried", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args(arguments)
    work = Work(args.device, args.smoke, args.carried, args.until)
    module, function = PHASES[args.name]
    run = getattr(importlib.import_module(f"benchmarks.phases.{module}"), function)
    try:
        run(work, Bundle(args.out / f"{args.name}.json", work))
    except (Skipped, Cut) as reason:
        print(reason, flush=True)
        return SKIPPED if isinstance(reason, Skipped) else CUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
