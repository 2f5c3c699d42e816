"""What the verbs of the command line share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def chosen_device(name: str | None) -> Any:
    """The torch device of that name; CUDA, where there is one, for None. Raises ValueError."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: cannot be used here ({reason})") from error
    return device


def score_table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Per-class IU and the four scores in percent, a column for each method."""
    widths = [max(9, len(name)) for name in columns]
    first = next(iter(columns.values()))
    label = max(16, *(len(name) for name in first["iu"]))
    lines = [" " * label + "".join(f"  {n:>{w}}" for n, w in zip(columns, widths, strict=True))]

    def row(title: str, values: list[float | None]) -> None:
        cells = ["–" if v is None else f"{100 * v:.1f}" for v in values]
        padded = "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True))
        lines.append(f"{title:{label}}{padded}")

    for name in first["iu"]:
        row(name, [scores["iu"][name] for scores in columns.values()])
    lines.append("-" * len(lines[0]))
    for key in ("mean_iu", "pixel_accuracy", "mean_accuracy", "fw_iu"):
        row(key.replace("_", " "), [scores[key] for scores in columns.values()])
    return "\n".join(lines)
