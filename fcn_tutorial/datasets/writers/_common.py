"""What the writers share: folders that appear at once, other classes, and files without dates."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from fcn_tutorial.datasets.scenes import Scene, Scenes, render_scene, void_borders

MARKER = "GENERATED.txt"  # in every folder written here; `data check` looks for it
_QUALITY = 92  # of JPEG
_MAT_TEXT = 116  # bytes of free text at the head of a MATLAB 5 file
_COLOURS = 256  # of a palette


@contextmanager
def appearing(
    root: Path, targets: Sequence[str], n: int, size: tuple[int, int], seed: int
) -> Iterator[Path]:
    """A folder in which the block makes the folders `targets`; `root` then gets them in one move.

    Each is marked as generated with these arguments. If the block fails, `root` keeps nothing of
    it.

    Raises:
        FileExistsError: where one of the targets is in `root` already and not empty.
        ValueError: as `Scenes` for n, size and seed.
    """
    Scenes(n, size=size, seed=seed)
    for target in targets:
        place = root / target
        if os.path.lexists(place) and not (place.is_dir() and not any(place.iterdir())):
            raise FileExistsError(f"{place} is there already; name another folder, or remove it")
    root.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=".making-", dir=root))
    try:
        yield workshop
        for target in targets:
            _mark(workshop / target, n, size, seed)
            place = root / target
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir():  # empty; Windows does not rename onto it
                place.rmdir()
            os.rename(workshop / target, place)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def progress(n: int, split: str) -> Iterator[int]:
    """The numbers 0 to n − 1, with a bar that says how far rendering has come."""
    from tqdm import tqdm

    yield from tqdm(range(n), f"rendering {split}", unit="img", leave=False, disable=None)


def scenes(split: str, n: int, size: tuple[int, int], seed: int) -> Iterator[Scene]:
    """The first `n` scenes of a split."""
    for index in progress(n, split):
        yield render_scene(seed, split, index, size)


def relabel(
    labels: NDArray[np.uint8],
    mapping: Mapping[str, str | None],
    classes: Sequence[str],
    border: bool = True,
) -> NDArray[np.uint8]:
    """Scene labels (H, W) as indices into another set's `classes`; new (H, W) uint8, void 255.

    Args:
        mapping: the other set's name for every class of `Scenes`, None for void.
        border: whether borders between the other set's classes are void, as `void_borders` draws
            them.
    """
    numbers = [255 if (name := mapping[c]) is None else classes.index(name) for c in Scenes.classes]
    mapped: NDArray[np.uint8] = np.array(numbers, np.uint8)[labels]
    if not border:
        return mapped
    # Where two classes become one there is no border: the later one stands for both, because the
    # band is drawn in the class that comes first in `Scenes.classes`.
    last = {number: place for place, number in enumerate(numbers)}
    merged = np.array([last[number] for number in numbers], np.uint8)[labels]
    return np.where(void_borders(merged) == 255, np.uint8(255), mapped)


def _mark(folder: Path, n: int, size: tuple[int, int], seed: int) -> None:
    write_lines(
        folder / MARKER,
        [
            "Generated scenes, not photographs: the layout is the data set's, the content is not.",
            f"fcn_tutorial.datasets.writers with n={n}, size={size[0]}x{size[1]}, seed={seed}",
        ],
    )


def write_lines(path: Path, lines: Iterable[str], end: str = "\n") -> None:
    """A UTF-8 text file with this line end on every system."""
    path.write_bytes("".join(line + end for line in lines).encode())


def write_jpeg(path: Path, pixels: NDArray[np.uint8]) -> None:
    """(H, W, 3) as JPEG; what is read back differs by its losses."""
    Image.fromarray(pixels).save(path, "JPEG", quality=_QUALITY)


def write_palette_png(
    path: Path, labels: NDArray[np.uint8], palette: Sequence[tuple[int, int, int]]
) -> None:
    """(H, W) as a PNG of 8 bits with these colours, from 0 on."""
    image = Image.fromarray(labels)
    flat = [channel for colour in palette for channel in colour]
    image.putpalette(bytes(flat).ljust(3 * _COLOURS, b"\0"))
    image.save(path, "PNG")


def write_mat(path: Path, variables: Mapping[str, Any]) -> None:
    """A compressed MATLAB 5 file, without the date that `savemat` puts into its head."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=True)
    content = bytearray(buffer.getvalue())
    content[:_MAT_TEXT] = b"MATLAB 5.0 MAT-file, fcn_tutorial".ljust(_MAT_TEXT)
    path.write_bytes(content)
