"""One table of all that is scored: what is kept, printed, plotted or compared is a row of it.

A new measure is a new row. Records keep the confusion matrix, so those that are there have it too.
What no matrix holds, an error of each image by itself, is a row of `IMAGE_MEASURES`; the data sets
that it is asked of name it (`datasets.Source.image_measures`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fcn_tutorial.metrics.confusion import FloatArray, Scores, mean_known
from fcn_tutorial.metrics.partition import Labels, cells, rand_error, warping_error

#: Where a score is shown: the line and the row of a validation, its curve, the tables that `train`,
#: `evaluate` and `results` print, the model card, and the tables of README.
Place = Literal["log", "curve", "train", "evaluate", "results", "card", "readme"]


@dataclass(frozen=True)
class _Shown:
    """What a value is called, and how it is written.

    Attributes:
        key: its name in records, logs and JSON.
        title: its name in tables.
        percent: shown a hundredfold, with `digits` decimals; otherwise as it is, with three.
        digits: decimals of a percentage.
    """

    key: str
    title: str
    percent: bool = field(default=True, kw_only=True)
    digits: int = field(default=1, kw_only=True)

    def text(self, value: float | None, spread: float | None = None) -> str:
        """The value for a table, "62.4" or "62.4 ± 0.3"; a dash for None and nan."""
        if value is None or value != value:
            return "–"
        numbers = (value, spread or 0.0)
        shown = [f"{100 * v:.{self.digits}f}" if self.percent else f"{v:.3f}" for v in numbers]
        return shown[0] if spread is None else " ± ".join(shown)


@dataclass(frozen=True)
class Measure(_Shown):
    """A score: how it follows from a confusion matrix, and where it is shown.

    Attributes:
        key: its name in records, logs and JSON.
        title: its name in tables.
        of: the value, a pure function of `Scores` and so of a matrix (`Scores.matrix`) and of the
            convention for absent classes; a number, or (C,) where `per_class`; nan where there is
            none.
        places: where it is shown.
        per_class: whether it is a number for each class.
        percent: shown a hundredfold, with `digits` decimals; otherwise as it is, with three.
        digits: decimals of a percentage.

    ::

        >>> from fcn_tutorial.metrics import score
        >>> wrong = Measure("wrong", "wrong pixels", lambda s: 1 - s.pixel_accuracy, ("log",))
        >>> wrong.text(wrong.of(score([[3, 1], [0, 4]])))  # one of 8, in per cent
        '12.5'
    """

    of: Callable[[Scores], float | FloatArray]
    places: tuple[Place, ...]
    per_class: bool = False


@dataclass(frozen=True)
class ImageMeasure(_Shown):
    """An error of one image, of which a set's is the mean; shown wherever a record has it.

    Attributes:
        key: its name in records, logs and JSON.
        title: its name in tables.
        of: the error of (truth, prediction), class indices (H, W) each; nan where there is none.
        percent: shown a hundredfold, with `digits` decimals; otherwise as it is, with three.
        digits: decimals of a percentage.

    ::

        >>> missed = ImageMeasure("missed", "missed pixels", lambda t, p: float((t > p).mean()))
        >>> missed.text(missed.of(np.array([[0, 1, 1, 1]]), np.array([[0, 1, 1, 0]])))
        '25.0'
    """

    of: Callable[[Labels, Labels], float]


def _dice(scores: Scores) -> FloatArray:
    """Dice, or F1, of each class: 2·n_ii / (t_i + Σ_j n_ji); nan for those that IU leaves out."""
    return 2 * scores.iu / (1 + scores.iu)


_TABLES: tuple[Place, ...] = ("train", "evaluate", "results", "card")

_ROWS = (
    Measure("mean_iu", "mean IU", lambda s: s.mean_iu, ("log", "curve", *_TABLES, "readme")),
    Measure("pixel_accuracy", "pixel accuracy", lambda s: s.pixel_accuracy,
            ("log", *_TABLES, "readme")),
    Measure("mean_accuracy", "mean accuracy", lambda s: s.mean_accuracy, _TABLES),
    Measure("fw_iu", "f.w. IU", lambda s: s.fw_iu, _TABLES),
    Measure("mean_dice", "mean Dice", lambda s: mean_known(_dice(s)), _TABLES),
    Measure("iu", "IU", lambda s: s.iu, ("train", "evaluate", "card"), per_class=True),
    Measure("precision", "precision", lambda s: s.precision, ("evaluate", "card"), per_class=True),
    Measure("recall", "recall", lambda s: s.recall, ("evaluate", "card"), per_class=True),
)  # fmt: skip

#: The table, by key, in the order of columns and rows.
MEASURES: dict[str, Measure] = {row.key: row for row in _ROWS}


def _rand(truth: Labels, labels: Labels) -> float:
    """`rand_error` of the cells; nan for a truth of which no two pixels are in one cell."""
    regions = cells(truth)
    paired = np.bincount(regions.ravel())[1:].max(initial=0) > 1
    return rand_error(regions, cells(labels)) if paired else float("nan")


#: Errors of single images, by key: those of the ISBI 2012 challenge, whose cells are class 1.
IMAGE_MEASURES: dict[str, ImageMeasure] = {
    row.key: row
    for row in (
        ImageMeasure("pixel_error", "pixel error", lambda t, p: float((t != p).mean()), digits=2),
        ImageMeasure("rand_error", "Rand error", _rand, digits=2),
        ImageMeasure(
            "warping_error", "warping error", lambda t, p: warping_error(t == 1, p == 1), digits=4
        ),
    )
}


def measured(scores: Scores) -> dict[str, float | FloatArray]:
    """The value of every measure.

    Args:
        scores: of one confusion matrix.

    Returns:
        By key, in the order of `MEASURES`, a number, or (C,) where a measure is per class.

    ::

        >>> from fcn_tutorial.metrics import score
        >>> values = measured(score([[3, 1], [0, 4]]))
        >>> values["pixel_accuracy"], values["recall"]  # 7/8; 3/4 and 4/4
        (0.875, array([0.75, 1.  ]))
    """
    return {key: measure.of(scores) for key, measure in MEASURES.items()}


def shown(place: Place, per_class: bool = False) -> list[Measure]:
    """The rows of the table that a place shows.

    Args:
        place: where scores are shown, as "log" or "card".
        per_class: the measures with a number for each class, not those of one number.

    Returns:
        In the order of `MEASURES`.

    ::

        >>> [measure.title for measure in shown("log")]
        ['mean IU', 'pixel accuracy']
    """
    return [m for m in MEASURES.values() if place in m.places and m.per_class == per_class]


def of_images(parts: Iterable[Mapping[str, Any]]) -> list[ImageMeasure]:
    """The rows of `IMAGE_MEASURES` that any of several records has.

    Args:
        parts: {key: value} of each; other keys and all values are not read.

    Returns:
        In the order of `IMAGE_MEASURES`.

    ::

        >>> records = [{"mean_iu": 0.5}, {"mean_iu": 0.6, "rand_error": 0.1}]
        >>> [measure.title for measure in of_images(records)]
        ['Rand error']
    """
    known = {key for part in parts for key in part}
    return [row for key, row in IMAGE_MEASURES.items() if key in known]


def named(key: str) -> Measure | ImageMeasure:
    """The measure of that key.

    Args:
        key: of `MEASURES` or `IMAGE_MEASURES`, or another, as of published scores.

    Returns:
        The row of the table; for another key, a measure that has only a title and no value.

    ::

        >>> named("fw_iu").title, named("boundary_score").title
        ('f.w. IU', 'boundary score')
    """
    found = MEASURES.get(key) or IMAGE_MEASURES.get(key)
    return found or Measure(key, key.replace("_", " "), lambda s: float("nan"), ())


def over_seeds(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and standard deviation of what is known of several runs.

    Args:
        values: of each run; None where it has none.

    Returns:
        (mean, deviation), with n − 1 below the root; the deviation is None for a single run, both
        are None where nothing is known.

    ::

        >>> mean, deviation = over_seeds([0.5, None, 0.6, 0.7])
        >>> f"{mean:.3f} ± {deviation:.3f}"
        '0.600 ± 0.100'
    """
    known = [value for value in values if value is not None]
    if not known:
        return None, None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None
