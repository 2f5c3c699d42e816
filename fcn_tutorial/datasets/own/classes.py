"""Names of classes: lists of them, and which names mean that a label is no class.

A label whose name says void is none: its pixels become 255 and the classes after it move up, so
that indices run from 0 without a gap. labelme's `__ignore__` is its label −1: it has no number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fcn_tutorial.files import first_few, read_lines, require

VOID = 255
MAX_CLASSES = 255
#: Names of no class, letters alone: "don't care", "Don't_Care" and "dont-care" are one.
VOID_NAMES = frozenset(
    (
        "void", "ignore", "ignored", "ignorelabel", "ignoreregion", "toignore",
        "unlabelled", "unlabeled", "notlabelled", "notlabeled", "nolabel",
        "unannotated", "notannotated", "unknown", "unclassified", "undefined",
        "dontcare", "donotcare", "outofroi", "ignoreme", "nodata", "unassigned", "unspecified",
    )
)  # fmt: skip
_NO_NUMBER = "__ignore__"
_NUMBERED = re.compile(r"(\d{1,6})\s*([:=;,\t]|\s)\s*(\S.*)")


def is_void(name: str) -> bool:
    """Whether a label of this name is left out of training and scores."""
    return re.sub(r"[\W\d_]", "", name.casefold()) in VOID_NAMES


def read_classes(source: Sequence[str] | str | Path) -> tuple[str, ...]:
    """Names of the labels 0, 1, 2, …, void ones included, without blanks around them.

    A sequence, or a text file with one name a line. Lines may carry their number, as in
    `0: background`. labelme's `__ignore__` is dropped, wherever it stands.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for no names, too many, an empty or a repeated one, and numbers that do not run
            from 0.
    """
    if isinstance(source, str | Path):
        hint = "classes is a list of names or a text file with one name a line"
        return checked(read_lines(require(Path(source), hint)), str(source))
    return checked(source, "classes")


def checked(names: Sequence[Any], where: str) -> tuple[str, ...]:
    """The names as `read_classes` gives them; `where` opens its messages.

    Raises:
        ValueError: as `read_classes`.
    """
    if len(names) > MAX_CLASSES + 2:  # a number for 255 and one for −1 may be named too
        raise ValueError(f"{where}: {len(names)} names; labels 0 to 254 leave room for 255")
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise ValueError(f"{where}: {wrong[0]!r} is no class name; give text")
    stripped = _without_numbers([name.strip() for name in names], where)
    stripped = [name for name in stripped if name.casefold() != _NO_NUMBER]
    if repeated := sorted(name for name, n in Counter(stripped).items() if n > 1):
        raise ValueError(
            f"{where}: {listed('name', repeated)} more than once; name each class once"
        )
    if all(is_void(name) for name in stripped):
        raise ValueError(f"{where}: names no class")
    if len(stripped) > MAX_CLASSES:
        raise ValueError(f"{where}: {len(stripped)} names; labels 0 to 254 leave room for 255")
    return tuple(stripped)


def _without_numbers(names: list[str], where: str) -> list[str]:
    """Names in the order of the numbers before them, where every name has one.

    A number and a blank count only where the numbers are 0, 1, 2, …, as in "3 wheeler".
    """
    matches = [_NUMBERED.fullmatch(name) for name in names]
    if not names or not all(matches):
        return names
    parts = [(int(match[1]), match[2], match[3].strip()) for match in matches if match]
    if sum(name.count(",") for _, _, name in parts) >= 2 * len(parts) or all(
        re.fullmatch(r"[\d\s,;]+", name) for _, _, name in parts
    ):
        raise ValueError(f"{where}: {names[0]!r}: looks like a map of colours; give it as colours")
    numbers = sorted(number for number, _, _ in parts if number != VOID)
    from_zero = numbers == list(range(len(numbers)))
    if not from_zero:
        if any(mark.isspace() and mark != "\t" for _, mark, _ in parts):
            return names
        gap = next((i for i, number in enumerate(numbers) if i != number), len(numbers))
        raise ValueError(
            f"{where}: the numbers before the names do not run 0, 1, 2, …: {gap} is missing or "
            f"another comes twice; name it, as in '{gap}: void' where no class has it"
        )
    if any(number == VOID and not is_void(name) for number, _, name in parts):
        raise ValueError(f"{where}: 255 means void; a class needs a number from 0 to 254")
    return [name for number, _, name in sorted(parts) if number != VOID]


def listed(what: str, items: Sequence[Any]) -> str:
    """'labels 3, 4 and 12 more': at most five items, then their number."""
    plural = {"class": "classes"}.get(what, f"{what}s") if len(items) > 1 else what
    return f"{plural} {first_few([repr(item) for item in items])}"
