"""Whether masks hold labels at all: blurred by JPEG or by resizing, or pictures of something."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from fcn_tutorial.datasets.own.mask_files import colour
from fcn_tutorial.datasets.own.survey import FEWEST_LEVELS, MOST_COLOURS, Survey
from fcn_tutorial.files import first_few

_MANY = 64  # values of a picture; fewer may be classes
_AGAIN = "save the masks again as PNG, without JPEG in between and resized by nearest neighbour"
_FIX = (
    "Let `fcn-tutorial data fix folder` write copies in which every pixel has the nearest of them, "
    f"or {_AGAIN}"
)


def doubt(found: Survey) -> str:
    """Why masks with these values are no label images, and what to do; "" where they may be."""
    if found.transparent and found.transparent == found.total:
        return (
            "every pixel of every mask is transparent (alpha 0), so nothing is painted; where "
            "alpha means something else, save the masks without it"
        )
    labels = found.labels()
    looked, solid = found.looked.total(), found.solid.total()
    many = len(found.values) > _MANY and 5 * solid < looked and 2 * len(labels) < len(found.values)
    if many or (found.crowded and not labels):
        return (
            f"{_count(found)} in the masks, and hardly two neighbouring pixels are alike: these "
            "look like photographs or depth maps; name the folder of label images"
        )
    if labels and (found.crowded or _is_blur(found)):
        return _blurred(found)
    if found.is_smooth():
        numbers = sorted(found.between)
        return (
            f"single pixels of {', '.join(map(str, numbers[:5]))} line the borders between labels "
            "below and above them, as smooth resizing leaves them: they are no labels. Resize the "
            "masks from the originals by nearest neighbour; if they are meant so, give each number "
            "a colour in colours, as in colours='background=0,edge=1,cell=2'"
        )
    return ""


def _is_blur(found: Survey) -> bool:
    """Whether most values fill no patch anywhere, and are no classes of thin things.

    Classes are numbered from 0 on; levels of grey lie far apart and are met between two others.
    """
    labels = set(found.labels())
    others = set(found.values) - labels
    if not found.coloured and max(found.values) < FEWEST_LEVELS:
        return False
    if len(others) >= max(8, 2 * len(labels)):
        return True
    ordered = sorted(found.values)
    apart = min(b - a for a, b in pairwise(ordered)) if ordered[1:] else 0
    return len(others) > 1 and apart > 8 and found.lines_borders(others)


def name_blurred(masks: Sequence[Path], names: str) -> str:
    """The message for a few masks among others."""
    are = "masks are" if len(masks) > 1 else "mask is"
    return f"{len(masks)} {are} blurred, as by JPEG or by smooth resizing: {names}. {_FIX}"


def _count(found: Survey) -> str:
    what = "colours" if found.coloured else "values"
    if found.crowded:  # of which those that fill no patch are not kept
        return f"more than {max(MOST_COLOURS, len(found.values)):,} {what}"
    return f"{len(found.values):,} {what}"


def _blurred(found: Survey) -> str:
    centres = found.centres()
    if found.is_crowded_together():
        return (
            f"{_count(found)} in the masks, most of which JPEG or smooth resizing has made: the "
            f"labels are too close for one to be told from the blur of another; {_AGAIN}"
        )
    share = sum(found.pixels[value] for value in found.labels()) / max(1, found.total)
    named = [str(colour(value)) if found.coloured else str(value) for value in sorted(centres)]
    shown = " and ".join(named) if len(named) < 3 else first_few(named, 8)
    return (
        f"{_count(found)} in the masks, but {100 * share:.1f}% of the pixels are at {shown}: "
        f"{len(named)} labels whose borders JPEG or smooth resizing has blurred. {_FIX}"
    )
