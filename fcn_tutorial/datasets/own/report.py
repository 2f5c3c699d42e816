"""What every value of somebody's masks was taken for, as lines to read before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from fcn_tutorial import display
from fcn_tutorial.datasets.own.classes import is_void
from fcn_tutorial.datasets.own.colours import HEADING
from fcn_tutorial.datasets.own.doubt import doubt, name_blurred
from fcn_tutorial.datasets.own.folder import Folder
from fcn_tutorial.datasets.own.labelling import ColourCode, Numbers, Unnamed, unnamed_numbers
from fcn_tutorial.datasets.own.mask_files import colour
from fcn_tutorial.datasets.own.survey import Survey
from fcn_tutorial.datasets.source import Findings
from fcn_tutorial.files import first_few

_ROWS = 40  # values that a table lists before it counts the others
_FORM_ROWS = 255  # colours of a map to be filled in


def mask_report(parts: Sequence[Folder]) -> Findings:
    """Count every mask of a folder's splits and say what its values stand for.

    Its problems are why these masks should not be trained on, with the remedy.
    """
    labelling, folder = parts[0].labelling, parts[0].masks
    masks = dict.fromkeys(mask for part in parts for _, mask in part.files)
    found = labelling.survey(sorted(masks))
    names = {value: labelling.meaning(value) for value in found.values}
    lines = _table(found, folder, {value: _taken_for(name) for value, name in names.items()})
    if absent := [name for name in labelling.classes if name not in names.values()]:
        lines.append(f"  without a pixel: {first_few(absent)}")
    unnamed = [value for value, name in names.items() if name is None]
    mapped = isinstance(labelling, ColourCode)
    count = len(labelling.names) if isinstance(labelling, Numbers) else 0
    return Findings(tuple(lines), tuple(_problems(folder, found, unnamed, count, mapped)))


def unnamed_report(error: Unnamed, problem: str = "") -> Findings:
    """The colours of painted masks that have no names yet, and a CSV file to write these in.

    problem: in place of the error's own words.
    """
    found = error.found
    chosen = (_painted(found) if doubt(found) else found.values)[:_FORM_ROWS]
    lines = _table(found, error.folder, {value: "?" for value in chosen})
    rows = [",".join((*HEADING, "percent of pixels", "masks"))]
    for value in chosen:
        share, masks = 100 * found.pixels[value] / found.total, found.masks[value]
        rows.append(f",{','.join(map(str, colour(value)))},{share:.3f},{masks}")
    place = error.folder.parent if error.folder.name == "masks" else error.folder
    form = (place / "colours.csv", "\n".join(rows) + "\n")
    return Findings(tuple(lines), (problem or str(error),), form)


def _painted(found: Survey) -> list[int]:
    """What was painted in blurred masks, the most frequent first, and what was left transparent."""
    centres = found.centres()
    return [*centres, *found.patches(centres), *[0] * (found.transparent > 0 and 0 not in centres)]


def _table(found: Survey, folder: Path, meanings: Mapping[int, str]) -> list[str]:
    rows = [("value", "taken for", "pixels", "masks")]
    for value, meaning in islice(meanings.items(), _ROWS):
        share = f"{100 * found.pixels[value] / max(1, found.total):.3f}%"
        rows.append((_shown(found, value), meaning, share, str(found.masks[value])))
    lines = [f"what the values of {found.read} masks in {folder} were taken for:"]
    lines += [f"  {line}" for line in display.aligned(rows, left=2)]
    if (more := len(found.values) - min(_ROWS, len(meanings))) > 0:
        lines.append(f"  and {more:,} more values")
    if found.transparent:
        black = "(0, 0, 0)" if found.coloured else "0"
        lines.append(
            f"  {100 * found.transparent / found.total:.3f}% are transparent: they are read as "
            f"{black}, whatever colour lies beneath"
        )
    return lines


def _shown(found: Survey, value: int) -> str:
    return str(colour(value)) if found.coloured else str(value)


def _taken_for(name: str | None) -> str:
    if name is None:
        return "nothing: no class has it"
    return f"void ({name})" if is_void(name) and name.lower() != "void" else name


def _problems(
    folder: Path, found: Survey, unnamed: Sequence[int], count: int, mapped: bool
) -> Iterator[str]:
    """A map of colours that names every value settles what it means; else the values may not."""
    if mapped and not unnamed:
        return
    if why := doubt(found):
        yield f"{folder}: {why}"
    elif unnamed:
        pixels = sum(found.pixels[value] for value in unnamed)
        shown = [_shown(found, value) for value in unnamed]
        if mapped:
            clear = " (what is transparent is black)" if 0 in unnamed and found.transparent else ""
            yield (
                f"{folder}: {pixels:,} pixels have colours that the map lacks: {first_few(shown)}"
                f"{clear}. Add them to colours, under the name 'void' to leave them out"
            )
        else:
            yield f"{folder}: {unnamed_numbers(found, unnamed, count)}"
    if found.blurred and not why:
        names = first_few([path.name for path in found.blurred])
        yield f"{folder}: {name_blurred(found.blurred, names)}"
