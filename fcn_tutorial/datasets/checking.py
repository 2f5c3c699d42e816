"""Is this copy of a data set whole? Counts, label histograms, unreadable files, leaking splits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets import leakage
from fcn_tutorial.datasets.source import Findings, Source
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.datasets.writers import MARKER
from fcn_tutorial.files import number_of

__all__ = ["Report", "Split", "check", "check_splits"]

_SHOWN = 20  # faults that a report lists before it counts the others
_PAIRS = 3  # the same for pairs of images in two splits


@dataclass(frozen=True)
class Split:
    """What was found in one split.

    Attributes:
        images: how many it lists.
        expected: how many are published, or None.
        pixels: (256,) int64, pixels of each label in the readable masks, void at 255; None where
            only counted.
        faults: what is wrong with single items.
    """

    images: int
    expected: int | None = None
    pixels: NDArray[np.int64] | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What was found in a data set; `str` of it is a page to read.

    Attributes:
        leaks: images that two splits share.
        unopened: splits that could not be opened, and why. notes: what is worth knowing, but not
            wrong.
        values: what the values of the labels were taken for, where that was to be found out.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    leaks: tuple[str, ...] = ()
    unopened: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    values: Findings = field(default_factory=Findings)

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything wrong, one line each."""
        counts = [
            f"{name}: {number_of(split.images, 'image')}, published are {split.expected:,}"
            for name, split in self.splits.items()
            if split.expected is not None and split.images != split.expected
        ]
        faults = []
        for name, split in self.splits.items():
            faults += [f"{name}: {fault}" for fault in split.faults[:_SHOWN]]
            if (more := len(split.faults) - _SHOWN) > 0:
                faults.append(f"{name}: {more} more unreadable items")
        return (*self.values.problems, *self.unopened, *counts, *faults, *self.leaks)

    def __str__(self) -> str:
        lines = [*self.values.lines, ""] if self.values.lines else []
        for name, split in self.splits.items():
            if split.expected is None:
                lines.append(f"{name}: {number_of(split.images, 'image')}")
            else:
                lines.append(f"{name}: {split.images:,} of {split.expected:,} images")
        if self.splits:
            lines += ["", *self._histogram()]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"problem: {problem}" for problem in self.problems]
        if not self.problems:
            lines.append("no problems found")
        return "\n".join(lines)

    def _histogram(self) -> list[str]:
        """Percent of the labelled pixels by class and split, and void's percent of all."""
        read = {n: s.pixels for n, s in self.splits.items() if s.pixels is not None}
        label = max(18, *map(len, self.classes)) if self.classes else 18
        lines = ["percent of pixels".ljust(label) + "".join(f"  {name:>9}" for name in read)]
        scored = {name: max(1, int(pixels[:255].sum())) for name, pixels in read.items()}
        for index, name in enumerate(self.classes):
            cells = [f"  {100 * int(p[index]) / scored[n]:>9.3f}" for n, p in read.items()]
            lines.append(name.ljust(label) + "".join(cells))
        whole = [f"  {100 * int(p[255]) / max(1, int(p.sum())):>9.3f}" for p in read.values()]
        return [*lines, "void, of all".ljust(label) + "".join(whole), ""]


def check(source: Source, spec: Data, data: Path | str | None, split: str | None = None) -> Report:
    """Check a data set, or one split of it, against its published numbers, reading every file.

    spec: what is read of it, see `Source.settings`. data: its folder, as `Source.root` takes it.

    Raises:
        ValueError, OSError: where nothing of it can be opened; all else is in the report.
    """
    folder = None if data is None else Path(data)
    try:
        values = source.described(spec, folder) if split is None else Findings()
    except (ValueError, OSError) as error:
        others = [fault for fault in source.unfit(spec, folder) if fault != str(error)]
        if not others:
            raise
        return Report((), {}, unopened=(str(error), *others))
    if values.problems:  # what the labels mean is not plain yet: their shares would say nothing
        return Report((), {}, unopened=source.unfit(spec, folder), values=values)
    opened: dict[str, Any] = {}
    failed: dict[str, ValueError | OSError] = {}
    names = source.checked(spec) if split is None else (split,)
    for name in names:
        try:
            opened[name] = source.read(spec, name, folder)
        except (ValueError, OSError) as error:
            failed[name] = error
    if not opened:
        raise next(iter(failed.values()))
    parts = source.disjoint(spec) if split is None else names
    found = check_splits(opened, parts, source.counts)
    said = {name: f"{name} cannot be opened: {error}" for name, error in failed.items()}
    notes = [text for name, text in said.items() if name in source.optional]
    unopened = [text for name, text in said.items() if name not in source.optional]
    return dataclasses.replace(
        found, unopened=(*unopened,), notes=(*notes, *found.notes), values=values
    )


