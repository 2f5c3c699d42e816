"""Pictures and label images that strangers wrote: every damage is a ValueError naming the file.

Whatever a file holds, a reader here returns arrays of the documented shape, or raises
FileNotFoundError or ValueError naming the file; it never decodes an image larger than `MAX_PIXELS`.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from fcn_tutorial.files import Bounded, require
from fcn_tutorial.vision import tv_tensors

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "picture",
    "Transforms",
    "read_image",
    "read_index_image",
    "read_painted",
    "sample",
]

MAX_PIXELS = 1 << 27  # 11,585 × 11,585; larger declared sizes are refused before decoding
#: Pillow's names of what is opened. Its other decoders are old and rarely met, and some take
#: minutes over a file of a few bytes.
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")
_BAND = 1 << 22  # pixels that are converted at a time
_IS_CLEAR = [255] + [0] * 255  # of each alpha
#: PNG's seven passes: first column and row, and the steps across and down.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's kinds of colour
_DEEP = ("I", "F")  # first letters of Pillow's modes with more than 8 bits a channel

Transforms = Callable[[Any, Any], tuple[Any, Any]] | None


def read_image(path: Path) -> NDArray[np.uint8]:
    """The picture of a file in one of `FORMATS`, 8 bits a channel, as RGB: (H, W, 3) uint8.

    Alpha is dropped, an animation gives its first frame, and an EXIF orientation is not applied:
    the pixels are those of the file, because label images are drawn on them.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a damaged, foreign, 16-bit, float or huge file.
    """
    with picture(path) as image:
        return _to_rgb(image)


def read_painted(path: Path) -> tuple[NDArray[np.uint8], int]:
    """The same, but black (0, 0, 0) where a picture is transparent, and how many pixels these are.

    Nobody sees the colour beneath an alpha of 0: an eraser leaves the one that was painted.
    """
    clear = 0

    def visible(band: Image.Image) -> Image.Image:
        nonlocal clear
        nothing = band.getchannel("A").point(_IS_CLEAR)
        clear += nothing.histogram()[255]
        colours = band.convert("RGB")
        colours.paste((0, 0, 0), mask=nothing)
        return colours

    with picture(path) as image:
        pixels = _to_rgb(image, visible if image.mode in ("RGBA", "LA") else _opaque)
    return pixels, clear


def read_index_image(path: Path) -> NDArray[np.uint8]:
    """The numbers stored in a palette or grey image of labels: (H, W) uint8.

    A palette's colours are ignored. One-bit images give 0 and 1. Images of 16 or 32 bits are read
    if no number in them is above 255.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a damaged or huge file, for a colour image, for larger numbers, and for grey
            of 2 or 4 bits, where readers disagree whether 1 means 1 or 85.
    """
    with picture(path) as image:
        return _to_indices(image)


def sample(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    transforms: Transforms = None,
    sources: tuple[Path | str, Path | str] = ("image", "mask"),
) -> tuple[Any, Any]:
    """An item: (Image uint8 (3, H, W), Mask uint8 (H, W)), put through `transforms` if given.

    Takes pixels (H, W, 3) and labels (H, W); `sources` are the files they come from.

    Raises:
        ValueError: naming both files where the sizes differ.
    """
    if labels.shape != pixels.shape[:2]:
        raise ValueError(
            f"{sources[1]}: {labels.shape} labels for {pixels.shape[:2]} pixels of {sources[0]}"
        )
    image = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
    mask = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(labels)))
    return (image, mask) if transforms is None else transforms(image, mask)


@contextmanager
def picture(path: Path) -> Iterator[ImageFile.ImageFile]:
    """The picture, its header read and its size found to be within `MAX_PIXELS`.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for every failure inside the block, naming the file.
    """
    require(path)
    try:
        with Bounded(path) as file, Image.open(file, formats=FORMATS) as image:  # the header only
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}×{image.height} is more than {MAX_PIXELS} pixels")
            _require_content(image, path.stat().st_size)
            yield image
            _require_rows(image, file)
    except Image.DecompressionBombError as error:  # Pillow's own bound, which lies above ours
        raise ValueError(f"{path}: not a readable image: {MAX_PIXELS:,} pixels at most") from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path}: not a readable image (no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file)"
        ) from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged input
        raise ValueError(f"{path}: not a readable image ({error or repr(error)})") from error


def _require_content(image: ImageFile.ImageFile, size: int) -> None:
    """Refuse a JPEG or PNG of `size` bytes that cannot hold its pixels; a decoder makes them up.

    JPEG: a Huffman code has a bit at least, and each 8×8 block of the finest component has one. Two
    components can be the finest of one side each: then there are half as many blocks.
    PNG: a row has a byte, and a bit a pixel at least; deflate makes 1032 bytes of one at most.
    """
    width, height = image.size
    least = {
        "JPEG": width * height / 64 / 2 / 8,
        "MPO": width * height / 64 / 2 / 8,
        "PNG": height * (1 + width / 8) / 1032,
    }
    if size < least.get(image.format or "", 0):
        raise ValueError(f"{size} bytes cannot hold {width}×{height} pixels")


def _require_rows(image: ImageFile.ImageFile, file: BinaryIO) -> None:
    """Refuse a decoded PNG whose stream ended before its last row; Pillow leaves zeros there.

    Zeros are class 0, or black. A last row with anything else in it was there, unless rows came
    interlaced; only the others are counted, by inflating once more.
    """
    if image.format != "PNG" or image.tile:  # of another format, or never decoded
        return
    bottom = (0, image.height - 1, image.width, image.height)
    if not image.info.get("interlace") and any(image.crop(bottom).tobytes()):
        return
    file.seek(16)
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", file.read(13))
    grids = _ADAM7 if interlaced else ((0, 0, 1, 1),)  # first column and row, and steps
    missing = 0  # bytes: of each row one that names its filter, and its pixels
    for left, top, across, down in grids:
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0 and rows > 0:
            missing += rows * (1 + (columns * depth * _CHANNELS[colour] + 7) // 8)
    inflate = zlib.decompressobj()
    file.seek(8)
    while missing > 0 and len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        data = file.read(length) if kind == b"IDAT" else b""
        while data and missing > 0:
            missing -= len(inflate.decompress(data, _BAND))
            data = inflate.unconsumed_tail
        file.seek(4 if data or kind == b"IDAT" else length + 4, io.SEEK_CUR)
    if missing > 0:
        raise ValueError(f"its pixels end before the last of {height} rows")


def _opaque(band: Image.Image) -> Image.Image:
    return band.convert("RGB")


def _to_rgb(
    image: ImageFile.ImageFile, shown: Callable[[Image.Image], Image.Image] = _opaque
) -> NDArray[np.uint8]:
    if image.mode.startswith(_DEEP) or _is_deep(image):  # Pillow would clip or round these
        raise ValueError(f"mode {image.mode} of 16 bits: save it with 8 bits a channel")
    image.load()
    image.info.pop("transparency", None)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top, band in _bands(image):
        pixels[top : top + band.height] = np.asarray(shown(band))
    return pixels


def _is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether the file holds more than 8 bits a channel, of which Pillow keeps the high byte."""
    for tile in image.tile:
        stored = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if any(isinstance(part, str) and ";16" in part for part in stored):
            return True
        if tile[0] == "ppm" and any(isinstance(part, int) and part > 255 for part in stored):
            return True  # the largest value that a channel takes
    return False


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, rows) of a picture that is loaded: a copy of all would double its memory."""
    rows = max(1, _BAND // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def _to_indices(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    mode = image.mode
    if mode not in ("1", "L", "P") and not mode.startswith("I"):
        raise ValueError(f"mode {mode}, expected a palette (P) or grey (L) image of label numbers")
    stored = str(image.tile[0][3]) if image.tile else ""
    if "L;2" in stored or "L;4" in stored:
        raise ValueError("grey of 2 or 4 bits, whose numbers are ambiguous; save it with 8 bits")
    image.load()
    indices = np.empty((image.height, image.width), np.uint8)
    for top, band in _bands(image):
        numbers = np.asarray(band)
        if numbers.dtype != bool and (numbers.min() < 0 or numbers.max() > 255):
            raise ValueError(f"label numbers {numbers.min()} to {numbers.max()}, expected 0 to 255")
        indices[top : top + band.height] = numbers
    return indices
