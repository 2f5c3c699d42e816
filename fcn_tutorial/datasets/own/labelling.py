"""What the numbers or colours of somebody's label images mean, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import picture, read_index_image, read_painted
from fcn_tutorial.datasets.own.classes import VOID, checked, is_void, listed, read_classes
from fcn_tutorial.datasets.own.colours import Colours, read_colours
from fcn_tutorial.datasets.own.doubt import doubt
from fcn_tutorial.datasets.own.mask_files import Colour, code, coded, colour, distance, mask_mode
from fcn_tutorial.datasets.own.survey import (
    MOST_COLOURS,
    Survey,
    survey,
    survey_numbers,
    survey_picture,
)
from fcn_tutorial.datasets.readers.pascal import palette
from fcn_tutorial.files import first_few

_LEAST_STRAY = 8  # pixels of unnamed labels by which blur is suspected
_BAND = 1 << 22  # pixels whose colours are looked up at a time
_FROM_ONE = (
    "The labels seem to count from 1, and 0 never occurs: put 'void' first in classes, before the "
    "names for 1, 2, …, or subtract 1 from every mask"
)


class Unnamed(ValueError):
    """Painted masks without a map of their colours; `found` counts these."""

    def __init__(self, folder: Path, found: Survey) -> None:
        super().__init__(f"{folder}: {colours_found(found)}")
        self.folder, self.found = folder, found

    def __reduce__(self) -> tuple[type[Unnamed], tuple[Path, Survey]]:
        return Unnamed, (self.folder, self.found)


@dataclass(frozen=True)
class Numbers:
    """Masks whose pixel values are positions in `names`; 255 is always void."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...]  # one for each name, void's too

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, void left out."""
        return tuple(name for name in self.names if not is_void(name))

    @property
    def palette(self) -> tuple[Colour, ...]:
        """A colour for each class."""
        pairs = zip(self.names, self.colours, strict=True)
        return tuple(colour for name, colour in pairs if not is_void(name))

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Class indices (H, W), void 255.

        Raises:
            FileNotFoundError: where there is no such file.
            ValueError: for a number that has no class and as `read_numbers` does.
        """
        numbers = read_numbers(path)
        counts = np.bincount(numbers.ravel(), minlength=256)
        wrong = [int(n) for n in np.flatnonzero(counts[:VOID]) if n >= len(self.names)]
        if wrong:
            found = survey_numbers(numbers, path)
            if why := doubt(found):
                raise ValueError(f"{path}: {why}")
            raise ValueError(f"{path}: {unnamed_numbers(found, wrong, len(self.names))}")
        table = np.full(256, VOID, np.uint8)
        kept = [position for position, name in enumerate(self.names) if not is_void(name)]
        table[kept] = np.arange(len(kept))
        return table[numbers]

    def survey(self, masks: Sequence[Path]) -> Survey:
        """What the masks hold, as numbers."""
        return survey(masks, title="counting labels")

    def meaning(self, value: int) -> str | None:
        """The name of a number."""
        if value < len(self.names):
            return self.names[value]
        return "void" if value == VOID else None


