"""How near a training step of FCN-8s VGG16 comes to what the device can do, and where it stays.

    python -m benchmarks.ceiling [--only PART]… [--json FILE] [--device cpu|cuda] [--smoke]
                                 [--threads N]

Parts: the rate of plain matrix products, which no network exceeds; our step at growing batches, not
compiled, whose quickest batch the next parts take; that step compiled, beside the published form
in float32 at batch 1; and a profile of it. Images are 375 × 500, 21 classes; ours is channels_last,
in the number format of `precision="auto"`. A step counts three forward passes, and two operations
for each multiply-accumulate of the network; upsampling, loss and update count nothing. A complete
run that is not a smoke run writes `benchmarks/results/ceiling-<device kind>.json`; others write
where `--json` says. Exit status as `benchmarks.core`.

The file, after `created`, `git`, `versions`, `device`, `device_kind`, `smoke`:

    "products": {"side": n, "tflops": {"float32": …, "TF32": …, "bfloat16": …}},
    "batches": [{"batch": 1, "images_per_second": …, "peak_mb": …}, …],
    "step": {"precision": …, "compiled": true, "batch": …, "images_per_second": …, "tflops": …,
             "share": of the products' rate in that format, "peak_mb": …,
             "published": {"float32": images a second at batch 1, "TF32": …},
             "ratio": ours over published float32},
    "profile": [{"name": …, "ms_a_step": …, "share": …, "calls_a_step": …}, …]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import command
from benchmarks.cases.published import CLASSES, our_step, published_step_of
from benchmarks.steps import OurStep, make_batch, randomise
from benchmarks.timing import Settings, alternate, peak_on_device, wait, with_tf32
from fcn_tutorial.models import FCN
from fcn_tutorial.surgery import macs
from fcn_tutorial.training import optimisation
from tests.published import Published

SCHEMA = 1
BATCHES = (1, 2, 4, 8, 16, 32, 64)
STEPS = 3  # that are profiled
ROWS = 20  # of the profile

Found = dict[str, Any]


def size(settings: Settings) -> tuple[int, int]:
    """Rows and columns of an image."""
    return (64, 96) if settings.smoke else (375, 500)


def ours(settings: Settings, compiled: bool) -> OurStep:
    """Our training step on FCN-8s VGG16 with random weights."""
    model = FCN("vgg16", CLASSES, 8, width=1 / 16 if settings.smoke else 1.0)
    randomise(model)
    model = model.to(settings.device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    precision = optimisation.choose_precision("auto", settings.device)
    return our_step(model, size(settings), precision, "inductor" if compiled else None)


def called(step: OurStep, batch: int, settings: Settings) -> Callable[[], object]:
    """The step on a batch of random images."""
    images, target = make_batch(batch, size(settings), CLASSES, settings.device)
    return partial(step, images.contiguous(memory_format=torch.channels_last), target)


def products(settings: Settings, found: Found) -> Found:
    """TFLOP/s of square products of random numbers, the best of ours: no network exceeds them."""
    side = 128 if settings.smoke else 8192 if settings.accelerated else 1024
    rates = {}
    for name, dtype, tf32 in (
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        a, b = (torch.randn(side, side, device=settings.device, dtype=dtype) for _ in range(2))
        measured = alternate({name: with_tf32(tf32, partial(torch.mm, a, b))}, settings)[name]
        rates[name] = 2 * side**3 / measured.median / 1e12
    return {"side": side, "tflops": rates}


def batches(settings: Settings, found: Found) -> list[Found]:
    """Images a second and peak memory at growing batches, until memory ends."""
    step = ours(settings, compiled=False)
    rows: list[Found] = []
    for batch in BATCHES[:2] if settings.smoke else BATCHES:
        try:
            run = called(step, batch, settings)
            measured = alternate({"": run}, settings, "s/image", {"": batch})[""]
        except torch.OutOfMemoryError:
            break
        rate = 1 / measured.median
        rows.append({"batch": batch, "images_per_second": rate, "peak_mb": peak_mb(run, settings)})
    return rows


def peak_mb(run: Callable[[], object], settings: Settings) -> float | None:
    """MiB of the device's allocator at most during a call; None on a CPU."""
    if not settings.accelerated:
        return None
    return peak_on_device("", run, settings.device).median


