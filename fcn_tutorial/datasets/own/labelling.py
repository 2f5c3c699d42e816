"""What the numbers or colours of somebody's label images mean: class lists and colour maps.

A class called "void", "ignore", "unlabelled" or "unlabeled" is none: its pixels become 255 and
the classes after it move up, so that indices run from 0 without a gap.
"""

from __future__ import annotations

import csv
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_tutorial.datasets.formats.images import read_image, read_index_image
from fcn_tutorial.datasets.readers.pascal import palette
from fcn_tutorial.files import read_lines, require

Colour = tuple[int, int, int]
Colours = Mapping[str, Any]

VOID = 255
VOID_NAMES = ("void", "ignore", "unlabelled", "unlabeled")
MAX_CLASSES = 255
_SHOWN = 5  # names, labels or colours that a message lists before it counts the others
_MAX_MAP_BYTES = 1 << 20
_FROM_ONE = (
    "The labels seem to count from 1, and 0 never occurs: put 'void' first in classes, before the "
    "names for 1, 2, …, or subtract 1 from every mask"
)


class Labelling(Protocol):
    """Classes with a colour each, and how to read a mask file as their indices."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, void left out."""

    @property
    def palette(self) -> tuple[Colour, ...]:
        """A colour for each class."""

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Class indices (H, W), void 255. Raises ValueError and FileNotFoundError."""


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

        Raises FileNotFoundError, and ValueError for a number that has no class and as
        `read_numbers` does.
        """
        numbers = read_numbers(path)
        counts = np.bincount(numbers.ravel(), minlength=256)
        wrong = [int(n) for n in np.flatnonzero(counts[:VOID]) if n >= len(self.names)]
        if wrong:
            pixels = int(counts[wrong].sum())
            one_too_high = wrong == [len(self.names)] and not counts[0]
            hint = _FROM_ONE if one_too_high else _looks_grey(counts)
            raise ValueError(
                f"{path}: {_list('label', wrong)} on {pixels:,} pixels, but the "
                f"{len(self.names)} classes have labels 0 to {len(self.names) - 1}. "
                + (hint or "Name the missing classes, or set these pixels to 255 to leave them out")
            )
        return _index_table(self.names)[numbers]


