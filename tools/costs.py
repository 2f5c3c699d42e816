"""Write the numbers of book/cost.md, and draw its picture, from the benchmarks' files.

python -m tools.costs   stamp the tables between their markers, draw book/_static/cost.webp
"""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tools import gpu_table
from tools.project import ROOT
from tools.readme import stamp

PAGE = ROOT / "book" / "cost.md"
PICTURE = ROOT / "book" / "_static" / "cost.webp"
RESULTS = ROOT / "benchmarks" / "results"

#: Of the exchange on paper: name of the wire, bytes a second.
WIRES = {
    "1 Gbit/s": 1e9 / 8,
    "10 Gbit/s": 10e9 / 8,
    "100 Gbit/s": 100e9 / 8,
    "400 GB/s": 400e9,
}
PROCESSES = 8
NETWORKS = ("squeezenet1_1", "mobilenet_v2", "resnet50", "vgg16")
#: Of the schedule on paper: operations a second that a device sustains.
RATES = {"1 TFLOP/s": 1e12, "10 TFLOP/s": 10e12, "100 TFLOP/s": 100e12}
SCHEDULE = "voc-fcn8s"  # the recipe
SIZE = (375, 500)  # rows and columns of a typical image of PASCAL VOC


def read(name: str, root: Path = RESULTS) -> dict[str, Any]:
    """A file that a benchmark wrote."""
    record: dict[str, Any] = json.loads((root / name).read_text(encoding="utf-8"))
    return record


def duration(seconds: float) -> str:
    """Three digits in a unit that fits, on one line: 12.3 ms, 4.56 s, 7.89 min, 1.20 days."""
    units = (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3))
    name, size = next((u for u in units if seconds >= u[1]), ("µs", 1e-6))
    value = seconds / size
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}\N{NO-BREAK SPACE}{name}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sweep_table(sweep: Mapping[str, Any]) -> str:
    """Median, quartiles and the line's value at each size, and the line in words."""
    line = sweep["line"]
    rows = [
        [
            f"{p['x']:,}",
            duration(p["median"]),
            " to ".join(duration(q) for q in p["quartiles"]),
            duration(line["intercept"] + line["slope"] * p["x"]),
        ]
        for p in sweep["points"]
    ]
    words = (
        f"The line is {duration(line['intercept'])} plus {duration(line['slope'] * _unit(sweep))} "
        f"for each {_unit_name(sweep)}. It misses no median by more than "
        f"{line['misfit']:.0%}."
    )
    fixed = ", ".join(f"{what} {value}" for what, value in sweep["fixed"].items())
    head = [sweep["axis"], "a step", "quartiles", "the line"]
    return f"Fixed: {fixed}.\n\n{table(head, rows)}\n\n{words}"


def _unit(sweep: Mapping[str, Any]) -> int:
    return 1000 if "pixels" in sweep["axis"] else 1


def _unit_name(sweep: Mapping[str, Any]) -> str:
    return "thousand pixels of an image" if "pixels" in sweep["axis"] else "image"


