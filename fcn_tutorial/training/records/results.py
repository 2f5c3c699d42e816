"""Published, reference port and ours, side by side: tables made from records.

A table is a data set's; it has a block a recipe, with a row for each published line that the recipe
carries and a row for what was run here: the mean over the seeds, and their standard deviation.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_tutorial import assets
from fcn_tutorial.datasets import sources
from fcn_tutorial.metrics import ImageMeasure, Measure, named, of_images, over_seeds, shown
from fcn_tutorial.training import recipes
from fcn_tutorial.training.recipes.recipe import Recipe
from fcn_tutorial.training.recipes.settings import agree, changed, from_dict
from fcn_tutorial.training.records.record import Record, read, remarks, scored


@dataclass(frozen=True)
class Row:
    """One line: a label, and by measure (value, standard deviation over seeds or None).

    Attributes:
        seeds: of the runs behind it; empty for a published line, whose `source` says where it
            stands.
        remarks: what must be known of the runs (see `record.remarks`).
    """

    label: str
    scores: Mapping[str, tuple[float, float | None]]
    source: str = ""
    seeds: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """A recipe and its rows, published ones first."""

    recipe: str
    summary: str
    rows: tuple[Row, ...]


def find(folders: Sequence[Path] = ()) -> list[Record]:
    """The records in run folders, in folders of them, or in files.

    Without any: those that travel with the package, and those in `runs`.

    Raises:
        FileNotFoundError: for a path that is not there.
        ValueError: for a file that is not a record and for a folder without one.
    """
    records, faults = find_sound(folders)
    if faults:
        raise faults[0]
    return records


def find_sound(folders: Sequence[Path] = ()) -> tuple[list[Record], list[ValueError]]:
    """As `find`; an error for each file that is no record, beside the records of the others."""
    records, faults = [], []
    for path in _paths(folders):
        try:
            records.append(_shown(path))
        except ValueError as error:
            faults.append(error)
    return records, faults


def _shown(path: Path) -> Record:
    """The record in a file.

    Raises:
        ValueError: naming a file that cannot be shown.
    """
    record = read(path)
    try:
        text(collect([record]))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: not the record of a run ({error})") from error
    return record


def _paths(folders: Sequence[Path]) -> list[Path]:
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
    return list(dict.fromkeys(paths))


def _inside(folder: Path) -> list[Path]:
    own = folder / "record.json"
    return [own] if own.is_file() else sorted(folder.glob("*/record.json"))


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
    """A row for the runs, scored on the same split, that differ in nothing but their seed."""
    groups: list[tuple[str, list[Record]]] = []
    for record in records:
        split = "test" if record.get("test") else "val"
        for of, group in groups:
            if of == split and _differ_in_seed(record, group[0]):
                group.append(record)
                break
        else:
            groups.append((split, [record]))
    for split, several in groups:
        by_seed = {record["seed"]: record for record in several}
        parts = [record[split] for record in by_seed.values()]
        data = from_dict(several[0]["settings"]).data
        seen = sources.get(data.name).seen(data)
        label = f"ours, {split}, {parts[0]['images']:,} images{seen}"
        if not several[0]["overrides"] and changed(several[0]["settings"], recipe):
            label += ", settings before today's"
        changes = ", ".join(f"{k}={v}" for k, v in several[0]["overrides"].items())
        if changes:
            label += f" ({changes})"
        scores = _over_seeds([scored(part) for part in parts])
        if geometric := [p["tasks"]["geometric"] for p in parts if "tasks" in p]:
            others = _over_seeds([scored(part) for part in geometric])
            scores["geometric_pixel_accuracy"] = others["pixel_accuracy"]
        said = [r for record in by_seed.values() for r in remarks(record, "results")]
        yield Row(label, scores, seeds=tuple(sorted(by_seed)), remarks=tuple(dict.fromkeys(said)))


def _differ_in_seed(one: Record, other: Record) -> bool:
    """Whether two runs of a recipe have the same settings, as far as both records state them."""
    same = one["overrides"] == other["overrides"]
    return bool(same and agree(one["settings"], other["settings"]))


def _over_seeds(runs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float | None]]:
    """{measure: (mean, deviation)} of those that are shown and that the runs' scores have."""
    rows = [*shown("results"), *of_images(runs)]
    found = {m.key: over_seeds([scores.get(m.key) for scores in runs]) for m in rows}
    return {key: (mean, spread) for key, (mean, spread) in found.items() if mean is not None}


def as_dict(tables: Mapping[str, Sequence[Block]]) -> dict[str, Any]:
    """Plain JSON types, nested as the dataclasses are; a score is {"value": …, "spread": …}."""
    nested = {name: [dataclasses.asdict(b) for b in blocks] for name, blocks in tables.items()}
    found: dict[str, Any] = json.loads(json.dumps(nested))
    for row in (row for blocks in found.values() for block in blocks for row in block["rows"]):
        row["scores"] = {
            key: {"value": value, "spread": spread}
            for key, (value, spread) in row["scores"].items()
        }
    return found


def text(tables: Mapping[str, Sequence[Block]]) -> str:
    """The tables for a terminal, in percent."""
    columns: dict[str, Measure | ImageMeasure] = {m.key: m for m in shown("results")}
    lines = [
        "Percent. Ours: mean over the seeds ± their standard deviation; a dash: not given; "
        "no row of ours: not run."
    ]
    for name, blocks in tables.items():
        extra = {k for b in blocks for row in b.rows for k in row.scores if k not in columns}
        here = {**columns, **{key: named(key) for key in sorted(extra)}}
        width = max(len(row.label) for block in blocks for row in block.rows) + 2
        head = "".join(f"  {measure.title:>14}" for measure in here.values())
        lines += ["", f"{name:{width}}{head}"]
        for block in blocks:
            lines.append(f"{block.recipe}: {block.summary}")
            for row in block.rows:
                pairs = ((m, row.scores.get(key, (None, None))) for key, m in here.items())
                cells = "".join(f"  {m.text(*pair):>14}" for m, pair in pairs)
                seeds = ", ".join(map(str, row.seeds))
                note = row.source or f"seed{'s' * (len(row.seeds) > 1)} {seeds}"
                lines.append(f"  {row.label:{width - 2}}{cells}  {note}")
                lines += [f"    note: {remark}" for remark in row.remarks]
    return "\n".join(lines)
