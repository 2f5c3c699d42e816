"""Contestants timed in turn, so that whatever else the machine does slows all of them alike."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.rows import Measured, Row, Unit

ROOT = Path(__file__).resolve().parents[1]
Result = TypeVar("Result")
Contestants = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Settings:
    """Where a case runs, how large, and how long.

    smoke: every case at a tiny size, two rounds: shows that the code runs, times mean nothing.
    say: called with a line of progress.
    seconds, at_least, at_most: rounds go on for `seconds`, within these two numbers of rounds.
    """

    device: torch.device
    smoke: bool = False
    say: Callable[[str], None] = field(default=lambda text: None)
    seconds: float = 8.0
    at_least: int = 3
    at_most: int = 40

    @property
    def accelerated(self) -> bool:
        """Whether ours runs in the form meant for a GPU: bfloat16, channels_last, compiled."""
        return self.device.type == "cuda"


def alternate(
    contestants: Contestants,
    settings: Settings,
    unit: Unit = "s",
    images: Mapping[str, int] | None = None,
) -> dict[str, Measured]:
    """Run the contestants in turn, A B A B …, after a round that is not counted.

    images: how many images one call of each handles, for the unit "s/image". A CUDA device is
    waited for before the clock starts and before it stops.
    """
    device, per_call = settings.device, images or {}
    for name, run in contestants.items():
        settings.say(f"warming up: {name}")
        for _ in range(
            3 if settings.accelerated else 1
        ):  # the first ones compile, the next allocate
            run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    limit, least, most = settings.seconds, settings.at_least, settings.at_most
    if settings.smoke:
        limit, least, most = 0.0, 2, 2
    began, done = time.perf_counter(), 0
    while done < least or (done < most and time.perf_counter() - began < limit):
        done += 1
        for name, run in contestants.items():
            settings.say(f"round {done}: {name}")
            wait(device)
            start = time.perf_counter()
            run()
            wait(device)
            seconds[name].append((time.perf_counter() - start) / per_call.get(name, 1))
    return {name: Measured(name, unit, tuple(values)) for name, values in seconds.items()}


def against(
    case: str, work: str, measured: Mapping[str, Measured], targets: Mapping[str, float]
) -> list[Row]:
    """The first contestant is ours; a row for each of the others, with its target if it has one."""
    ours, *others = measured.values()
    return [Row(case, work, ours, theirs, targets.get(theirs.name)) for theirs in others]


def wait(device: torch.device) -> None:
    """Until the device has done what it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def with_tf32(allowed: bool, run: Callable[[], Result]) -> Callable[[], Result]:
    """`run` with TF32 convolutions and products switched on or off, and put back afterwards."""

    def switched() -> Result:
        before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
        try:
            return run()
        finally:
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before

    return switched


def peak_on_device(name: str, run: Callable[[], object], device: torch.device) -> Measured:
    """MiB that CUDA's allocator holds at most during a second call, inputs and weights included."""
    run()
    wait(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    wait(device)
    return Measured(name, "MiB", (torch.cuda.max_memory_allocated(device) / 2**20,))


def peak_in_child(name: str, module: str, arguments: Sequence[str]) -> Measured:
    """MiB reported by `python -m module arguments…`, a process of its own, as its last line."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr.strip()}")
    return Measured(name, "MiB", (float(json.loads(done.stdout.splitlines()[-1])),))