def classes_table(ours: Mapping[str, Any], dense: Mapping[str, Any]) -> str:
    """Both forms side by side, with the multiplications of the published one."""
    side, batch = ours["fixed"]["side"], ours["fixed"]["batch"]
    rows = []
    for mine, theirs in zip(ours["points"], dense["points"], strict=True):
        count = mine["x"]
        cells = (side // 8) ** 2 * batch  # a kernel of 16 for each, at stride 8
        rows.append(
            [
                f"{count}",
                duration(mine["median"]),
                duration(theirs["median"]),
                f"{theirs['median'] / mine['median']:.1f}",
                f"{cells * 16**2 * count**2 / 1e9:.2f}",
            ]
        )
    fixed = ", ".join(f"{what} {value}" for what, value in ours["fixed"].items())
    head = ["classes", "a step, ours", "published form", "ratio", "its deconvolution, GMAC forward"]
    return f"Fixed: {fixed}.\n\n{table(head, rows)}"


def processes_table(sweep: Mapping[str, Any]) -> str:
    """Steps with and without exchange, and images a second."""
    batch = sweep["fixed"]["batch in each"]
    alone = sweep["points"][0]["exchanged"]["median"]
    rows = []
    for point in sweep["points"]:
        count, with_it = point["x"], point["exchanged"]["median"]
        rows.append(
            [
                str(count),
                duration(with_it),
                duration(point["alone"]["median"]),
                duration(point["sum"]["median"]) if count > 1 else "–",
                f"{count * batch / with_it:.1f}",
                f"{alone / with_it:.0%}",
            ]
        )
    fixed = ", ".join(f"{what} {value}" for what, value in sweep["fixed"].items())
    head = [
        "processes", "a step", "without exchange", "one sum alone", "images/s", "efficiency",
    ]  # fmt: skip
    return f"Fixed: {fixed}; a core for each process.\n\n{table(head, rows)}"


@cache
def parameters(backbone: str) -> int:
    """Weights of FCN-8s with 21 classes on a trunk."""
    import torch

    from fcn_tutorial.models import FCN

    with torch.device("meta"):
        return sum(p.numel() for p in FCN(backbone, 21, 8).parameters())


def exchange_table() -> str:
    """Seconds that the sum of the gradients takes, for networks and wires."""
    rows = []
    for backbone in NETWORKS:
        count = parameters(backbone)
        sent = 2 * (PROCESSES - 1) / PROCESSES * 4 * count
        times = [duration(sent / speed) for speed in WIRES.values()]
        rows.append([f"`{backbone}`", f"{count / 1e6:.1f} M", f"{4 * count / 1e6:.0f} MB", *times])
    return table(["FCN-8s on", "weights", "gradients", *WIRES], rows)


def schedule_table(core: Mapping[str, Any]) -> str:
    """The published schedule on the measured CPU, and on paper at sustained rates."""
    import torch

    from fcn_tutorial.models import FCN
    from fcn_tutorial.surgery import macs
    from fcn_tutorial.training import recipes

    steps = recipes.get(SCHEDULE).iterations
    with torch.device("meta"):
        model = FCN("vgg16", 21, 8)
    forward = macs(model, SIZE)
    (row,) = [
        row for row in core["rows"]
        if row["case"] == "published" and "training step" in row["work"]
        and row["work"].endswith("float32")
    ]  # fmt: skip
    operations = 3 * 2 * forward
    rows = []
    for who in ("ours", "theirs"):
        step = row[who]["median"]
        name = "the package" if who == "ours" else row[who]["name"]
        rows.append(
            [
                f"measured step, {core['device']}, {name}",
                duration(step),
                duration(steps * step),
                f"{operations / step / 1e12:.2f} TFLOP/s",
            ]
        )
    rows += [
        [f"on paper, {name} sustained", duration(operations / rate),
         duration(steps * operations / rate), name]
        for name, rate in RATES.items()
    ]  # fmt: skip
    words = (
        f"One forward pass of {SIZE[0]}×{SIZE[1]} pixels is {forward / 1e9:.0f} GMAC, so a step is "
        f"{operations / 1e12:.2f} TFLOP."
    )
    return f"{words}\n\n{table(['', 'a step', f'{steps:,} steps', 'rate'], rows)}"


def measured_on(record: Mapping[str, Any]) -> str:
    """Where and when."""
    torch = record["versions"]["torch"].split("+")[0]
    return (
        f"Measured on {record['created'][:10]}: {record['device']}, torch {torch}; "
        f"{record['network']['parameters'] / 1e6:.2f} million weights."
    )


def blocks() -> dict[str, str]:
    """What stands between the markers of the page, by name."""
    record, core = read("training-cpu.json"), read("core-cpu.json")
    sweeps = record["sweeps"]
    return {
        "measured on": measured_on(record),
        "pixels": sweep_table(sweeps["pixels"]),
        "images": sweep_table(sweeps["images"]),
        "classes": classes_table(sweeps["classes"], sweeps["dense classes"]),
        "processes": processes_table(sweeps["processes"]),
        "exchange": exchange_table(),
        "schedule": schedule_table(core),
        "gpu": gpu_table.block(),
    }


def stamped(text: str) -> str:
    """The page with its blocks as they should be. Raises ValueError for a missing marker."""
    return stamp(text, blocks(), "book/cost.md", "tools/costs.py")


def draw(record: Mapping[str, Any]) -> bytes:
    """The picture of the page: a WebP on a white card, for light and dark."""
    import matplotlib.pyplot as plt

    from fcn_tutorial import visualize

    visualize.use_style()
    sweeps = record["sweeps"]
    blue, orange = visualize.OKABE_ITO["blue"], visualize.OKABE_ITO["vermillion"]
    fig, axes = plt.subplots(2, 2, figsize=(visualize.WIDE, 5.0))
    for ax, name, unit in zip(axes[0], ("pixels", "images"), (1e3, 1), strict=True):
        x, y, spread = _series(sweeps[name])
        line = sweeps[name]["line"]
        heights = [1e3 * (line["intercept"] + line["slope"] * e) for e in (0, max(x))]
        ax.plot((0, max(x) / unit), heights, color=visualize.GREY, lw=1)
        ax.errorbar([v / unit for v in x], y, spread, fmt="o", color=blue, ms=4)
        axis = sweeps[name]["axis"]
        ax.set(xlabel=f"thousand {axis}" if unit > 1 else axis, ylabel="ms a step", ylim=(0, None))
    ax = axes[1, 0]
    for name, label, colour in (
        ("classes", "ours", blue), ("dense classes", "published form", orange),
    ):  # fmt: skip
        x, y, spread = _series(sweeps[name])
        ax.errorbar(x, y, spread, fmt="o-", color=colour, ms=4, lw=1)
        ax.annotate(label, (x[-2], y[-2]), (0, 8), textcoords="offset points", color=colour,
                    ha="right", fontsize=9)  # fmt: skip
    ax.set(xlabel="classes", ylabel="ms a step", ylim=(0, None))
    ax = axes[1, 1]
    points = sweeps["processes"]["points"]
    for shift, (part, colour) in enumerate((("alone", blue), ("exchanged", orange))):
        heights = [1e3 * point[part]["median"] for point in points]
        places = [i + 0.36 * (shift - 0.5) for i in range(len(points))]
        ax.bar(places, heights, 0.34, color=colour)
        label = "without exchange" if part == "alone" else "with exchange"
        ax.text(0.02, 0.97 - 0.1 * shift, label, color=colour, transform=ax.transAxes, va="top",
                fontsize=9)  # fmt: skip
    highest = max(1e3 * point["exchanged"]["median"] for point in points)
    ax.set_xticks(range(len(points)), [str(point["x"]) for point in points])
    ax.set(xlabel="processes", ylabel="ms a step", ylim=(0, 1.45 * highest))
    return visualize.figure(fig, alt="drawn for the page").webp


def _series(sweep: Mapping[str, Any]) -> tuple[list[float], list[float], list[list[float]]]:
    """x, medians in ms, and the distances to the quartiles in ms."""
    points = sweep["points"]
    x = [p["x"] for p in points]
    y = [1e3 * p["median"] for p in points]
    low = [1e3 * (p["median"] - p["quartiles"][0]) for p in points]
    high = [1e3 * (p["quartiles"][1] - p["median"]) for p in points]
    return x, y, [low, high]


def main() -> int:
    """Stamp the page and draw its picture."""
    PAGE.write_text(stamped(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURE.write_bytes(draw(read("training-cpu.json")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
