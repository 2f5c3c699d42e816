"""What was measured on a GPU, from the records that `python -m benchmarks.gpu --home` leaves.

README.md shows the table; what has no record is "not measured yet".
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.project import ROOT

Record = dict[str, Any]
NOT_YET = "not measured yet"


def block(root: Path = ROOT) -> str:
    """A Markdown table: what, what was found, and where and when."""
    lines = ["| on a GPU | found | device |", "|---|---|---|"]
    for what, name, tell in ROWS:
        path = root / "benchmarks" / "results" / f"{name}-cuda.json"
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        found = tell(record) if record else ""
        run = record.get("runs", [record])[0]
        where = f" {run['device']}, {run['created'][:10]}" if found else ""
        lines.append(f"| {what} | {found or NOT_YET} |{where} |")
    return "\n".join(lines)


def _tests(record: Record) -> str:
    count = Counter(test["outcome"] for test in record["tests"])
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(count.items()))


def _step(record: Record) -> str:
    step = record.get("step")
    if not step:
        return ""
    share = f", {step['share']:.0%} of a plain product's rate" if step["share"] else ""
    return (
        f"{step['images_per_second']:.0f} images/s in {step['precision']} at batch "
        f"{step['batch']}, {step['tflops']:.0f} TFLOP/s{share}; {step['ratio']:.1f} times the "
        "published form in float32 at batch 1"
    )


def _ratio(work: str, theirs: str) -> Callable[[Record], str]:
    """How many times less ours took, of the first row that fits."""

    def tell(record: Record) -> str:
        fits = (r for r in record["rows"] if work in r["work"] and theirs in r["theirs"]["name"])
        row = next(fits, None)
        return f"{row['ratio']:.1f} times less than {row['theirs']['name']}" if row else ""

    return tell


def _bits(record: Record) -> str:
    checks = [check for check in record["checks"] if check["case"] == "determinism"]
    ours, theirs = (", ".join(sorted({c[who] for c in checks})) for who in ("ours", "theirs"))
    return f"ours: {ours}; F.interpolate: {theirs}" if checks else ""


def _vgg16(record: Record) -> str:
    scores = {
        run["settings"]["model"]["alignment"]: run["test"]["mean_iu"] for run in record["runs"]
    }
    told = ", ".join(f"{100 * iu:.1f} with borders as {name}" for name, iu in scores.items())
    return f"mean IU {told}"


def _after(record: Record) -> str:
    scores = {run["settings"]["model"]["network"]: run["test"]["mean_iu"] for run in record["runs"]}
    return "mean IU " + ", ".join(f"{100 * iu:.1f} ({name})" for name, iu in scores.items())


def _scenes(record: Record) -> str:
    seconds, iu = record["train"]["seconds"], record["test"]["mean_iu"]
    return f"mean IU {100 * iu:.1f} after {seconds:.0f} s"


#: (what, name of the file, how its record is told)
ROWS: tuple[tuple[str, str, Callable[[Record], str]], ...] = (
    ("tests against float64 on the CPU, in half precision, compiled, resumed", "correct", _tests),
    ("a training step of FCN-8s VGG16, 375×500", "ceiling", _step),
    ("FCN-8s on ResNet-50, time of a training step", "core",
     _ratio("resnet50, 384×512, batch 2, training step", "torchvision")),
    ("upsampling ×8 and loss, time", "core", _ratio("×8 and loss, 500×500, batch 1", "dense")),
    ("upsampling ×8 and loss, memory", "core", _ratio("×8 and loss, 500×500, batch 8", "two")),
    ("the gradient of upsampling and loss, computed again", "core", _bits),
    ("CamVid, FCN-8s on VGG16's convolutions, fine-tuned for edges (not the original weights)",
     "camvid-vgg16", _vgg16),
    ("CamVid, networks after FCN at full width, from random weights", "camvid-after", _after),
    ("scenes of 256×256, FCN-8s on ResNet-18 from random weights", "scenes", _scenes),
)  # fmt: skip
