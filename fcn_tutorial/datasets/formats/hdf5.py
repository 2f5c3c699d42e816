"""HDF5 files (MATLAB 7.3) that strangers wrote: opened for a moment, checked, then read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from fcn_tutorial.datasets.formats.images import MAX_PIXELS
from fcn_tutorial.files import require

__all__ = ["opened", "stored_array"]

_MAX_CHUNK = 1 << 28  # bytes; HDF5 allocates whole chunks, whatever a damaged file declares


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The open file, for the block.

    Open it anew for each item: an HDF5 handle must not be shared by processes.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for every failure inside the block, naming the file.
    """
    try:
        with h5py.File(require(path), "r") as file:
            yield file
    except FileNotFoundError:
        raise
    except Exception as error:  # h5py raises almost anything on damaged input
        raise ValueError(f"{path}: not readable ({error or repr(error)})") from error


def stored_array(file: h5py.File, name: str, kinds: str, dimensions: int) -> h5py.Dataset:
    """An array of images that lies inside the file itself and whose images fit into memory.

    Args:
        kinds: allowed NumPy kinds of number, "u", "i" and "f". The last two dimensions are the
            image.

    Raises:
        ValueError: for what is no such array; the file's name is not in the message.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):  # others lead to other files
        raise ValueError(f"it has no array {name}")
    array = file[name]
    if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
        raise ValueError(f"{name} is no array stored in it")
    if array.dtype.kind not in kinds or array.ndim != dimensions or 0 in array.shape:
        raise ValueError(f"{name} is {array.dtype} of shape {array.shape}, not as documented")
    chunk = math.prod(array.chunks or (1,)) * array.dtype.itemsize
    if math.prod(array.shape[-2:]) > MAX_PIXELS or chunk > _MAX_CHUNK:
        raise ValueError(f"{name} of shape {array.shape} in chunks {array.chunks} is too large")
    return array
