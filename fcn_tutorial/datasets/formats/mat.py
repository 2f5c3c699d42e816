"""MATLAB files of version 5 (`save -v6` and `-v7`), read with bounds on everything.

The values are those of `scipy.io.loadmat`, which serves for files one trusts: on damaged ones it
may ask for gigabytes, recurse until the stack ends, or read outside its tables and crash.
Format: MathWorks, "MAT-File Format", Level 5.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

MAX_MAT_BYTES = 1 << 26  # inflated; the largest file of use, labels of 480×640 doubles, has 2.5 MB
_MAX_ELEMENTS = 1 << 20  # an SBD file has about 150
_MAX_TEXT = 1 << 20  # characters of one array
_MAX_DEPTH = 16  # SBD's files nest three deep: struct, cell, sparse matrix

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15  # element types, as the numbers and codecs below
_FLAGS, _INTEGERS, _NAME = (6,), (5, 6), (1, 16)  # some writers use uint32 and UTF-8
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_NUMBERS |= {12: "i8", 13: "u8"}
_UINT8 = 2
_CODECS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR, _SPARSE, _NUMERIC = 1, 2, 4, 5, range(6, 16)  # classes of array
_LOGICAL, _COMPLEX = 0x0200, 0x0800  # flags

_Element = tuple[int, memoryview]
_Array = np.ndarray[Any, np.dtype[Any]]


def read_mat(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB 5 file, in the form `scipy.io.loadmat` gives them.

    Arrays keep their two or more dimensions and the type they are stored in; a cell is an array of
    objects, a struct an array with named fields of objects, text an array of strings, one a row.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: naming the file for any damage, for MATLAB 7.3 (HDF5) and MATLAB 4 files, for
            objects and functions, and for contents above `MAX_MAT_BYTES`.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path} not found")
    try:
        if path.stat().st_size > MAX_MAT_BYTES:
            raise ValueError(f"larger than {MAX_MAT_BYTES} bytes")
        data = path.read_bytes()
        return _Reader(_byte_order(data)).variables(memoryview(data)[_HEADER:])
    except (OSError, ValueError, TypeError, zlib.error, struct.error) as error:
        raise ValueError(f"{path}: not a readable .mat file ({error})") from error


class _Reader:
    """Walks the elements of one file; every method raises ValueError on damage."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.seen = 0

    def variables(self, data: memoryview) -> dict[str, Any]:
        found = {}
        room = MAX_MAT_BYTES
        for kind, content in self.elements(data, align=1):
            if kind == _COMPRESSED:
                inflated = _inflate(content, room)
                room -= len(inflated)
                kind, content = next(self.elements(memoryview(inflated), align=1), (0, content))
            if kind != _MATRIX:
                raise ValueError(f"an element of type {kind} where an array was expected")
            name, value = self.array(content, 0)
            if name and not name.startswith("__"):
                found[name] = value
        return found

    def elements(self, data: memoryview, align: int = 8) -> Iterator[_Element]:
        """Type and content of one element after the other; `align` 1 at the top of the file."""
        start = 0
        while start < len(data):
            self.seen += 1
            if self.seen > _MAX_ELEMENTS:
                raise ValueError(f"more than {_MAX_ELEMENTS} elements")
            if len(data) - start < 8:
                raise ValueError("the file ends inside an element")
            kind, size = struct.unpack_from(self.order + "II", data, start)
            first, step = start + 8, 8 + size + -size % align
            if kind >> 16:  # the small format: size and content share the tag's eight bytes
                kind, size, first, step = kind & 0xFFFF, kind >> 16, start + 4, 8
                if size > 4:
                    raise ValueError(f"a small element of {size} bytes")
            if size > len(data) - first:
                raise ValueError(f"an element of {size} bytes where {len(data) - first} are left")
            yield kind, data[first : first + size]
            start += step

    def array(self, content: memoryview, depth: int) -> tuple[str, Any]:
        """Name and value; the value takes memory in proportion to `content`."""
        if not content:
            return "", np.empty((1, 0))  # an empty cell
        if depth > _MAX_DEPTH:
            raise ValueError(f"arrays nested deeper than {_MAX_DEPTH}")
        parts = list(self.elements(content))
        if not _are(parts, _FLAGS, _INTEGERS, _NAME) or len(parts[0][1]) != 8:
            raise ValueError("an array without flags, sizes and name")
        flags = int(self.numbers(parts[0])[0])
        sizes = [int(n) for n in self.numbers(parts[1])]
        name, rest, kind = bytes(parts[2][1]).decode(), parts[3:], flags & 0xFF
        if not 2 <= len(sizes) <= 32 or min(sizes) < 0:
            raise ValueError(f"an array of sizes {sizes}")
        if kind == _SPARSE:
            return name, self.sparse(rest, sizes, flags)
        if math.prod(sizes) > len(content):  # an entry takes a byte at least
            raise ValueError(f"an array of sizes {sizes} in {len(content)} bytes")
        if kind == _CELL:
            return name, self.cells(rest, sizes, depth)
        if kind == _STRUCT:
            return name, self.struct(rest, sizes, depth)
        if kind == _CHAR:
            return name, self.text(rest, sizes)
        if kind in _NUMERIC:
            return name, self.values(rest, flags).reshape(sizes, order="F")
        raise ValueError(f"an array of class {kind}: an object or a function")

    def numbers(self, element: _Element) -> _Array:
        """A copy, in the machine's byte order."""
        if element[0] not in _NUMBERS:
            raise ValueError(f"numbers of type {element[0]}")
        stored = np.dtype(self.order + _NUMBERS[element[0]])
        return np.frombuffer(element[1], stored).astype(stored.newbyteorder("="))

    def values(self, parts: list[_Element], flags: int) -> _Array:
        if flags & _COMPLEX:
            raise ValueError("complex numbers, which no labels or depths are")
        if len(parts) != 1:
            raise ValueError(f"{len(parts)} elements of numbers in one array")
        return self.numbers(parts[0])

    def text(self, parts: list[_Element], sizes: list[int]) -> _Array:
        if len(parts) != 1 or parts[0][0] not in _CODECS:
            raise ValueError("text without its characters")
        if math.prod(sizes) > _MAX_TEXT:
            raise ValueError(f"text of {math.prod(sizes)} characters")
        codec = _CODECS[parts[0][0]]
        if codec != "utf-8":
            codec += "-le" if self.order == "<" else "-be"
        text = bytes(parts[0][1]).decode(codec, "replace")
        codes = np.frombuffer(text.encode("utf-32-le"), "<u4").astype("=u4")
        table = np.ascontiguousarray(codes.reshape(sizes, order="F"))
        if not table.size:
            return np.empty(sizes[:-1] if sizes[-1] else (0,), "U1")
        return table.view(f"U{sizes[-1]}")[..., 0]

    def cells(self, parts: list[_Element], sizes: list[int], depth: int) -> _Array:
        if len(parts) != math.prod(sizes) or any(kind != _MATRIX for kind, _ in parts):
            raise ValueError(f"{len(parts)} elements where {math.prod(sizes)} arrays were expected")
        filled = np.empty(len(parts), object)
        for i, (_, content) in enumerate(parts):
            filled[i] = self.array(content, depth + 1)[1]
        return filled.reshape(sizes, order="F")

    def struct(self, parts: list[_Element], sizes: list[int], depth: int) -> _Array:
        if not _are(parts, _INTEGERS, _NAME) or len(parts[0][1]) != 4:
            raise ValueError("a struct without field names")
        length, joined = int(self.numbers(parts[0])[0]), bytes(parts[1][1])
        if length <= 0 or len(joined) % length:
            raise ValueError(f"{len(joined)} bytes of field names of {length} bytes each")
        starts = range(0, len(joined), length)
        names = [joined[i : i + length].split(b"\0")[0].decode() for i in starts]
        if not names and math.prod(sizes) > 1:
            raise ValueError(f"a struct of sizes {sizes} with no fields")
        if not names:
            return np.empty(sizes, object)
        fields = self.cells(parts[2:], [len(names), math.prod(sizes)], depth)
        filled = np.empty(math.prod(sizes), [(name, object) for name in names])
        for name, column in zip(names, fields, strict=True):
            filled[name] = column
        return filled.reshape(sizes, order="F")

    def sparse(self, parts: list[_Element], sizes: list[int], flags: int) -> Any:
        if not _are(parts, _INTEGERS, _INTEGERS) or len(sizes) != 2:
            raise ValueError("a sparse array without its row and column numbers")
        rows, ends = self.numbers(parts[0]), self.numbers(parts[1])
        if len(ends) != sizes[1] + 1 or ends[0] != 0 or (ends[1:] < ends[:-1]).any():
            raise ValueError("a sparse array whose columns are out of order")
        rows, stored = rows[: ends[-1]], parts[2:]
        if flags & _LOGICAL and len(stored) == 1 and len(stored[0][1]) == len(rows):
            stored = [(_UINT8, stored[0][1])]  # MATLAB declares these bytes to be doubles
        values = self.values(stored, flags)[: ends[-1]]
        values = values.astype(bool) if flags & _LOGICAL else values
        if not len(rows) == len(values) == ends[-1]:
            raise ValueError(f"a sparse array with less than {ends[-1]} entries")
        if len(rows) and (rows.min() < 0 or rows.max() >= sizes[0]):
            raise ValueError(f"a sparse array with entries outside its {sizes[0]} rows")
        return scipy.sparse.csc_matrix((values, rows, ends), shape=tuple(sizes))


def _are(parts: list[_Element], *kinds: tuple[int, ...]) -> bool:
    """Whether the first elements have these types, each one of several."""
    return len(parts) >= len(kinds) and all(
        kind in allowed for (kind, _), allowed in zip(parts, kinds, strict=False)
    )


def _byte_order(data: bytes) -> str:
    """'<' or '>', from the header of a MATLAB 5 file; ValueError for anything else."""
    version = {b"\0\1IM": 5, b"\1\0MI": 5, b"\0\2IM": 7, b"\2\0MI": 7}.get(data[124:_HEADER])
    if version == 7 or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise ValueError("MATLAB 7.3 (HDF5), expected version 5; save it with -v7")
    if version is None:
        raise ValueError("no header of a MATLAB 5 file; save it with -v7")
    return "<" if data[126:_HEADER] == b"IM" else ">"


def _inflate(content: memoryview, room: int) -> bytes:
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(content, room + 1)
    if len(inflated) > room:
        raise ValueError(f"contents larger than {MAX_MAT_BYTES} bytes")
    if not inflater.eof:
        raise ValueError("compressed data end early")
    return inflated