def check_splits(
    datasets: Mapping[str, Any], parts: Sequence[str], counts: Mapping[str, int] | None = None
) -> Report:
    """Check opened splits by name. `parts`, which must not share an image, are read in full.

    Args:
        counts: images that each split should have, where known; not asked of generated pictures,
            which `datasets.writers` marks.
    """
    generated = [name for name, data in datasets.items() if _is_generated(data)]
    expected = {n: count for n, count in (counts or {}).items() if n not in generated}
    splits: dict[str, Split] = {}
    digests: dict[str, dict[bytes, str]] = {}
    classes = next((tuple(data.classes) for data in datasets.values()), ())
    readable: dict[str, list[int]] = {}
    for name, data in datasets.items():
        if name not in parts:
            splits[name] = Split(len(data), expected.get(name))
            continue
        pixels, faults, digests[name], readable[name] = _read(name, data)
        splits[name] = Split(len(data), expected.get(name), pixels, tuple(faults))
    leaks = []
    names = list(digests)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            pair = [(datasets[n], digests[n], readable[n]) for n in (first, second)]
            if found := _shared(*pair):
                shown = "; ".join(sorted(f"{a} = {b}" for b, a in found.items())[:_PAIRS])
                shared = number_of(len(found), "image")
                leaks.append(f"{first} and {second} share {shared}: {shown}")
    notes = _unused(classes, splits)
    if generated:
        notes.insert(0, f"generated pictures ({MARKER}): counts are not compared with published")
    return Report(classes, splits, tuple(leaks), notes=tuple(notes))


def _is_generated(data: Any) -> bool:
    root = getattr(data, "root", None)
    return isinstance(root, Path) and (root / MARKER).is_file()


def _read(name: str, data: Any) -> tuple[NDArray[np.int64], list[str], dict[bytes, str], list[int]]:
    """Read every item: label counts, faults, a digest of each image, and the readable items."""
    from tqdm import tqdm

    pixels = np.zeros(256, np.int64)
    faults: list[str] = []
    digests: dict[bytes, str] = {}
    readable: list[int] = []
    # Decoding runs beside this thread, but for data sets in one file, whose library takes turns.
    workers = min(4, os.cpu_count() or 1) if hasattr(data, "files") else 1
    with ThreadPoolExecutor(workers) as pool:
        items = pool.map(lambda index: _read_item(data, index), range(len(data)))
        for index, item in enumerate(
            tqdm(items, f"reading {name}", len(data), unit="img", leave=False, disable=None)
        ):
            if isinstance(item, str):
                faults.append(item)
                continue
            counts, digest = item
            pixels += counts
            digests.setdefault(digest, f"item {index}")
            readable.append(index)
    return pixels, faults, digests, readable


def _read_item(data: Any, index: int) -> tuple[NDArray[np.int64], bytes] | str:
    """Pixels of each label and a digest of the image, or what is wrong with the item."""
    try:
        image, mask = data[index]
    except (ValueError, OSError) as error:
        return str(error)
    counts = np.bincount(np.asarray(mask).ravel(), minlength=256)
    return counts, leakage.digest(np.asarray(image))


Read = tuple[Any, dict[bytes, str], list[int]]  # a data set, its digests, its readable items


def _shared(first: Read, second: Read) -> dict[str, str]:
    """{image of the second: the one of the first that it is}: by likeness too, where files are."""
    if not all(hasattr(data, "files") and items for data, _, items in (first, second)):
        both = first[1].keys() & second[1].keys()
        return {second[1][key]: first[1][key] for key in both}
    ours, theirs = ([data.files[i][0] for i in items] for data, _, items in (first, second))
    found = leakage.report(ours, theirs, ("pixels", "likeness"))
    return {str(overlap.evaluation): str(overlap.train) for overlap in reversed(found.overlaps)}


def _unused(classes: Sequence[str], splits: Mapping[str, Split]) -> list[str]:
    notes = []
    for name, split in splits.items():
        if split.pixels is None or not split.pixels.any():
            continue
        missing = [c for i, c in enumerate(classes) if not split.pixels[i]]
        if missing:
            notes.append(f"{name} has no pixel of {', '.join(missing)}")
    return notes
