"""Mask files and their values: what kind of picture a file is, and colours as single numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import picture

Colour = tuple[int, int, int]


def mask_mode(path: Path) -> str:
    """The mode of a mask file, one of Pillow's; only the header is read.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for JPEG under any name and for what is no image.
    """
    with picture(path) as image:
        kind, mode = image.format, image.mode
    if kind in ("JPEG", "MPO"):
        raise ValueError(
            f"{path}: a JPEG mask, whatever its name; compression changes labels. Export the masks "
            "again as PNG, or let `fcn-tutorial data fix folder` write copies"
        )
    return mode


def coded(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Colours (H, W, 3) as one number each (H, W)."""
    codes = pixels[..., 0].astype(np.int32)
    for channel in (1, 2):  # in place: a large mask is copied once
        codes <<= 8
        codes |= pixels[..., channel]
    return codes


def distance(a: int, b: int, coloured: bool) -> int:
    """Squared distance of two values."""
    if not coloured:
        return (a - b) ** 2
    return sum((x - y) ** 2 for x, y in zip(colour(a), colour(b), strict=True))


def colour(code: int) -> Colour:
    """(red, green, blue) of a value of a coloured survey."""
    return code >> 16, code >> 8 & 255, code & 255


def code(rgb: Sequence[int]) -> int:
    """The value of a colour in a coloured survey."""
    return rgb[0] << 16 | rgb[1] << 8 | rgb[2]
