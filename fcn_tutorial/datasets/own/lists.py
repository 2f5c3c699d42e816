"""Lists that name the images of a split, as people and published sets write them.

A line names an image: a stem, a file name, or a path, whose folders may be of another machine and
written with backslashes; behind a blank, a comma or a tab it may name the mask too. Nothing is
opened by a name from a list: it only chooses among the files that were found.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath

from fcn_tutorial.datasets.own.pairing import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    Files,
    Names,
    composed,
)
from fcn_tutorial.files import first_few, numbered_lines, require

Pair = tuple[Path, Path]
_Cut = Callable[[str], str | None]  # the shared part of a name

_WHAT = "a split is 'train', 'val', 'test', or a text file with one image a line"
_HEADING = re.compile(
    r"[\"']?(images?|imgs?|photos?|pictures?|masks?|labels?|annotations?|file_?names?|names?|files?"
    r"|paths?|[\s,;_\"'-])+",
    re.I,
)
_MOST_BREAKS = 64  # places in a line at which a second name may begin


def read_list(path: Path, files: Files, names: Names) -> dict[str, Path]:
    """{key of an image: its mask} in the order of the list; the mask may be another than the key's.

    Keys without a mask are there with the path at which it would lie, for `check_partners`.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: naming lines that name no image, an image named twice and one name that fits
            several images.
    """
    images = _Index(path, files.images, IMAGE_SUFFIXES, names.image)
    masks = _Index(path, files.masks, MASK_SUFFIXES, names.mask)
    chosen: dict[str, Path] = {}
    lines: dict[str, int] = {}
    unknown = []
    for number, line in numbered_lines(require(path, _WHAT)):
        key, mask = _read_line(line, number, images, masks)
        if key is None:
            if number > 1 or not _HEADING.fullmatch(line):
                unknown.append(line)
        elif key in lines:
            raise ValueError(f"{path}, line {number}: {line!r} was named in line {lines[key]}")
        else:
            lines[key] = number
            at = mask or key
            chosen[key] = files.masks.get(at, files.folders[1] / at)
    if unknown:
        raise ValueError(
            f"{path}: {len(unknown)} of {len(chosen) + len(unknown)} names are no images: "
            f"{first_few(unknown)}. Write one stem a line, or one path, as the files in "
            f"{files.folders[0]} are called"
        )
    if not chosen:
        raise ValueError(f"{path}: names no images; write one stem a line")
    return chosen


class _Index:
    """Finds a key by the last parts of a path."""

    def __init__(
        self, source: Path, files: Mapping[str, Path], suffixes: Sequence[str], cut: _Cut
    ) -> None:
        self.source, self.suffixes, self.cut = source, suffixes, cut
        self.by_name: dict[str, list[str]] = defaultdict(list)
        for key in files:
            self.by_name[key.rpartition("/")[2]].append(key)

    def find(self, text: str, number: int) -> str | None:
        """The key of the file that `text` names, None for none.

        Its folders must be found in the text, in order, or the text's among them, at the end.
        """
        name = PureWindowsPath(composed(text.strip().strip("\"'")))
        if ".." in name.parts or not name.name:
            return None
        parts = [part for part in name.parts if part != name.anchor]
        stem = name.stem if name.suffix.lower() in self.suffixes else name.name
        core = self.cut(stem)
        for form in (core, stem):
            if form and (exact := "/".join([*parts[:-1], form])) in self.by_name.get(form, ()):
                return exact
        fitting = [
            key
            for form in dict.fromkeys((core, stem))
            for key in self.by_name.get(form or "", ())
            if _fits(key.split("/")[:-1], parts[:-1])
        ]
        deepest = [key for key in fitting if key.count("/") == max(k.count("/") for k in fitting)]
        if len(deepest) > 1:
            raise ValueError(
                f"{self.source}, line {number}: {text!r} may be {first_few(deepest)}; write the "
                "folder too"
            )
        return deepest[0] if deepest else None


def _fits(folders: list[str], named: list[str]) -> bool:
    """Whether `folders` occur in `named` in this order, or end as `named` does."""
    rest = iter(named)
    return all(part in rest for part in folders) or folders[len(folders) - len(named) :] == named


def _read_line(
    line: str, number: int, images: _Index, masks: _Index
) -> tuple[str | None, str | None]:
    """The image's key, and the mask's where the line names one."""
    if (key := images.find(line, number)) is not None:
        return key, None
    lone = None
    for first, second in _halves(line):
        key, mask = images.find(first, number), masks.find(second, number)
        if key is not None and mask is not None:
            return key, mask
        if key is not None:
            lone = second
    if lone is not None:
        raise ValueError(
            f"{images.source}, line {number}: {lone!r} is no mask that was found; a line names an "
            "image, or an image and its mask"
        )
    return None, None


def _halves(line: str) -> Iterator[tuple[str, str]]:
    for found in list(re.finditer(r"\s*[,;\t]\s*|\s+", line))[:_MOST_BREAKS]:
        yield line[: found.start()], line[found.end() :]