@dataclass(frozen=True)
class ColourCode:
    """Masks whose RGB colours stand for classes; what is transparent is black."""

    classes: tuple[str, ...]
    entries: tuple[tuple[str, Colour], ...]  # a name may have several colours

    @property
    def palette(self) -> tuple[Colour, ...]:
        """The first colour of each class."""
        first = dict(reversed(self.entries))
        return tuple(first[name] for name in self.classes)

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Class indices (H, W), void 255.

        Raises:
            FileNotFoundError: where there is no such file.
            ValueError: for a colour outside the map, a JPEG file and an unreadable one.
        """
        mask_mode(path)
        pixels, _ = read_painted(path)
        index = {name: i for i, name in enumerate(self.classes)}
        known = sorted((code(c), index.get(name, VOID)) for name, c in self.entries)
        keys = np.array([key for key, _ in known])
        table = np.array([label for _, label in known], np.uint8)
        labels = np.empty(pixels.shape[:2], np.uint8)
        strange: NDArray[np.int64] | None = None  # pixels of each colour that the map lacks
        rows = max(1, _BAND // max(1, pixels.shape[1]))
        for top in range(0, len(pixels), rows):
            codes = coded(pixels[top : top + rows])
            found = np.minimum(np.searchsorted(keys, codes), len(keys) - 1)
            labels[top : top + rows] = table[found]
            wrong = codes[keys[found] != codes]
            if wrong.size:
                counts = np.bincount(wrong, minlength=1 << 24)
                strange = counts if strange is None else strange + counts
                if np.count_nonzero(strange) > MOST_COLOURS:
                    break  # that is no label image, whatever the rest holds
        if strange is not None:
            raise ValueError(f"{path}: {self._explain(strange)}")
        return labels

    def survey(self, masks: Sequence[Path]) -> Survey:
        """What the masks hold, as colours."""
        return survey(masks, colours=True, title="counting colours")

    def meaning(self, value: int) -> str | None:
        """The name of a coded colour."""
        return next((name for name, rgb in self.entries if code(rgb) == value), None)

    def _explain(self, counts: NDArray[np.int64]) -> str:
        """What to do about colours, of which there are `counts` pixels each."""
        total, values, shown = int(counts.sum()), int(np.count_nonzero(counts)), []
        for _ in range(min(3, values)):
            value = int(counts.argmax())
            count, counts[value] = int(counts[value]), 0
            name, near = min(self.entries, key=lambda e: distance(code(e[1]), value, True))
            shown.append(f"{colour(value)} on {count:,} pixels (nearest: {name!r} {near})")
        more = values - len(shown)
        text = "at least " if values > MOST_COLOURS else ""
        text += f"{total:,} pixels have colours that the map lacks: {', '.join(shown)}"
        text += f" and {more:,} more colours. " if more > 0 else ". "
        if more > 0:
            return text + (
                "So many come from JPEG compression or from smoothing: export the masks as PNG, "
                "without anti-aliasing, or let `fcn-tutorial data fix folder` write clean copies"
            )
        return text + "Add them to colours, under the name 'void' to leave them out"


#: Classes with a colour each, and how to read a mask file as their indices.
Labelling: TypeAlias = Numbers | ColourCode


def read_numbers(path: Path) -> NDArray[np.uint8]:
    """The labels stored in a mask (H, W): palette or grey, or RGB with three equal channels.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for colours, JPEG, numbers above 255 and damage.
    """
    mode = mask_mode(path)
    if mode == "F":
        raise ValueError(f"{path}: holds floats; save the labels as whole numbers in an 8-bit PNG")
    if mode in ("1", "L", "P"):
        return read_index_image(path)
    if mode.startswith("I"):
        try:
            return read_index_image(path)
        except ValueError as error:
            raise ValueError(
                f"{error}. A mask of 16 or 32 bits is read only where its labels are below 256; "
                "save it as an 8-bit PNG that numbers the classes from 0"
            ) from error
    pixels, _ = read_painted(path)
    if (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    raise ValueError(f"{path}: {colours_found(survey_picture(pixels, path))}")


def colours_found(found: Survey) -> str:
    """The message for masks whose colours have no names yet."""
    if why := doubt(found):
        return why
    shown = first_few([str(colour(value)) for value in found.values])
    return (
        f"holds colours ({shown}), not label numbers. Say which colour is which class: "
        "colours={'name': (r, g, b), …}, or a CSV file of lines name,r,g,b, which `fcn-tutorial "
        "data check folder` writes for all masks, ready to fill in"
    )


def numbering(
    classes: Sequence[str] | str | Path | None, folder: Path, masks: Sequence[Path]
) -> Numbers:
    """The meaning of numbered masks; without `classes`, as `Folder` documents.

    `masks` are all masks of the folder, whatever the split: every split has the same classes.
    """
    if classes is None:
        classes = beside(folder, "classes.txt")
    names = read_classes(classes) if classes is not None else count_classes(masks)
    return Numbers(names, _stored_palette(masks, len(names)) or palette(len(names)))


def without_names(folder: Path, found: Survey, masks: Sequence[Path]) -> Unnamed:
    """The error for painted masks; palettes among them count with the colours they are seen in."""
    if found.palettes:
        found = survey(masks, colours=True, title="counting colours")
    return Unnamed(folder, found)


def beside(folder: Path, name: str) -> Path | None:
    """A file of that name in the folder of masks or in the folder above."""
    return next((p for p in (folder / name, folder.parent / name) if p.is_file()), None)


def colour_code(
    colours: Colours | str | Path, classes: Sequence[str] | str | Path | None
) -> ColourCode:
    """The meaning of coloured masks; `classes`, where given, sets the order.

    Raises:
        ValueError: for a map without a class, for classes without a colour, for names that are not
            among `classes`, and as `read_colours` and `read_classes`.
        FileNotFoundError: as these two.
    """
    entries = tuple(read_colours(colours))
    mapped = tuple(dict.fromkeys(name for name, _ in entries if not is_void(name)))
    if not mapped:
        raise ValueError(f"colours={colours!s}: names no class besides void")
    if classes is None:
        return ColourCode(checked(mapped, "colours"), entries)
    names = tuple(name for name in read_classes(classes) if not is_void(name))
    if missing := [name for name in names if name not in mapped]:
        raise ValueError(f"colours: {listed('class', missing)} without a colour; add a line for it")
    if extra := [name for name in mapped if name not in names]:
        raise ValueError(
            f"colours: {listed('name', extra)} not among classes; add it there, or call it 'void' "
            "to leave its pixels out"
        )
    return ColourCode(names, entries)


def check_not_binary(folder: Path, found: set[int], names: Sequence[str]) -> None:
    """Check that masks of two classes or more do not hold 0 and 255 only.

    A mask painted in black and white would otherwise train a net that knows background alone.

    Raises:
        ValueError: where they do.
    """
    if len(names) > 1 and found == {0, VOID}:
        first, second = names[0], names[1]
        raise ValueError(
            f"{folder}: the masks hold only 0 and 255, and 255 means void, so no pixel is "
            f"{second!r}. For black and white masks give colours={{{first!r}: (0, 0, 0), "
            f"{second!r}: (255, 255, 255)}}, or a CSV file of such lines name,r,g,b"
        )


def count_classes(masks: Sequence[Path]) -> tuple[str, ...]:
    """Names for the labels found in all masks; unreadable ones are left for later.

    Raises:
        Unnamed: a ValueError, for painted masks.
        ValueError: where no mask can be read, for labels that seem no classes, and for a single
            class.
    """
    found = survey(masks, title="reading labels")
    folder = masks[0].parent
    if found.coloured:
        raise without_names(folder, found, masks)
    if found.faults and not found.pixels:
        read_numbers(found.faults[0][0])  # whose message says more
        raise ValueError(found.faults[0][1])
    if why := doubt(found):
        raise ValueError(f"{folder}: {why}")
    used = sorted(value for value in found.pixels if value != VOID)
    if not used:
        raise ValueError(f"{folder}: the masks hold only 255, which means void")
    check_not_binary(folder, set(found.pixels), ("background", "object"))
    if used[-1] == 0:
        raise ValueError(
            f"{folder}: the masks hold only 0, a single class; check that they are the "
            "label images, or name the classes"
        )
    if hint := _looks_grey(used) or ("" if used[0] == 0 else _FROM_ONE):
        raise ValueError(f"{folder}: {listed('label', used)} in the masks. {hint}")
    stray = [value for value in used if not found.solid[value]]
    seen, filling = sum(found.looked[value] for value in stray), len(used) - len(stray)
    if seen >= _LEAST_STRAY and len(stray) > max(2, filling) and filling:
        raise ValueError(f"{folder}: {_stray(stray, used[-1])}")
    return tuple(f"class {label}" for label in range(used[-1] + 1))


def _stray(values: Sequence[int], highest: int) -> str:
    return (
        f"{listed('label', values)} nowhere fill 3×3 pixels, as what JPEG or smooth resizing "
        "leaves between labels: look for masks that were saved so. If they are classes of thin "
        f"things, name all {highest + 1}, as in classes=['ground', 'wire', …]"
    )


def unnamed_numbers(found: Survey, wrong: Sequence[int], count: int) -> str:
    """The message for numbers that none of `count` names stands for."""
    pixels = sum(found.pixels[value] for value in wrong)
    text = (
        f"{listed('label', wrong)} on {pixels:,} pixels, but the {count} classes have labels 0 to "
        f"{count - 1}. "
    )
    if list(wrong) == [count] and not found.pixels[0]:
        return text + _FROM_ONE
    hint = _looks_grey(sorted(value for value in found.pixels if value != VOID))
    return text + (hint or "Name the missing classes, or set these pixels to 255 to leave them out")


def _looks_grey(used: Sequence[int]) -> str:
    """A hint where a few values lie far apart: levels of grey, not numbers of classes."""
    if len(used) * 4 > used[-1]:
        return ""
    return (
        "Numbers so far apart look like levels of grey: give "
        f"colours={{'name': ({used[-1]}, {used[-1]}, {used[-1]}), …}}, one for each level"
    )


def _stored_palette(masks: Sequence[Path], count: int) -> tuple[Colour, ...]:
    """Colours of the first mask's own palette, where it has one with a colour for every class."""
    try:
        with picture(masks[0]) as image:
            stored = (image.getpalette() or []) if image.mode == "P" else []
    except (ValueError, OSError):  # a damaged file is reported when it is read
        return ()
    triples = [tuple(stored[3 * i : 3 * i + 3]) for i in range(count)]
    if len(set(triples)) < count or any(len(triple) != 3 for triple in triples):
        return ()
    return tuple((int(r), int(g), int(b)) for r, g, b in triples)
