"""Write what README.md, data/README.md and two pages of the book state from where it is known.

python -m tools.readme            stamp chapters, scores, data sets, weeks between their markers
python -m tools.readme --picture RUN_FOLDER   draw book/_static/scenes.webp from a scenes run
"""

import argparse
import io
import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fcn_tutorial.metrics import ImageMeasure, Measure, Place, of_images, over_seeds, shown
from fcn_tutorial.training.records.record import remarks, scored
from tools import gpu_table, syllabus
from tools.chapter_form import listed_pages
from tools.project import ROOT

README = ROOT / "README.md"
DATA_README = ROOT / "data" / "README.md"
INTRO = ROOT / "book" / "intro.md"
TEACHING = ROOT / "book" / "teaching.md"
PICTURE = ROOT / "book" / "_static" / "scenes.webp"


def records(root: Path, dataset: str) -> list[dict[str, Any]]:
    """The committed records of a data set, by file name."""
    paths = sorted((root / "data" / "results" / dataset).glob("*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def scores_block(root: Path = ROOT) -> str:
    """The tables of scores, from the records in data/results."""
    titles = {
        "scenes": "generated scenes, 12 classes, 200 test images",
        "camvid": "CamVid, 11 classes, 233 test images",
        "isbi-em": "ISBI 2012, 5 held-out frames; quoted: the challenge's own",
    }
    found = {title: records(root, name) for name, title in titles.items()}
    # One head or two, on smaller scenes: a table of their own, since others' scores do not compare.
    every = found[titles["scenes"]]
    small = [r for r in every if r["settings"]["data"]["crop"] == [64, 64]]
    found[titles["scenes"]] = [r for r in every if r not in small]
    found["generated scenes of 64×64, one head or two (`both`: its semantic one)"] = small
    tables = ["\n".join(_table(title, mine)) for title, mine in found.items() if mine]
    remarked = _remarked([r for mine in found.values() for r in mine], "recipe", "readme")
    return "\n".join(["\n\n".join(tables), *remarked])


def _table(title: str, found: list[dict[str, Any]]) -> Iterator[str]:
    """A row a recipe, one a baseline, and one for each line that the recipes quote."""
    of_one = of_images([record["test"] for record in found])
    columns: list[Measure | ImageMeasure] = [*shown("readme"), *of_one]
    yield f"| {title} | seeds | {' | '.join(m.title for m in columns)} | training |"
    yield "|---" * (3 + len(columns)) + "|"
    yield from _rows(found, columns)
    with_baselines = [record["baselines"] for record in found if "baselines" in record]
    for name in with_baselines[0] if with_baselines else ():
        parts = [baselines[name] for baselines in with_baselines]
        yield f"| baseline: {name} | {len(parts)} | {' | '.join(_cells(parts, columns))} | |"
    quoted: dict[tuple[str, str], dict[str, float]] = {}
    for record in found:
        for entry in record["published"]:
            scores = quoted.setdefault((entry["of"], entry["source"]), {})
            scores[entry["score"]] = entry["value"]
    for (what, source), scores in quoted.items():
        cells = " | ".join(measure.text(scores.get(measure.key)) for measure in columns)
        yield f"| {what}: {source} | | {cells} | |"


def _rows(found: list[dict[str, Any]], columns: Sequence[Measure | ImageMeasure]) -> Iterator[str]:
    """A row a recipe, in the order of the recipes: the mean over its seeds and their spread."""
    from fcn_tutorial.training import RECIPES

    for name in RECIPES:
        several = [record for record in found if record["recipe"] == name]
        if not several:
            continue
        first, *others = _cells([r["test"] for r in several], columns)
        training = f"{several[0]['train']['epochs']} epochs, {_times(several)}"
        if coarser := several[0]["settings"].get("coarser"):
            training += f", after `{coarser}`"
        cells = " | ".join([f"**{first}**", *others])
        yield f"| `{name}` | {len(several)} | {cells} | {training} |"


def _named(device: str) -> str:
    """The device of a record; older records say "1 threads"."""
    return re.sub(r"\b1 threads$", "1 thread", device)


def _times(several: list[dict[str, Any]]) -> str:
    """The mean time on each device, and what else was special about the runs there."""
    by_device: dict[str, list[dict[str, Any]]] = {}
    for record in several:
        by_device.setdefault(record["device"], []).append(record["train"])
    told = []
    for device, costs in by_device.items():
        seconds = statistics.fmean(cost["seconds"] for cost in costs)
        took = f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
        together, frames = costs[0].get("runs_together", 1), costs[0].get("frames", "")
        beside = f", {together} runs at a time" if together > 1 else ""
        recoded = f" ({frames})" if frames else ""
        told.append(f"{took} on {_named(device)}{beside}{recoded}")
    return "; ".join(told)


def _cells(
    parts: Sequence[Mapping[str, Any]], columns: Sequence[Measure | ImageMeasure]
) -> list[str]:
    """Of one split of several runs, each measure's mean and standard deviation."""
    found = [scored(part) for part in parts]
    return [m.text(*over_seeds([s.get(m.key) for s in found])) for m in columns]


def _remarked(found: Sequence[Mapping[str, Any]], by: str, place: Place | None = None) -> list[str]:
    """A line for each remark on records, with those that it is on: their values of `by`."""
    concerned: dict[str, list[str]] = {}
    for record in found:
        for remark in remarks(record, place):
            concerned.setdefault(remark, []).append(f"`{record[by]}`")
    return [
        line
        for remark, names in concerned.items()
        for line in ("", f"{', '.join(dict.fromkeys(names))}: {remark}.")
    ]


def chapters_block(root: Path = ROOT, seen_from: str = ".") -> str:
    """A row for each chapter in the table of contents, with the question it answers."""
    lines = ["| chapter | question it answers |", "|---|---|"]
    for page in listed_pages(root):
        path = root / f"{page}.ipynb"
        if not path.exists():
            continue
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        head = "\n".join("".join(cell["source"]) for cell in cells[:3])
        title = re.search(r"^# (.+)$", head, re.M)
        question = re.search(r"\*\*Question\*\* \| (.+?) \|", head)
        if title is None or question is None:
            raise ValueError(f"{path}: no title or no question in its first cells")
        number = int(path.name[:2])
        link = PurePosixPath(f"{page}.ipynb").relative_to(seen_from)
        lines.append(f"| {number}. [{title[1]}]({link}) | {question[1]} |")
    return "\n".join(lines)


def data_sets_block() -> str:
    """A section for each data set that has files, from the catalogue."""
    from fcn_tutorial.datasets.sources import SOURCES

    lines: list[str] = []
    for entry in SOURCES.values():
        if not entry.files:
            continue
        images = ", ".join(f"{split} {count:,}" for split, count in entry.counts.items())
        lines += [
            f"### `{entry.name}`: {entry.title}",
            "",
            f"- {entry.classes} classes; images: {images}; {entry.disk:.1f} GB on disk, about.",
            f"- Licence: {entry.licence}.",
            f"- Source: {entry.address}",
            f"- Cite: {entry.citation}",
            f"- Folder: `{entry.folder}/`; `fcn-tutorial data download {entry.name} --to DIR`.",
            *([f"- Note: {entry.note}."] if entry.note else []),
            "",
            "| file | bytes | md5 |",
            "|---|---|---|",
        ]
        for remote in entry.files:
            size = f"{remote.size:,}" if remote.size else "not known"
            checksum = f"`{remote.md5}`" if remote.md5 else "not known"
            lines.append(f"| [{remote.name}]({remote.urls[0]}) | {size} | {checksum} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def kept_block(root: Path = ROOT) -> str:
    """A row for each file that is committed here, with the command that made it."""
    from safetensors import safe_open

    lines = ["| file | made by | on |", "|---|---|---|"]
    for path in sorted((root / "data" / "weights").glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            script = (file.metadata() or {})["made by"]
        name = path.relative_to(root / "data")
        lines.append(
            f"| `{name.as_posix()}`, {path.stat().st_size:,} bytes | `python {script}` | |"
        )
    kept = []
    for path in sorted((root / "data" / "results").glob("*/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        made = f"fcn-tutorial train {record['recipe']} --seed {record['seed']}"
        if record["settings"].get("coarser"):
            made += " --staged"
        if record["settings"]["data"]["name"] != "scenes":
            made += " --data DIR"
        model = record["settings"]["model"]
        if model.get("weights") or model.get("backbone", "tiny") != "tiny":  # old ones name no file
            made += " --weights FILE"
        name = path.relative_to(root / "data")
        lines.append(
            f"| `{name.as_posix()}` | `{made}` "
            f"| {_named(record['device'])}, {record['created'][:10]} |"
        )
        kept.append({**record, "file": name.as_posix()})
    return "\n".join([*lines, *_remarked(kept, "file")])


def stamped(text: str, root: Path = ROOT) -> str:
    """README with its blocks as they should be. Raises ValueError for a missing marker."""
    blocks = {
        "scores": scores_block(root),
        "chapters": chapters_block(root),
        "gpu": gpu_table.block(root),
    }
    return stamp(text, blocks, "README.md")


def stamped_data(text: str, root: Path = ROOT) -> str:
    """data/README.md with both blocks as they should be. Raises ValueError likewise."""
    blocks = {"data sets": data_sets_block(), "kept": kept_block(root)}
    return stamp(text, blocks, "data/README.md")


def stamped_intro(text: str, root: Path = ROOT) -> str:
    """book/intro.md with its table of chapters. Raises ValueError likewise."""
    return stamp(text, {"chapters": chapters_block(root, "book")}, "book/intro.md")


def stamped_teaching(text: str, root: Path = ROOT) -> str:
    """book/teaching.md with its weeks. Raises ValueError likewise."""
    return stamp(text, syllabus.blocks(root), "book/teaching.md")


def stamp(text: str, blocks: dict[str, str], where: str, tool: str = "tools/readme.py") -> str:
    """A page with its blocks between their markers; `tool` is named in them.

    Raises ValueError for a missing marker.
    """
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: made by {tool} -->", f"<!-- end {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"{where} lacks the markers {begin} and {end}")
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n{block}\n{end}{after}"
    return text


def draw_picture(run: Path) -> None:
    """Three held-out scenes, their truth, what the run's network says, and its errors."""
    from PIL import Image

    from fcn_tutorial import models, visualize
    from fcn_tutorial.datasets import Scenes

    model, card = models.load(run / "best.safetensors")
    scenes = Scenes(n=9, split="test", size=(128, 192))
    samples = []
    for i in (0, 4, 8):
        image, mask = scenes[i]
        samples.append((image, mask, model.predict(image)))
    buffer = io.BytesIO()
    visualize.prediction_sheet(
        samples,
        card.classes,
        card.palette,
        buffer,
        transparent=True,
    )
    Image.open(buffer).save(PICTURE, quality=80, method=6)


def main() -> None:
    """Stamp the four files, or draw the picture of README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, metavar="RUN_FOLDER")
    options = parser.parse_args()
    if options.picture:
        draw_picture(options.picture)
        return
    for path, renewed in (
        (README, stamped),
        (DATA_README, stamped_data),
        (INTRO, stamped_intro),
        (TEACHING, stamped_teaching),
    ):
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
