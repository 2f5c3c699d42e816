"""Pictures and label images that strangers wrote: every damage is a ValueError naming the file.

Whatever a file holds, a reader here returns arrays of the documented shape, or raises
FileNotFoundError or ValueError naming the file; it never decodes an image larger than `MAX_PIXELS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile

from fcn_tutorial.files import require
from fcn_tutorial.vision import tv_tensors

__all__ = [
    "MAX_PIXELS",
    "Transforms",
    "read_image",
    "read_index_image",
    "sample",
]

MAX_PIXELS = 1 << 27  # 11,585 × 11,585; larger declared sizes are refused before decoding
_DEEP = ("I", "F")  # first letters of Pillow's modes with more than 8 bits a channel

Transforms = Callable[[Any, Any], tuple[Any, Any]] | None


def read_image(path: Path) -> NDArray[np.uint8]:
    """The picture of any 8-bit format Pillow reads, as RGB: (H, W, 3) uint8.

    Alpha is dropped, an animation gives its first frame, and an EXIF orientation is not applied:
    the pixels are those of the file, because label images are drawn on them.
    Raises FileNotFoundError, and ValueError for a damaged, foreign, 16-bit, float or huge file.
    """
    return _decode(path, _to_rgb)


def read_index_image(path: Path) -> NDArray[np.uint8]:
    """The numbers stored in a palette or grey image of labels: (H, W) uint8.

    A palette's colours are ignored. One-bit images give 0 and 1. Images of 16 or 32 bits are read
    if no number in them is above 255.
    Raises FileNotFoundError, and ValueError for a damaged or huge file, for a colour image, for
    larger numbers, and for grey of 2 or 4 bits, where readers disagree whether 1 means 1 or 85.
    """
    return _decode(path, _to_indices)


def sample(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    transforms: Transforms = None,
    sources: tuple[Path | str, Path | str] = ("image", "mask"),
) -> tuple[Any, Any]:
    """An item: (Image uint8 (3, H, W), Mask uint8 (H, W)), put through `transforms` if given.

    Takes pixels (H, W, 3) and labels (H, W); `sources` are the files they come from.
    Raises ValueError naming both files where the sizes differ.
    """
    if labels.shape != pixels.shape[:2]:
        raise ValueError(
            f"{sources[1]}: {labels.shape} labels for {pixels.shape[:2]} pixels of {sources[0]}"
        )
    image = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
    mask = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(labels)))
    return (image, mask) if transforms is None else transforms(image, mask)


def _decode(
    path: Path, convert: Callable[[ImageFile.ImageFile], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    require(path)
    try:
        with Image.open(path) as image:  # reads the header only
            if image.format == "EPS":
                raise ValueError("EPS is a program for Ghostscript; save it as PNG")
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}×{image.height} is more than {MAX_PIXELS} pixels")
            return convert(image)
    except Exception as error:  # Pillow's decoders raise almost anything on damaged input
        raise ValueError(f"{path}: not a readable image ({error or repr(error)})") from error


def _to_rgb(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    if image.mode.startswith(_DEEP):  # Pillow would clip these to white
        raise ValueError(f"mode {image.mode}: save it with 8 bits a channel")
    image.load()
    image.info.pop("transparency", None)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)


def _to_indices(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    mode = image.mode
    if mode not in ("1", "L", "P") and not mode.startswith("I"):
        raise ValueError(f"mode {mode}, expected a palette (P) or grey (L) image of label numbers")
    stored = str(image.tile[0][3]) if image.tile else ""
    if "L;2" in stored or "L;4" in stored:
        raise ValueError("grey of 2 or 4 bits, whose numbers are ambiguous; save it with 8 bits")
    numbers = np.array(image)
    if numbers.dtype != bool and (numbers.min() < 0 or numbers.max() > 255):
        raise ValueError(f"label numbers {numbers.min()} to {numbers.max()}, expected 0 to 255")
    return numbers.astype(np.uint8)