def best_batch(found: Found) -> int:
    """The batch of most images a second; 1 where the sweep was left out."""
    rows = found.get("batches") or [{"batch": 1, "images_per_second": 0.0}]
    return int(max(rows, key=lambda row: row["images_per_second"])["batch"])


def step(settings: Settings, found: Found) -> Found:
    """Ours, compiled on CUDA, at the best batch, beside the published form."""
    mine = ours(settings, compiled=settings.accelerated)
    published = published_step_of(
        Published("voc-fcn8s", CLASSES, 1 / 16 if settings.smoke else 1.0)
        .randomise(0).to(settings.device).train()
    )  # fmt: skip
    batch = best_batch(found)
    run = called(mine, batch, settings)
    theirs = partial(published, *make_batch(1, size(settings), CLASSES, settings.device))
    contestants = {
        "ours": run, "float32": with_tf32(False, theirs), "TF32": with_tf32(True, theirs)
    }  # fmt: skip
    measured = alternate(contestants, settings, "s/image", {"ours": batch})
    rates = {name: 1 / values.median for name, values in measured.items()}
    with torch.device("meta"):
        network = FCN("vgg16", CLASSES, 8, width=1 / 16 if settings.smoke else 1.0)
    tflops = 3 * 2 * macs(network, size(settings)) * rates["ours"] / 1e12
    precision = str(mine.precision).removeprefix("torch.")
    ceiling = found.get("products", {}).get("tflops", {}).get(precision)
    return {
        "precision": precision,
        "compiled": settings.accelerated,
        "batch": batch,
        "images_per_second": rates.pop("ours"),
        "tflops": tflops,
        "share": tflops / ceiling if ceiling else None,
        "peak_mb": peak_mb(run, settings),
        "published": rates,
        "ratio": measured["float32"].median / measured["ours"].median,
    }


def profiled(settings: Settings, found: Found) -> list[Found]:
    """The operations that take most of a step, by the device's own time."""
    run = called(ours(settings, compiled=settings.accelerated), best_batch(found), settings)
    for _ in range(3):
        run()
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * settings.accelerated
    with profile(activities=kinds) as seen:
        for _ in range(STEPS):
            run()
        wait(settings.device)
    kind = "self_device_time_total" if settings.accelerated else "self_cpu_time_total"
    events = sorted(seen.key_averages(), key=lambda event: -getattr(event, kind))
    total = sum(getattr(event, kind) for event in events) or 1
    return [
        {
            "name": event.key[:120],
            "ms_a_step": getattr(event, kind) / 1e3 / STEPS,
            "share": getattr(event, kind) / total,
            "calls_a_step": event.count / STEPS,
        }
        for event in events[:ROWS]
    ]


PARTS: dict[str, Callable[[Settings, Found], Any]] = {
    "products": products,
    "batches": batches,
    "step": step,
    "profile": profiled,
}


def main(arguments: Sequence[str] | None = None) -> int:
    args = command.parser("ceiling", __doc__, PARTS).parse_args(arguments)
    planned = command.plan(args, "ceiling", PARTS)
    if planned is None:
        return 1
    device, chosen, path = planned
    head = command.head(SCHEMA, device, args.smoke)
    found: Found = {}
    for name in chosen:
        settings = Settings(device, args.smoke, command.Progress(name), seconds=3.0)
        found[name] = PARTS[name](settings, found)
        command.keep({**head, **found}, path)
        command.Progress.clear()
        print("\n".join([name, *lines(found[name])]), flush=True)
    command.tell(path)
    return 0


def lines(part: Any) -> list[str]:
    """A part as text."""
    rows = part if isinstance(part, list) else [part]
    return ["  " + "  ".join(f"{key} {shown(value)}" for key, value in row.items()) for row in rows]


def shown(value: Any) -> str:
    """Three digits of numbers, also of those inside."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(inner)}" for key, inner in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
