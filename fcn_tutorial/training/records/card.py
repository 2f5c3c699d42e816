"""The model card of a run: what its record says, as a page for whoever is handed the weights.

The page is for people and holds nothing that the record does not; what programs must know of a
weights file, its classes and colours, is in the file itself (`models.Card`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fcn_tutorial.datasets.sources import SOURCES
from fcn_tutorial.metrics import MEASURES, named, of_images, shown
from fcn_tutorial.training.records.record import remarks, scored, tasks

_ABSENT = {
    "score_zero_if_predicted": "a class absent from the truth counts as zero where it is predicted",
    "truth_only": "classes absent from the truth are left out",
}


def model_card(record: Mapping[str, Any]) -> str:
    """Markdown of a record (see `run`); percent with one decimal.

    After Mitchell et al., "Model cards for model reporting", FAT* 2019: details, use, data, scores,
    limits.

    Raises:
        KeyError: for what is not a record.
    """
    return "\n".join([*_details(record), *_scores(record), *_limits(record)]) + "\n"


def _details(record: Mapping[str, Any]) -> Iterator[str]:
    settings, cost = record["settings"], record["train"]
    model, data, optimiser = (settings[part] for part in ("model", "data", "optimiser"))
    source = SOURCES.get(data["name"])  # of a record, which may know another data set
    title = source.title if source else data["name"]
    yield from (f"# {record['recipe']}, seed {record['seed']}", "")
    yield from (f"{settings['summary']}.", "")
    yield from ("| | |", "|---|---|")
    yield f"| network | {record['network'] if 'network' in record else _older(model)} |"
    steps = f"{cost['steps']:,} steps of {_batch(record)}"
    yield f"| trained on | {title}: {cost['images']:,} images, {steps} |"
    if source:
        yield f"| licence of the data | {source.licence} |"
    yield f"| started from | {_origin(cost.get('weights'))} |"
    yield f"| optimiser | {optimiser['name']}, learning rate {optimiser['lr']:g} |"
    yield f"| took | {_time(cost['seconds'])} on {record['device']}, in {cost['precision']} |"
    yield f"| made | {record['created']}, code {record['git'] or 'of no checkout'} |"
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    yield f"| with | {versions} |"
    for key, value in record["overrides"].items():
        yield f"| changed from the recipe | `{key}={value}` |"
    yield from ("", "## Use", "", "```python", "from fcn_tutorial.predict import Predictor", "")
    yield 'predictor = Predictor.load("best.safetensors")'
    yield "labels = predictor.label(image)  # RGB uint8 (3, H, W) -> class indices (H, W)"
    yield from ("```", "")


def _older(model: Mapping[str, Any]) -> str:
    """The network of a record that does not state its title."""
    one = f"FCN-{model['stride']}s on {model['backbone']}"
    return f"late fusion of two nets, {one}" if model.get("late_fusion") else one


def _scores(record: Mapping[str, Any]) -> Iterator[str]:
    splits = {name: record[name] for name in ("val", "test") if record.get(name)}
    chose = "The weights were chosen on val; test was scored once, at the end."
    if record["settings"].get("select") == "last":
        chose = "The last step's weights, whatever val said of them."
    absent = _ABSENT[next(iter(splits.values()))["absent"]]
    yield from ("## Scores", "")
    yield (
        f"Percent, one confusion matrix over the whole split; void is not scored; {absent}. {chose}"
    )
    if note := next(iter(splits.values())).get("note"):
        yield from ("", f"{note[0].upper()}{note[1:]}.")
    for task in tasks(next(iter(splits.values()))):
        yield from ("", *([f"### {task}", ""] if task else []))
        yield from _tables({name: tasks(split)[task] for name, split in splits.items()})
    if baselines := record.get("baselines"):
        (split,) = {part["split"] for part in baselines.values()}
        yield from ("", f"Without a network, on the same images ({split}):", "")
        yield from _whole(baselines, list(baselines))
    if record["published"]:
        yield from ("", "Published:", "")
        for entry in record["published"]:
            measure = named(entry["score"])
            score = f"{measure.title} {measure.text(entry['value'])}"
            yield f"- {entry['of']}: {score} ({entry['source']})"
    yield ""


def _tables(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The scores of each split, and under them those of its classes, as far as they are known."""
    found = {name: scored(split) for name, split in splits.items()}
    yield from _whole(splits, [f"{n}, {s['images']:,} images" for n, s in splits.items()])
    pairs = [(n, m) for n in found for m in shown("card", per_class=True) if m.key in found[n]]
    yield from ("", "| class | " + " | ".join(f"{m.title}, {n}" for n, m in pairs) + " |")
    yield "|---|" + "--:|" * len(pairs)
    for label in next(iter(splits.values()))["iu"]:
        cells = " | ".join(m.text(found[n][m.key].get(label)) for n, m in pairs)
        yield f"| {label} | {cells} |"


def _whole(parts: Mapping[str, Mapping[str, Any]], heads: Sequence[str]) -> Iterator[str]:
    """A table of the measures that are one number, a column for each part of a record."""
    found = [scored(part) for part in parts.values()]
    yield f"| | {' | '.join(heads)} |"
    yield "|---|" + "--:|" * len(heads)
    for m in (*shown("card"), *of_images(found)):
        if any(m.key in scores for scores in found):
            yield f"| **{m.title}** | {' | '.join(m.text(s.get(m.key)) for s in found)} |"


def _limits(record: Mapping[str, Any]) -> Iterator[str]:
    name = record["settings"]["data"]["name"]
    last = record.get("test") or record["val"]
    known = [(iu, label) for label, iu in scored(last)["iu"].items() if iu is not None]
    weak = sorted((iu, label) for iu, label in known if iu < 0.5)
    yield from ("## Limits", "")
    yield (
        f"- It knows the {len(last['iu'])} classes above and no others: every pixel gets one of "
        "them, whatever it shows."
    )
    yield f"- It was scored on {name} only. Other cameras, places and seasons are untried."
    if weak:
        worst = ", ".join(f"{label} {MEASURES['iu'].text(iu)}" for iu, label in weak)
        yield f"- Classes below half in IU on {last['split']}: {worst}."
    if not record.get("test"):
        yield "- No test images: the scores above are of the images that chose the weights."
    for note in record.get("notes", ()):
        yield f"- Noted while it ran: {note}"
    for remark in remarks(record, "card"):
        yield f"- Of an older time: {remark}."


def _batch(record: Mapping[str, Any]) -> str:
    batch, processes = record["settings"]["batch"], record["train"].get("processes", 1)
    return f"{batch}" if processes == 1 else f"{batch} in each of {processes} processes"


def _origin(weights: Mapping[str, Any] | None) -> str:
    if weights is None:
        return "not recorded"
    names = [f"`{file['name']}`" for file in weights["files"]]
    return f"{weights['kind']} weights" + (f": {', '.join(names)}" if names else "")


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 300 else f"{seconds / 60:.0f} min"
