"""Maps from colours to class names: a mapping, a text, a CSV, text or YAML file.

A name may have several colours; a colour has one name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fcn_tutorial.datasets.formats.plain_yaml import read_text, read_yaml, short
from fcn_tutorial.datasets.own.mask_files import Colour
from fcn_tutorial.files import require

Colours = Mapping[str, Any]
Entries = list[tuple[str, Colour]]

_HINT = "colours is a mapping, a text name=#rrggbb,…, a CSV file or a YAML file"
_INLINE = re.compile(r"[^=]*=[^=]*(,[^=]*=[^=]*)*")
HEADING = ("name", "r", "g", "b")


def read_colours(source: Colours | str | Path) -> Entries:
    """(name, colour) pairs of a mapping, of a text, or of a file.

    A mapping gives each name (r, g, b), or a list of several. A text is `name=#rrggbb,name=#…`, a
    grey may be its level alone, as in `ground=0,cat=255`. CSV has lines `name,r,g,b`, with or
    without that heading; behind it, further columns are passed over. A text file (.txt) has lines
    `r g b name`, or those of CVAT, `name:r,g,b::`. YAML is the mapping.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: naming the line or name that is wrong, and for one colour given to two names.
    """
    if isinstance(source, Mapping):
        entries, where = _from_mapping(source, "colours"), "colours"
    elif is_text(source):
        entries, where = _from_text(str(source)), "colours"
    else:
        path = require(Path(source), _HINT)
        where, readers = str(path), {".csv": _from_csv, ".txt": _from_lines,
                                     ".yaml": _from_yaml, ".yml": _from_yaml}  # fmt: skip
        if path.suffix.lower() not in readers:
            raise ValueError(f"{path}: give colours as a file that ends in .csv, .yaml or .yml")
        entries = readers[path.suffix.lower()](path)
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


def as_text(entries: Sequence[tuple[str, Sequence[int]]]) -> str:
    """The map as a text `name=#rrggbb,name=grey`.

    Raises:
        ValueError: for names with "," or "=".
    """
    for name, _ in entries:
        if re.search("[,=]", name):
            raise ValueError(f"colours: {name!r} holds ',' or '='; write the map as a CSV file")
    return ",".join(
        f"{name}={r}" if r == g == b else f"{name}=#{r:02x}{g:02x}{b:02x}"
        for name, (r, g, b) in entries
    )


def is_text(source: str | Path) -> bool:
    """Whether `source` is a map written out, not the name of a file."""
    return (
        isinstance(source, str) and bool(_INLINE.fullmatch(source)) and not Path(source).is_file()
    )


def _from_text(text: str) -> Entries:
    entries = []
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.rpartition("="))
        if not name:
            raise ValueError(f"colours: {short(part)} has no name; write name=#rrggbb")
        if re.fullmatch("#[0-9a-fA-F]{6}", value):
            entries.append((name, (int(value[1:3], 16), int(value[3:5], 16), int(value[5:], 16))))
        elif value.isdecimal() and len(value) < 4:
            entries.append((name, _as_colour([int(value)] * 3, f"colours: {short(name)}")))
        else:
            raise ValueError(
                f"colours: {short(name)} has {short(value)}; write #rrggbb, or a grey from 0 to 255"
            )
    return entries


def _from_mapping(mapping: Mapping[Any, Any], where: str) -> Entries:
    entries = []
    for key, value in mapping.items():
        name = (short(key) if isinstance(key, int) else str(key)).strip()
        several = isinstance(value, Sequence) and value and isinstance(value[0], Sequence)
        for colour in value if several and not isinstance(value, str) else [value]:
            entries.append((name, _as_colour(colour, f"{where}: {short(name)}")))
    return entries


def _as_colour(value: Any, where: str) -> Colour:
    try:
        red, green, blue = (int(part) for part in value)
        whole = [red, green, blue] == list(value)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(
            f"{where} has {short(value)}; give three whole numbers (r, g, b) from 0 to 255"
        )
    return red, green, blue


def _from_csv(path: Path) -> Entries:
    entries: Entries = []
    try:
        rows = list(csv.reader(read_text(path).splitlines()))
    except csv.Error as error:
        raise ValueError(f"{path}: not a readable CSV file ({error})") from error
    columns = 4
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if number == 1 and [cell.lower() for cell in cells[1:4]] == ["r", "g", "b"]:
            columns = len(cells)
            continue
        if len(cells) == columns and not cells[0]:
            raise ValueError(
                f"{path}, line {number}: {','.join(cells[1:4])} has no name yet; write the class "
                "before the first comma, or 'void' to leave these pixels out"
            )
        if len(cells) != columns or not all(cell.isdecimal() for cell in cells[1:4]):
            raise ValueError(f"{path}, line {number}: {short(','.join(row))} is not name,r,g,b")
        where = f"{path}, line {number}: {short(cells[0])}"
        entries.append((cells[0], _as_colour([int(c[:9]) for c in cells[1:4]], where)))
    return entries


def _from_lines(path: Path) -> Entries:
    """`r g b name`, as CamVid's label_colors.txt, or CVAT's labelmap.txt."""
    entries: Entries = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        if match := re.fullmatch(r"(\d{1,9})[\s,]+(\d{1,9})[\s,]+(\d{1,9})[\s,]+(\S.*)", line):
            name, numbers = match[4], match.groups()[:3]
        elif match := re.fullmatch(r"([^:]+):(\d{1,9}),(\d{1,9}),(\d{1,9})(:.*)?", line):
            name, numbers = match[1], match.groups()[1:4]
        else:
            raise ValueError(f"{path}, line {number}: {short(line)} is not 'r g b name'")
        where = f"{path}, line {number}: {short(name)}"
        entries.append((name.strip(), _as_colour([int(n) for n in numbers], where)))
    return entries


def _from_yaml(path: Path) -> Entries:
    return _from_mapping(read_yaml(path, "lines 'name: [r, g, b]'"), str(path))
