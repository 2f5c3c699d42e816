"""Published, reference port and ours, side by side: tables made from records.

A table is a data set's; it has a block a recipe, with a row for each published line that the recipe
carries and a row for what was run here: the mean over the seeds, and their standard deviation.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_tutorial import assets
from fcn_tutorial.training import recipes
from fcn_tutorial.training.card import MEASURES
from fcn_tutorial.training.recipe import Recipe
from fcn_tutorial.training.run import SCHEMA
from fcn_tutorial.training.settings import changed, from_dict

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One line: a label, and by measure (value, standard deviation over seeds or None).

    Attributes:
        seeds: of the runs behind it; empty for a published line, whose `source` says where it
            stands.
    """

    label: str
    scores: Mapping[str, tuple[float, float | None]]
    source: str = ""
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Block:
    """A recipe and its rows, published ones first."""

    recipe: str
    summary: str
    rows: tuple[Row, ...]


def find(folders: Sequence[Path] = ()) -> list[Record]:
    """The records in run folders, in folders of them, or in files.

    Without any: those that travel with the package, and those in `runs`. Raises FileNotFoundError
    for a path that is not there, and ValueError for a file that is not a record and for a folder
    without one.
    """
    paths: list[Path] = []
    if not folders:
        paths = [*sorted((assets.root() / "results").glob("*/*.json")), *_inside(Path("runs"))]
    for folder in folders:
        if not folder.exists():
            raise FileNotFoundError(f"{folder} not found")
        inside = [folder] if folder.is_file() else _inside(folder)
        if not inside:
            raise ValueError(f"{folder}: holds no record.json, nor a folder with one")
        paths += inside
    return [_read(path) for path in dict.fromkeys(paths)]


def _inside(folder: Path) -> list[Path]:
    own = folder / "record.json"
    return [own] if own.is_file() else sorted(folder.glob("*/record.json"))


def _read(path: Path) -> Record:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        known = record["schema"] == SCHEMA and isinstance(record["settings"], dict)
        _ = record["recipe"], record["seed"], record["val"]["mean_iu"], record["settings"]["data"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path}: not the record of a run ({error})") from error
    if not known:
        raise ValueError(f"{path}: schema {record['schema']} is not {SCHEMA}, which is read here")
    return record  # type: ignore[no-any-return]


def collect(records: Iterable[Record]) -> dict[str, list[Block]]:
    """{data set: blocks}: every recipe that publishes a score or has a record, in their order."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record["recipe"], []).append(record)
    tables: dict[str, list[Block]] = {}
    for recipe in _known(runs):
        rows = (*_published(recipe), *_ours(recipe, runs.get(recipe.name, [])))
        if rows:
            blocks = tables.setdefault(recipe.data.name, [])
            blocks.append(Block(recipe.name, recipe.summary, rows))
    return tables


def _known(runs: Mapping[str, Sequence[Record]]) -> Iterator[Recipe]:
    """The registered recipes, then those that only records know."""
    for name in recipes.RECIPES:
        yield recipes.get(name)
    for name, found in runs.items():
        if name not in recipes.RECIPES:
            yield from_dict(found[0]["settings"])


def _published(recipe: Recipe) -> Iterator[Row]:
    lines: dict[tuple[str, str], dict[str, tuple[float, float | None]]] = {}
    for entry in recipe.published:
        lines.setdefault((entry.of, entry.source), {})[entry.score] = (entry.value, None)
    for (of, source), scores in lines.items():
        yield Row(of, scores, source)


def _ours(recipe: Recipe, records: Sequence[Record]) -> Iterator[Row]:
    """A row for the runs that differ in nothing but their seed."""
    alike: dict[str, list[Record]] = {}
    for record in records:
        alike.setdefault(json.dumps(record["settings"], sort_keys=True), []).append(record)
    for several in alike.values():
        by_seed = {record["seed"]: record for record in several}
        split = "test" if several[0].get("test") else "val"
        scored = [record[split] for record in by_seed.values()]
        label = f"ours, {split}, {scored[0]['images']:,} images"
        if not several[0]["overrides"] and changed(several[0]["settings"], recipe):
            label += ", settings before today's"
        changes = ", ".join(f"{k}={v}" for k, v in several[0]["overrides"].items())
        if changes:
            label += f" ({changes})"
        scores = {key: _over_seeds([s[key] for s in scored]) for key in MEASURES}
        if geometric := [s["tasks"]["geometric"] for s in scored if "tasks" in s]:
            key = "geometric_pixel_accuracy"
            scores[key] = _over_seeds([s["pixel_accuracy"] for s in geometric])
        yield Row(label, scores, seeds=tuple(sorted(by_seed)))


def _over_seeds(values: Sequence[float]) -> tuple[float, float | None]:
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def as_dict(tables: Mapping[str, Sequence[Block]]) -> dict[str, Any]:
    """Plain JSON types, nested as the dataclasses are; a score is {"value": …, "spread": …}."""
    found: dict[str, Any] = {}
    for name, blocks in tables.items():
        found[name] = [dataclasses.asdict(block) for block in blocks]
        for block in found[name]:
            for row in block["rows"]:
                row["scores"] = {
                    key: {"value": value, "spread": spread}
                    for key, (value, spread) in row["scores"].items()
                }
                row["seeds"] = list(row["seeds"])
            block["rows"] = list(block["rows"])
    return found


def text(tables: Mapping[str, Sequence[Block]]) -> str:
    """The tables for a terminal, in percent."""
    columns = dict(MEASURES)
    lines = [
        "Percent. Ours: mean over the seeds ± their standard deviation; a dash: not given; "
        "no row of ours: not run."
    ]
    for name, blocks in tables.items():
        extra = {k for b in blocks for row in b.rows for k in row.scores if k not in columns}
        shown = {**columns, **{key: key.replace("_", " ") for key in sorted(extra)}}
        width = max(len(row.label) for block in blocks for row in block.rows) + 2
        head = "".join(f"  {title:>14}" for title in shown.values())
        lines += ["", f"{name:{width}}{head}"]
        for block in blocks:
            lines.append(f"{block.recipe}: {block.summary}")
            for row in block.rows:
                cells = "".join(f"  {_cell(row.scores.get(key)):>14}" for key in shown)
                seeds = ", ".join(map(str, row.seeds))
                note = row.source or f"seed{'s' * (len(row.seeds) > 1)} {seeds}"
                lines.append(f"  {row.label:{width - 2}}{cells}  {note}")
    return "\n".join(lines)


def _cell(score: tuple[float, float | None] | None) -> str:
    if score is None:
        return "–"
    value, spread = score
    return f"{100 * value:.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")