@dataclass(frozen=True)
class ColourCode:
    """Masks whose RGB colours stand for classes; alpha is ignored."""

    classes: tuple[str, ...]
    entries: tuple[tuple[str, Colour], ...]  # a name may have several colours

    @property
    def palette(self) -> tuple[Colour, ...]:
        """The first colour of each class."""
        first = dict(reversed(self.entries))
        return tuple(first[name] for name in self.classes)

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Class indices (H, W), void 255.

        Raises FileNotFoundError, and ValueError for a colour outside the map, a JPEG file and an
        unreadable one.
        """
        _header(path)
        pixels = read_image(path).astype(np.int32)
        codes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
        index = {name: i for i, name in enumerate(self.classes)}
        known = sorted((_code(c), index.get(name, VOID)) for name, c in self.entries)
        keys = np.array([code for code, _ in known])
        found = np.minimum(np.searchsorted(keys, codes), len(keys) - 1)
        strange = keys[found] != codes
        if strange.any():
            raise ValueError(f"{path}: {self._explain(codes[strange])}")
        labels: NDArray[np.uint8] = np.array([label for _, label in known], np.uint8)[found]
        return labels

    def _explain(self, codes: NDArray[np.int32]) -> str:
        values, counts = np.unique(codes, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        listed = []
        for value, count in islice(zip(values[order], counts[order], strict=True), 3):
            colour = _colour(int(value))
            name, near = min(self.entries, key=lambda entry: _distance(entry[1], colour))
            listed.append(f"{colour} on {count:,} pixels (nearest: {name!r} {near})")
        more = len(values) - len(listed)
        text = f"{len(codes):,} pixels have colours that the map lacks: {', '.join(listed)}"
        text += f" and {more} more colours. " if more > 0 else ". "
        if more > 0:
            return text + (
                "So many colours come from JPEG compression or from smoothing: export the masks "
                "again as PNG, without anti-aliasing and without resizing"
            )
        return text + "Add them to colours, under the name 'void' to leave them out"


def is_void(name: str) -> bool:
    """Whether a class of this name is left out of training and scores."""
    return name.lower() in VOID_NAMES


def read_numbers(path: Path) -> NDArray[np.uint8]:
    """The labels stored in a mask (H, W): palette or grey, or RGB with three equal channels.

    Raises FileNotFoundError, and ValueError for colours, JPEG, numbers above 255 and damage.
    """
    mode = _header(path)
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
    pixels = read_image(path)
    if (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    found, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    frequent = [tuple(int(v) for v in found[i]) for i in np.argsort(-counts)]
    raise ValueError(
        f"{path}: holds colours ({_list('colour', frequent)}), not label numbers. Say which colour "
        "is which class: colours={'name': (r, g, b), …}, or a CSV file of lines name,r,g,b"
    )


def numbering(
    classes: Sequence[str] | str | Path | None, folder: Path, masks: Sequence[Path]
) -> Numbers:
    """The meaning of numbered masks; without `classes`, as `Folder` documents.

    `masks` are all masks of the folder, whatever the split: every split has the same classes.
    """
    if classes is None:
        beside = (folder / "classes.txt", folder.parent / "classes.txt")
        classes = next((file for file in beside if file.is_file()), None)
    names = read_classes(classes) if classes is not None else _count_classes(masks)
    return Numbers(names, _stored_palette(masks, len(names)) or palette(len(names)))


def colour_code(
    colours: Colours | str | Path, classes: Sequence[str] | str | Path | None
) -> ColourCode:
    """The meaning of coloured masks; `classes`, where given, sets the order."""
    entries = tuple(read_colours(colours))
    mapped = tuple(dict.fromkeys(name for name, _ in entries if not is_void(name)))
    if not mapped:
        raise ValueError(f"colours={colours!s}: names no class besides void")
    if classes is None:
        return ColourCode(_checked(mapped, "colours"), entries)
    names = tuple(name for name in read_classes(classes) if not is_void(name))
    if missing := [name for name in names if name not in mapped]:
        raise ValueError(f"colours: {_list('class', missing)} without a colour; add a line for it")
    if extra := [name for name in mapped if name not in names]:
        raise ValueError(
            f"colours: {_list('name', extra)} not among classes; add it there, or call it 'void' "
            "to leave its pixels out"
        )
    return ColourCode(names, entries)


def read_classes(source: Sequence[str] | str | Path) -> tuple[str, ...]:
    """Class names from a sequence, or from a text file with one name a line.

    Raises FileNotFoundError, and ValueError for no names, too many, an empty or a repeated one.
    """
    if isinstance(source, str | Path):
        hint = "classes is a list of names or a text file with one name a line"
        return _checked(tuple(read_lines(require(Path(source), hint))), str(source))
    return _checked(tuple(source), "classes")


def _checked(names: tuple[Any, ...], source: str) -> tuple[str, ...]:
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise ValueError(f"{source}: {wrong[0]!r} is no class name; give text")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"{source}: {_list('name', repeated)} more than once; name each class once"
        )
    if all(is_void(name) for name in names):
        raise ValueError(f"{source}: names no class")
    if len(names) > MAX_CLASSES:
        raise ValueError(f"{source}: {len(names)} names; labels 0 to 254 leave room for 255")
    return names


def read_colours(source: Colours | str | Path) -> list[tuple[str, Colour]]:
    """(name, colour) pairs of a mapping, a CSV file or a YAML file.

    A mapping gives each name (r, g, b), or a list of several. CSV has lines `name,r,g,b`, with or
    without that heading, and a name may come again. YAML is the mapping. Raises FileNotFoundError,
    and ValueError naming the line or name that is wrong, and for one colour given to two names.
    """
    if isinstance(source, Mapping):
        entries, where = _from_mapping(source, "colours"), "colours"
    else:
        path = require(Path(source), "colours is a mapping, a CSV file or a YAML file")
        where = str(path)
        if path.suffix.lower() == ".csv":
            entries = _from_csv(path)
        elif path.suffix.lower() in (".yaml", ".yml"):
            entries = _from_yaml(path)
        else:
            raise ValueError(f"{path}: give colours as a file that ends in .csv, .yaml or .yml")
    seen: dict[Colour, str] = {}
    for name, colour in entries:
        if seen.setdefault(colour, name) != name:
            raise ValueError(
                f"{where}: {seen[colour]!r} and {name!r} have the same colour {colour}; give each "
                "class its own"
            )
    if not entries:
        raise ValueError(f"{where}: holds no colours; give a name with (r, g, b) for each class")
    return entries


def _from_mapping(mapping: Mapping[Any, Any], where: str) -> list[tuple[str, Colour]]:
    entries = []
    for key, value in mapping.items():
        name = _short(key) if isinstance(key, int) else str(key)
        several = isinstance(value, Sequence) and value and isinstance(value[0], Sequence)
        for colour in value if several and not isinstance(value, str) else [value]:
            entries.append((name, _as_colour(colour, f"{where}: {_short(name)}")))
    return entries


def _as_colour(value: Any, where: str) -> Colour:
    try:
        red, green, blue = (int(part) for part in value)
        whole = [red, green, blue] == list(value)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(
            f"{where} has {_short(value)}; give three whole numbers (r, g, b) from 0 to 255"
        )
    return red, green, blue


def _from_csv(path: Path) -> list[tuple[str, Colour]]:
    entries = []
    try:
        rows = list(csv.reader(_text(path).splitlines()))
    except csv.Error as error:
        raise ValueError(f"{path}: not a readable CSV file ({error})") from error
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and [c.lower() for c in cells[1:]] == ["r", "g", "b"]):
            continue
        if len(cells) != 4 or not cells[0] or not all(c.isdecimal() for c in cells[1:]):
            raise ValueError(f"{path}, line {number}: {_short(','.join(row))} is not name,r,g,b")
        where = f"{path}, line {number}: {_short(cells[0])}"
        entries.append((cells[0], _as_colour([int(c[:9]) for c in cells[1:]], where)))
    return entries


def _from_yaml(path: Path) -> list[tuple[str, Colour]]:
    import yaml  # needed for this one format only

    try:
        content = yaml.safe_load(_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable YAML file ({reason})") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected lines 'name: [r, g, b]'")
    return _from_mapping(content, str(path))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_MAP_BYTES:
            raise ValueError(f"larger than {_MAX_MAP_BYTES} bytes")
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable text file ({error})") from error


def _header(path: Path) -> str:
    """The mode of a mask file, one of Pillow's; only the header is read."""
    require(path)
    try:
        with Image.open(path) as image:
            kind, mode = image.format, image.mode
    except Exception as error:  # Pillow's decoders raise almost anything on damaged input
        raise ValueError(f"{path}: not a readable image ({error or repr(error)})") from error
    if kind in ("JPEG", "MPO"):
        raise ValueError(
            f"{path}: a JPEG mask, whatever its name; compression changes labels. Export the masks "
            "again as PNG"
        )
    return mode


