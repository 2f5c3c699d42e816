"""What somebody's masks hold, counted: every value or colour, on how many pixels of how many masks.

Labels have no order: a pixel of class 3 does not lie between classes 1 and 5 because 3 does. Masks
that were saved as JPEG or resized smoothly show it: values that hardly ever fill a patch of 3×3
pixels, or borders that run through the numbers between two labels. `doubt` looks for both.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_tutorial.datasets.formats.images import read_index_image, read_painted
from fcn_tutorial.datasets.own.mask_files import Colour, code, coded, distance, mask_mode

MOST_COLOURS = 1 << 12  # of one mask; more are no labels, and are not counted one by one
FEWEST_LEVELS = 64  # numbers below are classes, however few pixels they have
_LEAST = 20  # single pixels on borders that are needed for an answer
_BLOCK = 1 << 8  # rows that are counted at a time where colours are many
_ROWS = 32  # rows of a mask in which neighbours are compared
_SOLID = 0.1  # a value is a label if this share of its pixels lies within 3×3 equal ones
_PATCH = 9  # pixels within 3×3 equal ones, of those looked at, that make a patch
_NEAR = 40  # grey levels by which JPEG moves a value
_COUNTS = ("pixels", "masks", "looked", "solid")
_ALONE = 0.99  # share of the pixels in patches that labels have where blur is all the rest
_RARE = 5e-4  # share of the pixels below which a value is no centre of others


@dataclass
class Survey:
    """What a set of masks holds.

    coloured: whether `pixels` counts colours, as red·65536 + green·256 + blue, or numbers. pixels,
    masks: of each value, how many pixels and how many masks have it. looked, solid: of each value,
    the pixels whose neighbours were looked at, and those whose eight neighbours are equal to it.
    between: of each number, how often a single pixel of it separates two others, one above and one
    below it; beyond: how often a single pixel separates two others otherwise; jumps: how often two
    numbers touch that do not follow each other. transparent: pixels without a colour of their own,
    which count as black. palettes: masks of which numbers were counted, though they have colours.
    crowded: masks of more than `MOST_COLOURS` colours,
    of which only solid ones are counted. blurred: masks that are no label images for themselves.
    faults: files that could not be read, and why.
    """

    coloured: bool = False
    pixels: Counter[int] = field(default_factory=Counter)
    masks: Counter[int] = field(default_factory=Counter)
    looked: Counter[int] = field(default_factory=Counter)
    solid: Counter[int] = field(default_factory=Counter)
    between: Counter[int] = field(default_factory=Counter)
    beyond: int = 0
    jumps: int = 0
    read: int = 0
    transparent: int = 0
    palettes: int = 0
    crowded: list[Path] = field(default_factory=list)
    blurred: list[Path] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Pixels of all masks."""
        return self.pixels.total()

    @property
    def values(self) -> list[int]:
        """Every value found, the most frequent first."""
        return [value for value, _ in self.pixels.most_common()]

    def add(self, other: Survey) -> None:
        """Count another survey in; one of colours and one of numbers is one of colours."""
        if self.coloured != other.coloured:
            for part in (self, other):
                part.as_colours()
        for name in (*_COUNTS, "between"):
            getattr(self, name).update(getattr(other, name))
        for name in ("beyond", "jumps", "read", "transparent", "palettes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.crowded += other.crowded
        self.blurred += other.blurred
        self.faults += other.faults

    def as_colours(self) -> None:
        """Numbers become the greys that they are in a picture."""
        if self.coloured:
            return
        self.coloured, self.beyond, self.jumps = True, 0, 0
        self.between.clear()
        for name in _COUNTS:
            counts = getattr(self, name)
            setattr(self, name, Counter({grey * 0x010101: n for grey, n in counts.items()}))

    def labels(self) -> list[int]:
        """Values that fill patches, the most frequent first: what was labelled, not its blur."""
        return [
            value
            for value in self.values
            if self.solid[value] >= max(1, _SOLID * self.looked[value])
        ]

    def centres(self) -> list[int]:
        """The labels that others cluster around, the most frequent first."""
        found: list[int] = []
        for value in self.labels():
            if self.pixels[value] >= _RARE * self.total and all(
                distance(value, centre, self.coloured) > _NEAR**2 for centre in found
            ):
                found.append(value)
        return found

    def is_crowded_together(self) -> bool:
        """Whether numbers that fill patches lie closer than JPEG moves a value.

        Around a label that stands alone nothing but blur is found, which fills no patches to speak
        of; no nearest label is to be had where another lies in its blur.
        """
        if self.coloured:
            return False
        centres, labels = self.centres(), self.labels()
        solid = self.solid.total()
        apart = sum(self.solid[centre] for centre in centres)
        return len(labels) > len(centres) and (len(centres) < 2 or apart < _ALONE * solid)

    def patches(self, others: Sequence[int]) -> list[int]:
        """Values far from all `others` that fill patches, however few: no blur has made them."""
        return [
            value
            for value in self.labels()
            if self.solid[value] >= _PATCH
            and all(distance(value, other, self.coloured) > _NEAR**2 for other in others)
        ]

    def is_smooth(self) -> bool:
        """Whether borders run through the numbers between two labels, as after smooth resizing.

        A label that is a line everywhere, such as a drawn outline, is not taken for that.
        """
        return self.lines_borders(set(self.labels()))

    def lines_borders(self, values: Set[int]) -> bool:
        """Whether single pixels of these numbers lie on borders, between what is above and below.

        Thin things lie between two equal labels as well, or beside a third.
        """
        between = sum(n for value, n in self.between.items() if value in values)
        return between >= max(_LEAST, 3 * self.beyond, (between + self.jumps) / 5)

    def is_plainly_blurred(self) -> bool:
        """Whether there is hardly another answer, though this be a single mask."""
        labels, values = len(self.labels()), len(self.values)
        most = labels > 0 and values - labels >= max(16, 4 * labels)
        if self.coloured:
            return most or bool(self.crowded)
        far = most and max(self.values) >= FEWEST_LEVELS
        return far or (self.between.total() > 2 * _LEAST and self.is_smooth())


def survey(masks: Sequence[Path], *, colours: bool = False, title: str = "") -> Survey:
    """Read every mask once and count what it holds.

    Masks that were counted before and have kept their size and time are not read again: each split
    of a folder asks for all of them. The answer is not to be changed.

    Args:
        masks: the files.
        colours: count the colours that a viewer shows, those of a palette too; otherwise numbers in
            palette and grey masks and in RGB with equal channels, and colours in others.
        title: of a bar on a terminal; "" for none.

    Unreadable masks are listed in `faults`.
    """
    return _survey(tuple((path, *_state(path)) for path in masks), bool(colours), title)


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # a name no file can have, or a file that is gone
        return 0, 0
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=4)
def _survey(masks: tuple[tuple[Path, int, int], ...], colours: bool, title: str) -> Survey:
    from tqdm import tqdm

    found = Survey(coloured=colours)
    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        counted = pool.map(lambda mask: _count(mask[0], colours), masks)
        bar = tqdm(counted, title, len(masks), leave=False, unit="mask", disable=not title or None)
        for part in bar:
            found.add(part)
    return found


