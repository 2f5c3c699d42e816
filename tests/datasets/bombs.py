"""Files that are sound, small, and unfold to far more than anybody means to read."""

import functools
import io
import random
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import scipy.io

_MANY = 96 << 20  # bytes that a part unfolds to: above every limit but that of pictures


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file, with its checksum."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


@functools.cache
def _zeros(count: int) -> bytes:
    """So many zeros, as zlib packs them."""
    packer, block = zlib.compressobj(9), bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, packer.compress(bytes(count % (1 << 20))), packer.flush()])


def png(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A black picture beyond the limit, or a large one; texts and profiles of a hundred MB."""
    way = rng.randrange(4)
    if way > 1:
        kind = (b"zTXt", b"iCCP")[way - 2]
        return data[:33] + png_chunk(kind, b"a\0\0" + _zeros(_MANY)) + data[33:]
    sides = [(12_000, 12_000), (130_000, 1_100), (20_000, 20_000)] if way else [(6_000, 4_000)]
    width, height = rng.choice(sides)
    colour, channels = rng.choice([(0, 1), (2, 3)])
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    rows = _zeros(height * (1 + channels * width))
    chunks = png_chunk(b"IHDR", head) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@functools.cache
def _mat(shape: tuple[int, int], kind: str) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"labels": np.zeros(shape, kind)}, do_compression=True)
    return stream.getvalue()


def mat(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A variable of zeros: seventy MB or more of them."""
    return _mat(*rng.choice([((9_000, 9_000), "u1"), ((1, 9_000_000), "f8")]))


def archive(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """The zip archive with a member of zeros, one that is wanted."""
    return _with_zeros(data, "set/zeros")


def deflated(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A checkpoint, which is a zip archive, packed; maybe with more in it."""
    try:
        return _with_zeros(data, "archive/data/99" if rng.random() < 0.5 else "")
    except zipfile.BadZipFile:  # of before they were
        return data[: rng.randrange(len(data))]


def _with_zeros(data: bytes, name: str) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        if name:
            new.writestr(name, bytes(_MANY))
    return stream.getvalue()


@functools.cache
def _packed_tar(name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo(name)
        info.size = _MANY
        tar.addfile(info, io.BytesIO(bytes(_MANY)))
    return stream.getvalue()


def packed_tar(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """An archive of zeros, in a file or in what a member's name should be."""
    return _packed_tar(rng.choice(["set/zeros", "other/zeros"]))