def _count_classes(masks: Sequence[Path]) -> tuple[str, ...]:
    """Names for the labels found in all masks; unreadable ones are left for later."""
    from tqdm import tqdm

    counts = np.zeros(256, np.int64)
    fault: Exception | None = None
    for path in tqdm(masks, "reading labels", leave=False, unit="mask", disable=None):
        try:
            counts += np.bincount(read_numbers(path).ravel(), minlength=256)
        except (ValueError, OSError) as error:
            fault = fault or error
    used = np.flatnonzero(counts[:VOID])
    if fault is not None and not counts.any():
        raise fault
    if not used.size:
        raise ValueError(f"{masks[0].parent}: the masks hold only 255, which means void")
    check_not_binary(masks[0].parent, set(np.flatnonzero(counts).tolist()), ("class 0", "class 1"))
    if used[-1] == 0:
        raise ValueError(
            f"{masks[0].parent}: the masks hold only 0, a single class; check that they are the "
            "label images, or name the classes"
        )
    if hint := _looks_grey(counts) or ("" if counts[0] else _FROM_ONE):
        raise ValueError(f"{masks[0].parent}: {_list('label', used.tolist())} in the masks. {hint}")
    return tuple(f"class {label}" for label in range(int(used[-1]) + 1))


def check_not_binary(folder: Path, found: set[int], names: Sequence[str]) -> None:
    """Raise ValueError where `found` is 0 and 255 only, though there are two classes or more.

    A mask painted in black and white would otherwise train a net that knows background alone.
    """
    if len(names) > 1 and found == {0, VOID}:
        first, second = names[0], names[1]
        raise ValueError(
            f"{folder}: the masks hold only 0 and 255, and 255 means void, so no pixel is "
            f"{second!r}. For black and white masks give colours={{{first!r}: (0, 0, 0), "
            f"{second!r}: (255, 255, 255)}}, or a CSV file of such lines name,r,g,b"
        )


def _looks_grey(counts: NDArray[Any]) -> str:
    """A hint where a few values lie far apart: levels of grey, not numbers of classes."""
    used = np.flatnonzero(counts[:VOID])
    if used.size * 4 > used[-1]:
        return ""
    return (
        "Numbers so far apart look like levels of grey: give "
        f"colours={{'name': ({used[-1]}, {used[-1]}, {used[-1]}), …}}, one for each level"
    )


def _index_table(names: Sequence[str]) -> NDArray[np.uint8]:
    """(256,) uint8: from a number in the file to the index of a class, void 255."""
    table = np.full(256, VOID, np.uint8)
    kept = [position for position, name in enumerate(names) if not is_void(name)]
    table[kept] = np.arange(len(kept))
    return table


def _stored_palette(masks: Sequence[Path], count: int) -> tuple[Colour, ...]:
    """Colours of the first mask's own palette, where it has one with a colour for every class."""
    try:
        with Image.open(masks[0]) as image:
            stored = (image.getpalette() or []) if image.mode == "P" else []
    except Exception:  # a damaged file is reported when it is read
        return ()
    triples = [tuple(stored[3 * i : 3 * i + 3]) for i in range(count)]
    if len(set(triples)) < count or any(len(triple) != 3 for triple in triples):
        return ()
    return tuple((int(r), int(g), int(b)) for r, g, b in triples)


def _list(what: str, items: Sequence[Any]) -> str:
    """'labels 3, 4 and 12 more': at most five items, then their number."""
    plural = {"class": "classes"}.get(what, f"{what}s") if len(items) > 1 else what
    shown = ", ".join(map(repr, items[:_SHOWN]))
    more = len(items) - _SHOWN
    return f"{plural} {shown}" + (f" and {more} more" if more > 0 else "")


class _Brief(reprlib.Repr):
    """Aliases let a YAML file of a few hundred bytes hold what `repr` writes in gigabytes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if abs(x) < 10**60 else "a number of many digits"


def _short(value: Any) -> str:
    """`repr`, cut to what a message can show."""
    return _Brief().repr(value)


def _code(colour: Colour) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def _colour(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255


def _distance(a: Colour, b: Colour) -> int:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
