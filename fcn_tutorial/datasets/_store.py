"""Arrays in a few large files beside one index: written whole or not at all, read by memory maps.

A folder holds `index.json`, segments `NAME.seg` and a `lock`. A segment is written under another
name and renamed when it is complete, and only then does a new index name it, so a writer may be
killed anywhere: what it leaves is a file that nobody refers to. A segment never changes. Nothing is
flushed to the disk on purpose: after a power failure a checksum shows what is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import re
import sys
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SEGMENT_BYTES = 1 << 28  # a killed writer loses no more than one segment, some 350 photos of VOC
_ALIGNED = 64
_SCHEMA = 1
_SEGMENT = re.compile(r"[0-9a-f]{32}\.seg")


class Part(NamedTuple):
    """One array of an item: where it belongs, what it is, and its bytes' type and shape."""

    place: list[int | str]
    kind: str
    dtype: str
    shape: list[int]

    @property
    def bytes(self) -> int:
        """Its size, without the gap to the next."""
        return np.dtype(self.dtype).itemsize * int(np.prod(self.shape, dtype=np.int64))


class Entry(NamedTuple):
    """Where an item's parts lie, one after the other, and the checksum of that stretch."""

    segment: str
    start: int
    end: int
    checksum: int
    parts: list[Part]
    sources: list[str]  # the files it was read from


class Stamp(NamedTuple):
    """What `stat` says of a file, and the hash of its content when it said so."""

    size: int
    modified: int
    changed: int
    content: str


Arrays = Sequence[tuple[list[int | str], str, NDArray[Any]]]  # place, kind, array


class Store:
    """The folder's contents as of the last `refresh`; see the module.

    entries: what can be read, by key. stamps: of source files, by absolute path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        self.stamps: dict[str, Stamp] = {}
        self._own: dict[str, Entry] = {}  # written here: another's index must not lose them
        self._maps: dict[str, mmap.mmap] = {}
        self.refresh()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def refresh(self) -> None:
        """Read the index again. One that is damaged, or of another schema, counts as none."""
        try:
            head, _, body = (self.folder / "index.json").read_bytes().partition(b"\n")
            if head != _digest(body):
                raise ValueError("checksum")
            content = json.loads(body)
            if content["schema"] != _SCHEMA:
                raise ValueError("schema")
            sizes = {name: self._size(name) for name in content["segments"]}
            entries = {
                key: Entry(name, start, end, checksum, [Part(*part) for part in parts], sources)
                for key, (name, start, end, checksum, parts, sources) in content["entries"].items()
            }
            stamps = {path: Stamp(*stamp) for path, stamp in content["stamps"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.entries = dict(self._own)
            return
        self.stamps = stamps | self.stamps
        whole = {name for name, size in sizes.items() if size == content["segments"][name]}
        self.entries = {key: e for key, e in entries.items() if e.segment in whole} | self._own

    def read(self, key: str, verify: bool = True) -> list[tuple[Part, NDArray[Any]]] | None:
        """Fresh copies of an item's arrays; None where the segment is gone or damaged.

        Args:
            verify: look at the checksum first. A damaged segment is removed, so that the next one
                to open the folder makes it again.
        """
        entry = self.entries[key]
        stretch = self._map(entry.segment)
        if stretch is None:
            return None
        sound = stretch.size() >= entry.end  # the file's size now: beyond it, reading would crash
        if sound and verify:
            view = memoryview(stretch)[entry.start : entry.end]
            sound = zlib.crc32(view) == entry.checksum
            view.release()
        if not sound:
            with contextlib.suppress(OSError):
                (self.folder / entry.segment).unlink()
            return None
        found, start = [], entry.start
        for part in entry.parts:
            count = int(np.prod(part.shape, dtype=np.int64))
            array = np.frombuffer(stretch, part.dtype, count, start).reshape(part.shape)
            found.append((part, array.copy()))
            start += _padded(part.bytes)
        return found

    def write(self, items: Iterable[tuple[str, list[str], Arrays]]) -> None:
        """Add (key, source files, arrays) until a segment is full, and replace the index.

        Call it while `locked`. Raises OSError, and leaves no partial file, where that fails.
        """
        name = f"{uuid.uuid4().hex}.seg"
        partial = self.folder / f"{name}.partial"
        added: dict[str, Entry] = {}
        try:
            with partial.open("wb") as file:
                for key, sources, arrays in items:
                    start, checksum = file.tell(), 0
                    parts = []
                    for place, kind, array in arrays:
                        data = np.ascontiguousarray(array)
                        part = Part(place, kind, data.dtype.str, list(array.shape))
                        gap = bytes(_padded(part.bytes) - part.bytes)
                        for piece in (data.data, gap):
                            file.write(piece)
                            checksum = zlib.crc32(piece, checksum)
                        parts.append(part)
                    end = file.tell()
                    added[key] = Entry(name, start, end, checksum, parts, sources)
                    if end >= SEGMENT_BYTES:
                        break
            if added:
                os.replace(partial, self.folder / name)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()
        self._own |= added
        self.entries |= added
        self.write_index()

    def write_index(self) -> None:
        """Replace the index by what is known here, without items whose source has changed since."""
        kept = {k: e for k, e in self.entries.items() if k in self._own or not self._outdated(k, e)}
        self.entries = kept
        used = {entry.segment for entry in self.entries.values()}
        content = {
            "schema": _SCHEMA,
            "segments": {name: self._size(name) for name in sorted(used)},
            "stamps": self.stamps,
            "entries": self.entries,
        }
        body = json.dumps(content, separators=(",", ":")).encode()
        partial = self.folder / f"index.{uuid.uuid4().hex}.partial"
        try:
            partial.write_bytes(_digest(body) + b"\n" + body)
            os.replace(partial, self.folder / "index.json")
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()

    def forget(self) -> None:
        """Keep no item, here or in the index."""
        self.entries, self._own = {}, {}
        self.write_index()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock, made with the folder if needed, with the index just read.

        The system frees the lock of a killed process. Where the file system has no locks, two
        writers do the same work twice, and each keeps what it wrote itself. Raises OSError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("ab") as file:
            alone = _lock(file.fileno())
            self.refresh()
            yield
            if alone:
                self._sweep()

    def _sweep(self) -> None:
        """Remove what killed writers left, and segments that the index no longer names."""
        used = {entry.segment for entry in self.entries.values()}
        for path in self.folder.iterdir():
            if path.suffix == ".partial" or (path.suffix == ".seg" and path.name not in used):
                with contextlib.suppress(OSError):  # still mapped, on Windows
                    path.unlink()

    def _outdated(self, key: str, entry: Entry) -> bool:
        stamps = [self.stamps.get(path) for path in entry.sources]
        contents = [stamp.content for stamp in stamps if stamp is not None]
        return bool(contents) and len(contents) == len(stamps) and "".join(contents) != key

    def _size(self, name: str) -> int:
        if not _SEGMENT.fullmatch(name):
            raise ValueError(f"no segment's name: {name}")
        try:
            return (self.folder / name).stat().st_size
        except OSError:
            return -1

    def _map(self, name: str) -> mmap.mmap | None:
        if name not in self._maps:
            try:
                with (self.folder / name).open("rb") as file:
                    self._maps[name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):  # gone, or empty
                return None
        return self._maps[name]


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _lock(descriptor: int) -> bool:
    """Wait for an exclusive lock; False where there is none to be had."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True