def survey_numbers(values: NDArray[np.integer], path: Path) -> Survey:
    """The survey of one mask of numbers (H, W)."""
    found = Survey(read=1)
    for row in _rows(len(values)):
        _look_at_rows(found, values[row - 1 : row + 2])
    counts = np.bincount(values.ravel(), minlength=256)
    found.pixels.update({int(value): int(counts[value]) for value in np.flatnonzero(counts)})
    return _finished(found, path)


def survey_picture(pixels: NDArray[np.uint8], path: Path, *, colours: bool = True) -> Survey:
    """The survey of one mask (H, W, 3), of colours.

    Not so where its channels are equal and not `colours` but numbers are asked for.
    """
    # Pillow counts a million pixels in 2 ms and gives up at once where there are too many.
    counted = cast(
        "list[tuple[int, Colour]] | None", Image.fromarray(pixels).getcolors(MOST_COLOURS)
    )
    if not colours and counted is not None and all(r == g == b for _, (r, g, b) in counted):
        return survey_numbers(pixels[..., 0], path)
    found = Survey(coloured=True, read=1)
    for row in _rows(len(pixels)):
        _look_at_rows(found, coded(pixels[row - 1 : row + 2]))
    if counted is not None:
        found.pixels.update({code(rgb): count for count, rgb in counted})
    else:
        found.crowded.append(path)
        _tally_solid(found, pixels)
    return _finished(found, path)


