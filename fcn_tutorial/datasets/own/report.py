"""What every value of somebody's masks was taken for, as lines to read before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fcn_tutorial.datasets.own.classes import is_void, listed
from fcn_tutorial.datasets.own.colours import write_template
from fcn_tutorial.datasets.own.doubt import doubt, name_blurred
from fcn_tutorial.datasets.own.folder import Folder
from fcn_tutorial.datasets.own.labelling import ColourCode
from fcn_tutorial.datasets.own.mask_files import colour
from fcn_tutorial.datasets.own.survey import Survey
from fcn_tutorial.files import first_few

_ROWS = 40  # values that a table lists before it counts the others
_TEMPLATE_ROWS = 255  # colours of a map to be filled in


@dataclass(frozen=True)
class MaskReport:
    """What the masks of a folder hold, and what each value was taken for.

    Attributes:
        lines: a table: value or colour, class, share of the pixels, masks that have it.
        problems: why these masks should not be trained on, one line each, with the remedy.
    """

    lines: tuple[str, ...]
    problems: tuple[str, ...]


def mask_report(folder: Folder) -> MaskReport:
    """Count every mask of a folder's split and say what its values stand for."""
    labelling = folder.labelling
    found = labelling.survey([mask for _, mask in folder.files])
    rows = [("value", "taken for", "pixels", "masks")]
    unnamed, used = [], set()
    for value in found.values:
        name = labelling.meaning(value)
        if name is None:
            unnamed.append(value)
        else:
            used.add(name)
        if len(rows) <= _ROWS:
            share = f"{100 * found.pixels[value] / max(1, found.total):.3f} %"
            rows.append((_shown(found, value), _taken_for(name), share, str(found.masks[value])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"what the values of {found.read} masks in {folder.masks} were taken for:"]
    for row in rows:
        left = "  ".join(cell.ljust(w) for cell, w in zip(row[:2], widths[:2], strict=True))
        right = "  ".join(cell.rjust(w) for cell, w in zip(row[2:], widths[2:], strict=True))
        lines.append(f"  {left}  {right}")
    if (more := len(found.values) - _ROWS) > 0:
        lines.append(f"  and {more:,} more values")
    if absent := [name for name in folder.classes if name not in used]:
        lines.append(f"  without a pixel: {first_few(absent)}")
    return MaskReport(tuple(lines), tuple(_problems(folder, found, unnamed)))


def _shown(found: Survey, value: int) -> str:
    return str(colour(value)) if found.coloured else str(value)


def _taken_for(name: str | None) -> str:
    if name is None:
        return "nothing: no class has it"
    return f"void ({name})" if is_void(name) and name.lower() != "void" else name


def _problems(folder: Folder, found: Survey, unnamed: list[int]) -> Iterator[str]:
    """A map of colours that names every value settles what it means; else the values may not."""
    mapped = isinstance(folder.labelling, ColourCode)
    if mapped and not unnamed:
        return
    if why := doubt(found):
        yield f"{folder.masks}: {why}"
    elif unnamed:
        pixels = sum(found.pixels[value] for value in unnamed)
        what = listed("colour" if mapped else "label", [_shown(found, value) for value in unnamed])
        are = "are no classes" if len(unnamed) > 1 else "is no class"
        yield (
            f"{folder.masks}: {what} on {pixels:,} pixels {are}: add the names, 'void' where such "
            "pixels are to be left out"
        )
    if found.blurred and not why:
        names = first_few([path.name for path in found.blurred])
        yield f"{folder.masks}: {name_blurred(found.blurred, names)}"


def write_colour_template(folder: Path, found: Survey) -> Path:
    """`colours.csv` in `folder`: a line for each colour of the masks, its name to be filled in.

    Of blurred masks, the colours that others cluster around. Raises FileExistsError where there is
    such a file, which may be filled in already.
    """
    path = folder / "colours.csv"
    if path.exists():
        raise FileExistsError(f"{path}: is there already; fill it in, or move it away")
    chosen = found.centres() if doubt(found) else found.values
    write_template(
        path,
        [
            (colour(value), 100 * found.pixels[value] / found.total, found.masks[value])
            for value in chosen[:_TEMPLATE_ROWS]
        ],
    )
    return path
