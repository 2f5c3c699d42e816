"""Every published score that this package knows, and ours, as single figures with their source.

What belongs to a recipe comes from the recipes, what was measured here from records. What others
measured of methods that have no recipe, and what we measured without a record, is in
`results/literature.json`, which travels with the package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from fcn_tutorial import assets
from fcn_tutorial.metrics import MEASURES, named
from fcn_tutorial.training.records import results
from fcn_tutorial.training.records.record import Record

__all__ = ["BY", "Figure", "figures"]

#: Who measured what: methods before FCN, FCN's authors, ports of their networks, others, we.
By = Literal["before", "authors", "port", "others", "ours"]
BY: tuple[By, ...] = ("before", "authors", "port", "others", "ours")
#: Measures that no confusion matrix gives, with what their numbers are.
_OTHERS = {
    "milliseconds": "ms an image",
    "boundary_f1": "boundary F1",
    "geometric_pixel_accuracy": "pixel accuracy, 3 geometric classes",
}
_CARRIED = "CVPR 2015", "reference README"  # sources of recipes' scores that are the authors' own
#: What recipes say of the images that a score belongs to, and what these are called here.
_IMAGES = {
    r"\(736 images\)": "VOC 2011 seg11valid",
    r"VOC2012 test": "VOC 2012 test",
    r"VOC2012 val": "VOC 2012 val",
    r"VOC2011 val": "VOC 2011 val",
    r"^nyud": "NYUDv2 test",
    r"^siftflow": "SIFT Flow test",
    r"PAMI 2017, Tables": "CamVid test, trained on 3,433 images",
    r"^camvid": "CamVid test, 360×480",
    r"^isbi-em": "ISBI EM 2012 test",
}
#: What is the same of ours, which records name by data set, split and number of images.
_SAME = {
    "voc: val, 736 images": "VOC 2011 seg11valid",
    "nyud: test, 654 images": "NYUDv2 test",
    "siftflow: test, 200 images": "SIFT Flow test",
    "camvid: test, 233 images": "CamVid test, 360×480",
}


@dataclass(frozen=True)
class Figure:
    """One number and where it is from.

    Attributes:
        images: what it was measured on.
        method: what was measured.
        measure: a key of `metrics.MEASURES`, or one of published scores.
        value: in percent where the measure is a share, as sources print it.
        by: who measured it, see `BY`.
        source: where it stands; of ours, whose record it is, or that there is none.
        spread: standard deviation over `seeds` of ours, where there are several.
    """

    images: str
    method: str
    measure: str
    value: float
    by: By
    source: str
    spread: float | None = None
    seeds: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """The measure in words."""
        return _OTHERS.get(self.measure) or named(self.measure).title

    @property
    def text(self) -> str:
        """The value with the digits of its source; ours with one decimal and the deviation."""
        if self.by == "ours":
            spread = "" if self.spread is None else f" ± {self.spread:.1f}"
            return f"{self.value:.1f}{spread}"
        digits = 0 if self.measure == "milliseconds" and self.value >= 10 else 1
        return f"{self.value:,.{digits}f}" if digits == 0 else _shortest(self.value)


def _shortest(value: float) -> str:
    """At least one decimal, and as many as there are."""
    return next(t for n in range(1, 9) if float(t := f"{value:.{n}f}") == round(value, 8))


def figures(records: Iterable[Record] | None = None) -> list[Figure]:
    """All of them; a number that several recipes carry stands once.

    records: those of ours; None: see `results.find`.
    """
    found = [*_carried(results.find() if records is None else records), *_read()]
    return list(dict.fromkeys(sorted(found, key=_order)))


def _order(figure: Figure) -> tuple[str, int, str, str]:
    return figure.images, BY.index(figure.by), figure.method, figure.measure


def _carried(records: Iterable[Record]) -> Iterator[Figure]:
    """Those of recipes and of records."""
    for dataset, blocks in results.collect(records).items():
        for block in blocks:
            for row in block.rows:
                images, by, method, source = _row(dataset, block.recipe, row)
                for key, (value, spread) in row.scores.items():
                    deviation = None if spread is None else 100 * spread
                    yield Figure(images, method, key, round(100 * value, 8), by, source, deviation,
                                 row.seeds)  # fmt: skip


def _row(dataset: str, recipe: str, row: results.Row) -> tuple[str, By, str, str]:
    """(images, by, method, source) of a row."""
    if row.seeds:
        _, _, on = row.label.partition("ours, ")
        images = f"{dataset}: {on}"
        return _SAME.get(images, images), "ours", recipe, f"record of {recipe}"
    said = f"{dataset}, {row.label}, {row.source}"
    images = next((name for pattern, name in _IMAGES.items() if re.search(pattern, said)), dataset)
    by: By = "authors" if row.source.startswith(_CARRIED) else "others"
    if "port" in row.label:
        by = "port"
    elif row.label.startswith("Ciresan"):
        by = "before"
    return images, by, row.label.split(", VOC20")[0], row.source.split(", VOC20")[0]


def _read() -> Iterator[Figure]:
    """Those of `results/literature.json`.

    Raises:
        ValueError: for a measure that is not known.
    """
    path = assets.path("results/literature.json")
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        for measure, value in row["scores"].items():
            if measure not in {*MEASURES, *_OTHERS}:
                raise ValueError(f"{path}: {measure} is no measure")
            yield Figure(row["images"], row["method"], measure, value, row["by"], row["source"])
