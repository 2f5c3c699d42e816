"""How fast: the step beside the device's ceiling, the comparisons of `core`, the sweeps."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.phases.bundle import Bundle, Work

#: (benchmark, its parts in order of worth, those that a smoke run takes: one benchmark shows the
#: way, and each has a smoke run of its own)
ORDER: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("ceiling", ("products", "batches", "step", "profile"), ("products", "batches", "step")),
    ("core", ("heads", "published", "upsampling", "determinism", "metrics", "patches"),
     ()),
    ("training", ("images", "pixels", "processes", "classes", "dense classes"), ()),
)  # fmt: skip
LISTS = ("cases", "rows", "checks", "skipped")  # of a record, that grow with its parts

Record = dict[str, Any]


def run(work: Work, keep: Bundle) -> None:
    """Each benchmark in a process of its own; where one ends badly, the next part starts anew.

    Raises Cut where the time was over, RuntimeError naming the parts that failed.
    """
    failed: list[str] = []
    for name, parts, few in ORDER:
        found: Record = {}
        ahead = list(few if work.smoke else parts)
        while ahead:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "record.json"
                code = 0
                try:
                    code = work.call(command(name, ahead, path, work.device, work.smoke))
                finally:  # what was measured before the time was over counts
                    new = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
                    if new:
                        found = merged(found, new)
                        where = f"benchmarks/results/{name}-{work.device}.json"
                        keep.add(where, found, says(name, found))
            ahead = [part for part in ahead if part not in measured(new)]
            if code and ahead:
                failed.append(f"{name} {ahead.pop(0)}")
            elif ahead:
                raise RuntimeError(f"{name} left out {', '.join(ahead)}")
    if failed:
        raise RuntimeError(f"failed, see the log: {', '.join(failed)}")


def command(name: str, parts: Iterable[str], path: Path, device: str, smoke: bool) -> Sequence[str]:
    """A benchmark's process: these parts, in this order, into this file."""
    chosen = [word for part in parts for word in ("--only", part)]
    line = [sys.executable, "-m", f"benchmarks.{name}", *chosen]
    return [*line, "--json", str(path), "--device", device, *["--smoke"] * smoke]


def measured(record: Record) -> set[str]:
    """The parts that a record holds."""
    return {*record.get("cases", ()), *record.get("sweeps", ()), *record}


def merged(old: Record, new: Record) -> Record:
    """Two records of one benchmark's parts as one; what is said of the run is the newer's."""
    lists = {key: old.get(key, []) + new[key] for key in LISTS if key in new}
    sweeps = {"sweeps": {**old.get("sweeps", {}), **new["sweeps"]}} if "sweeps" in new else {}
    return {**old, **new, **lists, **sweeps}


def says(name: str, record: Record) -> str:
    """The line of the closing table."""
    if name != "ceiling" or "step" not in record:
        return f"{name}: {len(measured(record) & set(_parts(name)))} of {len(_parts(name))} parts"
    step = record["step"]
    share = f"{step['share']:.0%} of a plain product's, " if step["share"] else ""
    return (
        f"FCN-8s VGG16, training, {step['precision']}, batch {step['batch']}: "
        f"{step['images_per_second']:.1f} images/s, {step['tflops']:.3g} TFLOP/s, {share}"
        f"{step['ratio']:.1f} × the published form in float32"
    )


def _parts(name: str) -> tuple[str, ...]:
    return next(parts for benchmark, parts, _ in ORDER if benchmark == name)
