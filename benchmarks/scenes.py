"""Scenes rendered a second, by one process and by two: `python -m benchmarks.scenes`.

    python -m benchmarks.scenes [--size H W] [--seconds S] [--rounds N]

One and two processes take turns, and the table shows medians with quartiles in brackets: images a
second, and images for each second of processor time that a process got, which is what a second
gives on a core of its own. A process renders whole items of `datasets.Scenes`, labels and void
included, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from benchmarks.rows import quartiles

PROCESSES = (1, 2)


class Rates(NamedTuple):
    """Images for each second of clock and of processor time."""

    clock: float
    processor: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scenes", description=__doc__)
    parser.add_argument("--size", nargs=2, type=int, default=(128, 128), metavar=("H", "W"))
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement [3]")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    size = (args.size[0], args.size[1])
    found: dict[int, list[Rates]] = {count: [] for count in PROCESSES}
    with ProcessPoolExecutor(max(PROCESSES), get_context("spawn")) as pool:
        _measure(pool, max(PROCESSES), size, 0.2)  # imports, noise tables
        for _ in range(args.rounds):
            for count in PROCESSES:
                found[count].append(_measure(pool, count, size, args.seconds))
    print(f"scenes of {size[0]}×{size[1]}, images for each second of clock and of processor time")
    for count, rates in found.items():
        cells = []
        for values in zip(*rates, strict=True):
            low, high = quartiles(values)
            cells.append(f"{statistics.median(values):8.0f}  [{low:.0f}, {high:.0f}]")
        noun = "process" if count == 1 else "processes"
        print(f"{count} {noun:10}" + "".join(cells))
    return 0


def _measure(
    pool: ProcessPoolExecutor, processes: int, size: tuple[int, int], seconds: float
) -> Rates:
    """The rates of so many processes together, each busy for `seconds`."""
    work = [pool.submit(render_for, seconds, size, seed) for seed in range(processes)]
    each = [future.result() for future in work]
    return Rates(sum(r.clock for r in each), sum(r.processor for r in each))


def render_for(seconds: float, size: tuple[int, int], seed: int) -> Rates:
    """The rates of this process, rendering one scene after the other."""
    import torch

    from fcn_tutorial.datasets import Scenes

    torch.set_num_threads(1)
    scenes = Scenes(n=1_000_000, size=size, seed=seed)
    done, began, used = 0, time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - began) < seconds or not done:
        scenes[done]
        done += 1
    return Rates(done / elapsed, done / max(1e-9, time.process_time() - used))


if __name__ == "__main__":
    sys.exit(main())
