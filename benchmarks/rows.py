"""What a benchmark hands back: rows of measurements side by side, checks, and what was left out."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["s", "s/image", "MiB"]


@dataclass(frozen=True)
class Measured:
    """One contestant's values, one a round; less is better in every unit."""

    name: str
    unit: Unit
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value: one disturbed round does not move it."""
        return statistics.median(self.values)

    def as_json(self) -> dict[str, Any]:
        """Name, median, quartiles, number of rounds."""
        return {
            "name": self.name,
            "median": self.median,
            "quartiles": quartiles(self.values),
            "rounds": len(self.values),
        }


@dataclass(frozen=True)
class Row:
    """Ours beside theirs on the same work; `target` is the ratio aimed at, None without an aim.

    The ratio is theirs / ours: how many times less time or memory ours needs.
    """

    case: str
    work: str
    ours: Measured
    theirs: Measured
    target: float | None = None

    @property
    def what(self) -> str:
        """Whom ours is beside."""
        return self.theirs.name

    @property
    def ratio(self) -> float:
        """Median of theirs over median of ours."""
        return self.theirs.median / self.ours.median

    @property
    def ratio_quartiles(self) -> tuple[float, float]:
        """Quartiles of the rounds' own ratios: a round's two values met the same machine."""
        pairs = zip(self.ours.values, self.theirs.values, strict=True)
        return quartiles(tuple(theirs / ours for ours, theirs in pairs))

    @property
    def reached(self) -> bool | None:
        """Whether the ratio is at least the target; None without one."""
        return None if self.target is None else self.ratio >= self.target

    def as_json(self) -> dict[str, Any]:
        """The row as plain values, see `core` for the schema."""
        return {
            "case": self.case,
            "work": self.work,
            "unit": self.ours.unit,
            "ours": self.ours.as_json(),
            "theirs": self.theirs.as_json(),
            "ratio": self.ratio,
            "ratio_quartiles": self.ratio_quartiles,
            "target": self.target,
            "reached": self.reached,
        }


@dataclass(frozen=True)
class Check:
    """A property that holds or does not, with what the usual form does beside it."""

    case: str
    work: str
    what: str
    ours: str
    theirs: str
    target: str

    @property
    def reached(self) -> bool:
        """Whether ours is what was aimed at."""
        return self.ours == self.target

    def as_json(self) -> dict[str, Any]:
        """The check as plain values."""
        names = ("case", "work", "what", "ours", "theirs", "target", "reached")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Skipped:
    """A comparison that could not be made here, and why."""

    case: str
    work: str
    what: str
    why: str

    def as_json(self) -> dict[str, Any]:
        """The line as plain values."""
        return {name: getattr(self, name) for name in ("case", "work", "what", "why")}


Line = Row | Check | Skipped


def quartiles(values: tuple[float, ...]) -> tuple[float, float]:
    """First and third quartile; of one value, that value."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def table(lines: Sequence[Line]) -> str:
    """The lines as text, a heading for each piece of work; quartiles in brackets."""
    head = ("what", "ours", "theirs", "ratio", "target", "reached")
    cells = [_cells(line) for line in lines]
    full = [head, *(row for row in cells if len(row) == len(head))]
    widths = [max(len(row[column]) for row in full) for column in range(len(head))]
    text = [_joined(head, widths)]
    work = ""
    for line, row in zip(lines, cells, strict=True):
        if line.work != work:
            work = line.work
            text += ["", work]
        text.append(_joined(row, widths))
    return "\n".join(text)


def _joined(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()


def _cells(line: Line) -> tuple[str, ...]:
    if isinstance(line, Skipped):
        return "  " + line.what, line.why
    reached = {True: "yes", False: "NO", None: ""}[line.reached]
    if isinstance(line, Check):
        return "  " + line.what, line.ours, line.theirs, "", line.target, reached
    low, high = line.ratio_quartiles
    target = "" if line.target is None else f"≥ {line.target:g}"
    ratio = f"{line.ratio:.2f} [{low:.2f}, {high:.2f}]"
    return "  " + line.what, _spread(line.ours), _spread(line.theirs), ratio, target, reached


def _spread(measured: Measured) -> str:
    """Median [quartiles] in s, ms or µs, three digits; whole MiB."""
    numbers = (measured.median, *quartiles(measured.values))
    if measured.unit == "MiB":
        middle, low, high = (f"{value:.0f}" for value in numbers)
        return f"{middle} MiB" if len(measured.values) == 1 else f"{middle} MiB [{low}, {high}]"
    prefix = next((p for p, least in (("", 1), ("m", 1e-3)) if numbers[0] >= least), "µ")
    scale = {"": 1, "m": 1e3, "µ": 1e6}[prefix]
    middle, low, high = (_three_digits(value * scale) for value in numbers)
    return f"{middle} {prefix}{measured.unit} [{low}, {high}]"


def _three_digits(value: float) -> str:
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
