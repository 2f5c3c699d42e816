"""What a record says, and how it is read: `record.json` of a run, and those in data/results.

Of each split (and of each task) it keeps the confusion matrix. Every score that is shown anywhere
is computed from that, by the rows of `metrics.MEASURES`; those that stand beside it are for who
reads the file. Records from before hold scores only, and give no others.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcn_tutorial import display
from fcn_tutorial.files import first_few
from fcn_tutorial.metrics import (
    IMAGE_MEASURES,
    MEASURES,
    ConfusionMatrix,
    Place,
    measured,
    of_images,
    score,
    shown,
)

SCHEMA = 1

Record = Mapping[str, Any]


def describe(
    confusion: ConfusionMatrix,
    classes: Sequence[str],
    split: str,
    images: int,
    tta: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The part of a record that says how well: the matrix, and every measure of it.

    Scores are fractions of one; None where there is nothing to score, as for a class that is
    absent.

    Args:
        confusion: of all images of the split.
        classes: their names, in the order of its rows.
        split: "train", "val" or "test".
        images: how many there are.
        tta: {"scales": […], "flip": …, "combine": …} of test-time augmentation; None, false in the
            record, without.

    Raises:
        ValueError: where there are not as many names as rows.
    """
    if len(classes) != (rows := len(confusion.matrix)):
        raise ValueError(
            f"{rows} classes were scored, the data name {len(classes)}: {first_few(list(classes))}"
        )
    scores = confusion.compute()
    return {
        "split": split,
        "images": images,
        **{key: _plain(value, classes) for key, value in measured(scores).items()},
        "absent": scores.absent,
        "tta": False if tta is None else dict(tta),
        "confusion": confusion.matrix.tolist(),
    }


def scored(described: Mapping[str, Any]) -> dict[str, Any]:
    """{key: value} of every measure that a split's (or a task's) part of a record can give.

    A value is a number, {class: number} where it is per class, or None where nothing was scored.
    """
    of_each_image = {key: described[key] for key in IMAGE_MEASURES if key in described}
    if "confusion" not in described:
        return {key: described[key] for key in MEASURES if key in described} | of_each_image
    scores = score(described["confusion"], described["absent"])
    classes = list(described["iu"])
    of_all = {key: _plain(value, classes) for key, value in measured(scores).items()}
    return of_all | of_each_image


def _plain(value: Any, classes: Sequence[str]) -> Any:
    if isinstance(value, int | float):
        return None if value != value else float(value)
    return {name: _plain(float(v), ()) for name, v in zip(classes, value, strict=True)}


def tasks(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """{task: its part} of a split; "" is the only task where there is one."""
    found: Mapping[str, Any] = described.get("tasks", {"": described})
    return found


def table(columns: Mapping[str, Mapping[str, Any]], place: Place) -> str:
    """Scores for a terminal: a row a class and a row a measure, a column for each method.

    Args:
        columns: {method: part of a record}, all with the same classes. What a record cannot give,
            and what was not scored, is a dash.
        place: which measures are shown, "train" or "evaluate".
    """
    values = {method: scored(described) for method, described in columns.items()}
    by_class, whole = shown(place, per_class=True), [*shown(place), *of_images(values.values())]
    classes = list(next(iter(columns.values()))["iu"])
    label = max(len(name) for name in (*classes, *(m.title for m in whole), " " * 14)) + 2
    heads = [
        method if i == 0 and len(by_class) == 1 else f"{method} {m.title}"
        for method in values
        for i, m in enumerate(by_class)
    ]

    def row(title: str, cells: Iterator[str]) -> str:
        aligned = (f"  {c:>{max(9, len(h))}}" for c, h in zip(cells, heads, strict=True))
        return f"{title:{label}}{''.join(aligned)}"

    lines = [row("", iter(heads))]
    for name in classes:
        cells = (m.text(v.get(m.key, {}).get(name)) for v in values.values() for m in by_class)
        lines.append(row(name, cells))
    lines.append("-" * len(lines[0]))
    for m in whole:
        beside = [""] * (len(by_class) - 1)  # one number a method, under its first column
        cells = (c for v in values.values() for c in (m.text(v.get(m.key)), *beside))
        lines.append(row(m.title, cells).rstrip())
    return "\n".join(lines)


def html(record: Record) -> str:
    """The scores of a run for a notebook: measures, then IU by class, a column for each split.

    record: as `read` gives it. A table for each task; a dash where nothing was scored.
    """
    title = f"{record['recipe']}, seed {record['seed']}"
    splits = {split: tasks(record[split]) for split in ("val", "test") if record.get(split)}
    iu = MEASURES["iu"]
    tables = []
    for task in splits["val"]:
        values = [scored(parts[task]) for parts in splits.values()]
        rows = [[m.title, *(m.text(v.get(m.key)) for v in values)] for m in shown("evaluate")]
        rows += [[name, *(iu.text(v["iu"].get(name)) for v in values)] for name in values[0]["iu"]]
        tables.append(display.table(("percent", *splits), rows, f"{title} {task}".rstrip()))
    return "".join(tables)


def dumps(record: Record) -> str:
    """The record as JSON, lists of numbers on one line each.

    Raises:
        ValueError: for a number that is not finite, which JSON does not have.
    """
    text = json.dumps(record, indent=1, allow_nan=False)
    return re.sub(r"\[\s+(-?[\d.]+(?:,\s+-?[\d.]+)*)\s+\]", _on_one_line, text) + "\n"


def _on_one_line(found: re.Match[str]) -> str:
    return "[" + ", ".join(found[1].replace("\n", " ").replace(",", " ").split()) + "]"


def read(path: Path) -> Record:
    """The record in a file.

    Raises:
        ValueError: naming a file that is no record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = record["schema"] == SCHEMA
        _ = record["recipe"], record["settings"]["data"]["name"], record["settings"]["model"]
        if type(record["seed"]) is not int:
            raise ValueError(f"seed is {record['seed']!r}")
        for split in ("val", "test"):
            for part in tasks(record[split]).values() if record.get(split) else ():
                _check(part)
        _check(record["val"])
    except (
        OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError
    ) as error:  # fmt: skip
        raise ValueError(f"{path}: not the record of a run ({error})") from error
    if not known:
        raise ValueError(f"{path}: schema {record['schema']} is not {SCHEMA}, which is read here")
    return record  # type: ignore[no-any-return]


def _check(part: Mapping[str, Any]) -> None:
    """Whether a part of a record can be shown."""
    for key in ("images", "mean_iu", "iu", "absent"):
        if key not in part:
            raise ValueError(f"no {key!r} in {part.get('split', 'a split')!r}")
    for key, value in scored(part).items():
        for number in value.values() if isinstance(value, Mapping) else (value,):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{key} is {number!r}")


def remarks(record: Record, place: Place | None = None) -> list[str]:
    """What a reader of the record must know that it does not say itself.

    It follows from what the record holds.

    Args:
        place: where its scores are shown, for what is missing there; None: nowhere.
    """
    if "confusion" in record["val"]:
        return []
    found = []
    data, model = record["settings"]["data"], record["settings"]["model"]
    if list(data.get("scale", (1, 1))) != [1, 1] or model.get("magnification", 1) != 1:
        found.append(
            "trained before labels were resampled at the centres of pixels; in scaled windows they "
            "lay up to half a pixel off their images"
        )
    rows = [m for m in MEASURES.values() if place in m.places]
    if missing := [m.title for m in rows if m.key not in record["val"]]:
        found.append(f"kept no confusion matrix, so without {', '.join(missing)}")
    return found
