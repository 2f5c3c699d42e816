"""How the cost of a training step grows with pixels, images, classes and processes.

    python -m benchmarks.training [--only SWEEP]… [--json FILE] [--device cpu|cuda] [--smoke]
                                  [--threads N]

The network is FCN-8s on MobileNetV2 with random weights; a step is forward, loss, backward, update,
in float32. The sizes of a sweep take turns (A B C A B C …) after a warm-up, so that whatever else
the machine does slows all alike; a line is fitted through the medians. Processes are started by
torch's own launcher, with one thread each on a CPU. A complete run that is not a smoke run writes
`benchmarks/results/training-<device kind>.json`; others write where `--json` says. Exit status as
`benchmarks.core`. The book's page on the cost of training reads it.

The file:

    {"schema": 1, "created": …, "git": …, "versions": {…}, "device": …, "device_kind": "cpu",
     "threads": 2, "smoke": false, "seconds": …,
     "network": {"backbone": "mobilenet_v2", "stride": 8, "parameters": …},
     "sweeps": {"pixels": {"axis": "pixels in an image", "fixed": {"batch": 4, "classes": 21},
                           "points": [{"x": 9216, "median": …, "quartiles": [a, b], "rounds": …}],
                           "line": {"intercept": s, "slope": s a unit of x, "misfit": …}},
                "images": …, "classes": …, "dense classes": …,
                "processes": {"axis": …, "fixed": …,
                              "points": [{"x": 2, "exchanged": {…}, "alone": {…}, "sum": {…}}, …]}}}

"misfit" is the largest distance of a median from the line, as a share of that median.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import command
from benchmarks.rows import Measured
from benchmarks.steps import OurStep, PlainStep, make_batch, randomise
from benchmarks.timing import ROOT, Settings, alternate
from fcn_tutorial.models import FCN
from tests.published import bilinear_weight

SCHEMA = 1
CLASSES = 21
BACKBONE, STRIDE = "mobilenet_v2", 8


def network(classes: int, device: torch.device) -> FCN:
    """The network of every sweep, with random weights and live norms, channels last."""
    model = FCN(BACKBONE, classes, STRIDE)
    randomise(model)
    return model.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload,no-any-return]


def pixels(settings: Settings) -> dict[str, Any]:
    """Images of growing size, a batch of four."""
    sides = (32, 64) if settings.smoke else (64, 96, 128, 192, 256, 320)
    batch = 4
    work = {side**2: _step(batch, side, CLASSES, settings) for side in sides}
    return _swept("pixels in an image", {"batch": batch, "classes": CLASSES}, work, settings)


def images(settings: Settings) -> dict[str, Any]:
    """Batches of growing size, 128×128 pixels."""
    batches, side = ((1, 2), 64) if settings.smoke else ((1, 2, 4, 8, 16), 128)
    work = {batch: _step(batch, side, CLASSES, settings) for batch in batches}
    return _swept("images in a batch", {"side": side, "classes": CLASSES}, work, settings)


def classes(settings: Settings, dense: bool = False) -> dict[str, Any]:
    """More and more classes; the loss as the package computes it.

    dense: the published upsampling, a C × C deconvolution, and a plain cross-entropy.
    """
    counts, side = ((2, 5), 64) if settings.smoke else ((2, 21, 60, 120, 240), 128)
    batch = 4
    work = {count: _step(batch, side, count, settings, dense) for count in counts}
    return _swept("classes", {"batch": batch, "side": side}, work, settings)


def processes(settings: Settings) -> dict[str, Any]:
    """One process, then two and more: as many as there are devices, two on a CPU."""
    cuda = settings.device.type == "cuda"
    most = torch.cuda.device_count() if cuda else 2
    counts = [2] if settings.smoke else [count for count in (1, 2, 4, 8) if count <= most]
    batch, side, rounds = (1, 64, 2) if settings.smoke else (4, 128, 10)
    found: dict[int, dict[str, list[float]]] = {count: {} for count in counts}
    for turn in range(1 if settings.smoke else 3):
        for count in counts:
            settings.say(f"turn {turn + 1}: {count} processes")
            for name, values in _launched(count, settings.device, batch, side, rounds).items():
                found[count].setdefault(name, []).extend(values)
    points = [
        {"x": count, **{name: _spread(values) for name, values in by_name.items()}}
        for count, by_name in found.items()
    ]
    fixed = {"batch in each": batch, "side": side, "classes": CLASSES}
    return {"axis": "processes", "fixed": fixed, "points": points}


SWEEPS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "pixels": pixels,
    "images": images,
    "classes": classes,
    "dense classes": partial(classes, dense=True),
    "processes": processes,
}


def _step(
    batch: int, side: int, count: int, settings: Settings, dense: bool = False
) -> Callable[[], object]:
    """A training step on random data, its network built at the first call and kept."""
    kept: list[Callable[[], object]] = []

    def run() -> object:
        if not kept:
            model = network(count, settings.device)
            optimiser = torch.optim.SGD(model.parameters(), lr=1e-6)
            pictures, target = make_batch(batch, (side, side), count, settings.device)
            pictures = pictures.contiguous(memory_format=torch.channels_last)
            step = (
                PlainStep(_dense(model, count), optimiser) if dense else OurStep(model, optimiser)
            )
            kept.append(partial(step, pictures, target))
        return kept[0]()

    return run


def _dense(model: FCN, count: int) -> Callable[[Tensor], Tensor]:
    """The network up to full resolution through a C × C deconvolution with bilinear weights."""
    kernel = bilinear_weight(count, 2 * STRIDE).float().to(next(model.parameters()).device)

    def forward(pictures: Tensor) -> Tensor:
        height, width = pictures.shape[2:]
        fine = F.conv_transpose2d(model.fused_scores(pictures), kernel, stride=STRIDE)
        start = STRIDE // 2
        return fine[..., start : start + height, start : start + width]

    return forward


def _swept(
    axis: str, fixed: dict[str, int], work: Mapping[int, Callable[[], object]], settings: Settings
) -> dict[str, Any]:
    measured = alternate({f"{axis}: {x}": run for x, run in work.items()}, settings)
    points = [{"x": x, **_spread(m.values)} for x, m in zip(work, measured.values(), strict=True)]
    line = fitted([(float(p["x"]), float(p["median"])) for p in points])
    return {"axis": axis, "fixed": fixed, "points": points, "line": line}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    found = Measured("", "s", tuple(values)).as_json()
    del found["name"]
    return found


def fitted(points: Sequence[tuple[float, float]]) -> dict[str, float]:
    """The line through (x, seconds) with the least sum of squared *relative* errors.

    Relative, since a machine's noise is: with absolute errors the largest size alone would decide.
    """
    x, y = np.array(points, np.float64).T
    design = np.stack([1 / y, x / y], 1)
    (intercept, slope), *_ = np.linalg.lstsq(design, np.ones_like(y), rcond=None)
    misfit = np.abs((intercept + slope * x) / y - 1).max()
    return {"intercept": float(intercept), "slope": float(slope), "misfit": float(misfit)}


def _launched(
    count: int, device: torch.device, batch: int, side: int, rounds: int
) -> dict[str, list[float]]:
    """What `benchmarks.ranks` measures in `count` processes."""
    line = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        f"--nproc-per-node={count}", "-m", "benchmarks.ranks", "--device", device.type,
        "--batch", str(batch), "--side", str(side), "--rounds", str(rounds),
    ]  # fmt: skip
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(line[1:])} failed:\n{done.stderr.strip()}")
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    args = command.parser("training", __doc__, SWEEPS).parse_args(arguments)
    planned = command.plan(args, "training", SWEEPS)
    if planned is None:
        return 1
    device, chosen, path = planned

    began = time.perf_counter()
    sweeps = {}
    for name in chosen:
        settings = Settings(device, args.smoke, command.Progress(name), seconds=25.0)
        sweeps[name] = SWEEPS[name](settings)
        command.Progress.clear()
        print("\n".join(shown(name, sweeps[name])), flush=True)
        record = as_record(sweeps, device, args.smoke, time.perf_counter() - began)
        command.keep(record, path)  # after each, so that what ends the next one loses it alone
    print(f"{record['device']}, {record['seconds']:.0f} s; medians [quartiles]")
    command.tell(path)
    return 0


def as_record(
    sweeps: Mapping[str, Any], device: torch.device, smoke: bool, seconds: float
) -> dict[str, Any]:
    """The run as plain values, by the schema above."""
    model = network(CLASSES, torch.device("cpu"))
    return {
        **command.head(SCHEMA, device, smoke),
        "seconds": round(seconds, 1),
        "network": {
            "backbone": BACKBONE,
            "stride": STRIDE,
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "sweeps": dict(sweeps),
    }


def shown(name: str, sweep: Mapping[str, Any]) -> list[str]:
    """A sweep as lines of text."""
    fixed = ", ".join(f"{what} {value}" for what, value in sweep["fixed"].items())
    lines = [f"{name} ({fixed})"]
    for point in sweep["points"]:
        parts = {"": point} if "median" in point else {k: v for k, v in point.items() if k != "x"}
        text = "   ".join(
            f"{part} {1e3 * p['median']:.1f} ms [{1e3 * p['quartiles'][0]:.1f}, "
            f"{1e3 * p['quartiles'][1]:.1f}]".strip()
            for part, p in parts.items()
        )
        lines.append(f"  {point['x']:>8}  {text}")
    if "line" in sweep:
        line = sweep["line"]
        lines.append(
            f"  line: {1e3 * line['intercept']:.2f} ms + {1e3 * line['slope']:.4g} ms a unit, "
            f"off by at most {line['misfit']:.0%}"
        )
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main())
