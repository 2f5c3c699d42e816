"""One table of all that is scored: what is kept, printed, plotted or compared is a row of it.

A new measure is a new row. Records keep the confusion matrix, so those that are there have it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fcn_tutorial.metrics.confusion import FloatArray, Scores

#: Where a score is shown: the line and the row of a validation, its curve, the tables that `train`,
#: `evaluate` and `results` print, the model card, and the tables of README.
Place = Literal["log", "curve", "train", "evaluate", "results", "card", "readme"]


@dataclass(frozen=True)
class Measure:
    """A score: how it follows from a confusion matrix, and how it is shown.

    Attributes:
        key: its name in records, logs and JSON.
        title: its name in tables.
        of: the value, a pure function of `Scores` and so of a matrix (`Scores.matrix`) and of the
            convention for absent classes; a number, or (C,) where `per_class`; nan where there is
            none.
        places: where it is shown.
        per_class: whether it is a number for each class.
        percent: shown a hundredfold, with one decimal; otherwise as it is, with three.
    """

    key: str
    title: str
    of: Callable[[Scores], float | FloatArray]
    places: tuple[Place, ...]
    per_class: bool = False
    percent: bool = True

    def text(self, value: float | None, spread: float | None = None) -> str:
        """The value for a table, "62.4" or "62.4 ± 0.3"; a dash for None and nan."""
        if value is None or value != value:
            return "–"
        shown = [f"{100 * v:.1f}" if self.percent else f"{v:.3f}" for v in (value, spread or 0.0)]
        return shown[0] if spread is None else " ± ".join(shown)


def _dice(scores: Scores) -> FloatArray:
    """Dice, or F1, of each class: 2·n_ii / (t_i + Σ_j n_ji); nan for those that IU leaves out."""
    return 2 * scores.iu / (1 + scores.iu)


def _mean(values: FloatArray) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")


_TABLES: tuple[Place, ...] = ("train", "evaluate", "results", "card")

_ROWS = (
    Measure("mean_iu", "mean IU", lambda s: s.mean_iu, ("log", "curve", *_TABLES, "readme")),
    Measure("pixel_accuracy", "pixel accuracy", lambda s: s.pixel_accuracy,
            ("log", *_TABLES, "readme")),
    Measure("mean_accuracy", "mean accuracy", lambda s: s.mean_accuracy, _TABLES),
    Measure("fw_iu", "f.w. IU", lambda s: s.fw_iu, _TABLES),
    Measure("mean_dice", "mean Dice", lambda s: _mean(_dice(s)), _TABLES),
    Measure("iu", "IU", lambda s: s.iu, ("train", "evaluate", "card"), per_class=True),
    Measure("precision", "precision", lambda s: s.precision, ("evaluate", "card"), per_class=True),
    Measure("recall", "recall", lambda s: s.recall, ("evaluate", "card"), per_class=True),
)  # fmt: skip

#: The table, by key, in the order of columns and rows.
MEASURES: dict[str, Measure] = {row.key: row for row in _ROWS}


def measured(scores: Scores) -> dict[str, float | FloatArray]:
    """{key: value} of every measure."""
    return {key: measure.of(scores) for key, measure in MEASURES.items()}


def shown(place: Place, per_class: bool = False) -> list[Measure]:
    """The rows of the table that a place shows, of one number each, or of one a class."""
    return [m for m in MEASURES.values() if place in m.places and m.per_class == per_class]


def named(key: str) -> Measure:
    """The measure of that key; for others, as of published scores, one that is only shown."""
    return MEASURES.get(key) or Measure(key, key.replace("_", " "), lambda s: float("nan"), ())


def over_seeds(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (None for a single run) of what is known of several runs."""
    known = [value for value in values if value is not None]
    if not known:
        return None, None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None