def _finished(found: Survey, path: Path) -> Survey:
    found.masks.update(found.pixels.keys())
    if found.is_plainly_blurred():
        found.blurred.append(path)
    return found


def _count(path: Path, colours: bool) -> Survey:
    try:
        mode = mask_mode(path)
        if not colours and (mode in ("1", "L", "P") or mode.startswith("I")):
            found = survey_numbers(read_index_image(path), path)
            found.palettes = int(mode == "P")
            return found
        pixels, clear = read_painted(path)
    except (ValueError, OSError) as error:
        return Survey(coloured=colours, faults=[(path, str(error))])
    found = survey_picture(pixels, path, colours=colours)
    found.transparent = clear
    return found


def _rows(height: int) -> list[int]:
    """Rows with one above and one below, spread over the mask."""
    inner = max(0, height - 2)
    return [1 + i * inner // min(inner, _ROWS) for i in range(min(inner, _ROWS))]


def _look_at_rows(found: Survey, rows: NDArray[np.integer]) -> None:
    """Compare the middle of three rows with its neighbours."""
    if rows.shape[1] < 3:
        return
    here = rows[1, 1:-1]
    width = rows.shape[1]
    equal = np.ones(here.shape, bool)
    for i in range(3):
        for j in range(3):
            equal &= rows[i, j : width - 2 + j] == here
    _tally(found.looked, here)
    _tally(found.solid, here[equal])
    if found.coloured:
        return
    middle = here.astype(np.int32)
    for low, high in ((rows[1, :-2], rows[1, 2:]), (rows[0, 1:-1], rows[2, 1:-1])):
        first, last = low.astype(np.int32), high.astype(np.int16)
        alone = (middle != first) & (middle != last)
        inside = (middle - first) * (last - middle) > 0
        _tally(found.between, here[alone & inside])
        found.beyond += int((alone & ~inside).sum())
        found.jumps += int((~alone & (abs(first - last) > 1)).sum())


def _tally_solid(found: Survey, pixels: NDArray[np.uint8]) -> None:
    """Count those colours that fill patches, and forget the others, which are too many."""
    solid = np.array(sorted(found.solid), np.int64)
    place = np.zeros(1 << 24, np.int32)  # of each colour among those; 0: elsewhere
    place[solid] = np.arange(1, len(solid) + 1)
    counts = np.zeros(len(solid) + 1, np.int64)
    for start in range(0, len(pixels), _BLOCK):
        codes = coded(pixels[start : start + _BLOCK])
        counts += np.bincount(place[codes].ravel(), minlength=len(counts))
    found.pixels.update(dict(zip(solid.tolist(), counts[1:].tolist(), strict=True)))
    found.looked = Counter({colour: n for colour, n in found.looked.items() if found.solid[colour]})


def _tally(counter: Counter[int], values: NDArray[np.integer]) -> None:
    kinds, counts = np.unique(values, return_counts=True)
    counter.update(dict(zip(kinds.tolist(), counts.tolist(), strict=True)))
