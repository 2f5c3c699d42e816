"""A data set decoded once: items come from a memory-mapped file instead of JPEG and PNG decoders.

What an item is worth is settled by content. A stored item belongs to the hash of its source files'
bytes; `stat` (size, time of modification, time of change) says cheaply whether a file is still the
one that was hashed, and is asked at every access. So a touched or moved file is recognised, and one
that was edited is read itself until the cache is opened again.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import mmap
import operator
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import features
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from fcn_tutorial.datasets._store import Arrays, Stamp, Store
from fcn_tutorial.datasets.formats.images import Transforms
from fcn_tutorial.transforms import HHA, Depth
from fcn_tutorial.vision import tv_tensors

__all__ = ["Cached"]

_KINDS: dict[str, type[Tensor]] = {
    kind.__name__: kind for kind in (Tensor, tv_tensors.Image, tv_tensors.Mask, Depth, HHA)
}
# What only picks files, which are told apart by their content.
_CHOICES = {"files", "images", "masks", "root", "split", "transforms", "year"}
# A file changed again this soon may keep its times: clocks of file systems tick in up to 2 s.
_QUIET_NS = 2_000_000_000


class Cached(Dataset[tuple[Any, Any]]):
    """The items of a data set, bit for bit, from a folder of decoded copies.

    Args:
        dataset: a reader with `files` (VOC, SBD, CamVid, Folder), or any other data set of tensors,
            `Image`, `Mask`, `Depth`, `HHA` and dicts of them, with a `key`. Its `transforms` are
            not stored: they are applied to what is read back.
        folder: where the copies go, 4 bytes a pixel with colours and labels: 0.75 MB a photo of
            VOC. Data sets, splits and settings may share it; files that two splits have are stored
            once.
        transforms: joint transform of (image, mask), for a data set that has none.
        key: for a data set without `files`, a name for all that its items depend on, such as
            "scenes seed 0 128×128". Changes behind an unchanged key are not seen.

    Opening it decodes what the folder lacks and shows a bar. Several processes may do so at once,
    and any may be killed: they share the work, and at most one file's worth (256 MB) is lost. After
    that only reading takes place, from any number of processes and workers. A stored item that is
    damaged or outdated is read from its source, and made again when the folder is opened next; so
    are all items where another Pillow or reader decodes differently. An item whose files cannot be
    read raises what the data set raises, when it is asked for.
    Raises ValueError for a data set with neither `files` nor `key`, or with transforms twice;
    TypeError for items of other types; OSError naming the folder where it cannot be written to.
    """

    def __init__(
        self, dataset: Any, folder: str | Path, transforms: Transforms = None, key: str = ""
    ) -> None:
        own = getattr(dataset, "transforms", None)
        if own is not None and transforms is not None:
            raise ValueError("transforms are given twice, to the data set and to Cached: drop one")
        self.transforms: Transforms = transforms or own
        self.dataset = copy.copy(dataset)
        if own is not None:
            self.dataset.transforms = None
        listed = getattr(dataset, "files", None)
        if listed is None and not key:
            raise ValueError(
                f"{type(dataset).__name__} lists no `files` whose changes could be seen: give key, "
                "a name for all that its items depend on"
            )
        self._sources: list[list[str]] | None = None
        if not key:
            self._sources = [[os.path.abspath(path) for path in paths] for paths in listed or ()]
        for name in ("classes", "palette", "ignore_index", "files"):
            if hasattr(dataset, name):
                setattr(self, name, getattr(dataset, name))
        self.folder = Path(folder) / _folder_name(self.dataset, key)
        self._store = Store(self.folder)
        self._news = False  # stamps that the index on disk lacks
        self._sound = mmap.mmap(-1, max(1, len(self)))  # 1 once an item's checksum was found right
        try:
            self._open()
        except OSError as error:
            raise OSError(
                f"{self.folder}: the cache cannot be written ({error.strerror or error}); free or "
                "name another folder, or use the data set without a cache"
            ) from error

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        item = self._raw(self._position(index))
        return item if self.transforms is None else self.transforms(*item)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sound": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._sound = mmap.mmap(-1, max(1, len(self)))  # worker processes that are forked share it

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) of every item, before transforms; what is stored need not be read for it."""
        found = []
        for position in range(len(self)):
            entry = self._store.entries.get(self._key(position) or "")
            if entry is not None:
                height, width = entry.parts[0].shape[-2:]
            else:
                height, width = next(_flatten(self.dataset[position]))[2].shape[-2:]
            found.append((height, width))
        return found

    def _position(self, index: int) -> int:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"index {position} is outside the {len(self)} items")
        return position % len(self)

    def _raw(self, position: int) -> Any:
        key = self._key(position)
        if key is not None and key in self._store.entries:
            parts = self._store.read(key, verify=not self._sound[position])
            if parts is not None:
                self._sound[position] = 1
                return _unflatten([(part.place, part.kind, array) for part, array in parts])
        return self.dataset[position]

    # --- What an item is stored under ---------------------------------------------------------

    def _key(self, position: int, *, hashing: bool = True) -> str | None:
        """The hashes of the item's files; None where one cannot be read.

        Without `hashing`, None too for files that were never hashed or have changed since.
        """
        if self._sources is None:
            return str(position)
        contents = [self._content(path, hashing) for path in self._sources[position]]
        return "".join(c for c in contents if c) if all(contents) else None

    def _content(self, path: str, hashing: bool) -> str | None:
        try:
            now = os.stat(path)
            times = now.st_size, now.st_mtime_ns, now.st_ctime_ns
            stamp = self._store.stamps.get(path)
            if stamp is not None and stamp[:3] == times:
                return stamp.content
            if not hashing:
                return None
            content = hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
        except OSError:
            return None
        if time.time_ns() - max(times[1:]) > _QUIET_NS:
            self._store.stamps[path] = Stamp(*times, content)
            self._news = True
        return content

    # --- Filling ------------------------------------------------------------------------------

    def _open(self) -> None:
        """Check what the folder has, and add what it lacks, a segment at a time."""
        missing = self._missing()
        if not self._agrees(missing):
            with self._store.locked():
                self._store.forget()
            missing = list(range(len(self)))
        waiting = deque(missing)
        with tqdm(total=len(missing), desc="caching", leave=False, unit="img", disable=None) as bar:
            while waiting:
                with self._store.locked():
                    self._store.write(self._decode(waiting, bar))
                self._news = False
        if self._news:
            with contextlib.suppress(OSError), self._store.locked():  # it may be somebody else's
                self._store.write_index()

    def _missing(self) -> list[int]:
        """The items that are not stored. Files are hashed only where that may find them."""
        entries = self._store.entries
        hashing = bool(entries)
        return [i for i in range(len(self)) if self._key(i, hashing=hashing) not in entries]

    def _agrees(self, missing: list[int]) -> bool:
        """Whether the first stored item is what the data set gives today."""
        absent = set(missing)
        first = next((i for i in range(len(self)) if i not in absent), None)
        stored = None if first is None else self._store.read(self._key(first) or "")
        if stored is None:
            return True  # nothing stored, or damaged, and then read from its source
        try:
            actual = list(_flatten(self.dataset[first]))
        except (OSError, ValueError):
            return False
        return len(actual) == len(stored) and all(
            (part.place, part.kind) == (place, kind) and np.array_equal(kept, array)
            for (part, kept), (place, kind, array) in zip(stored, actual, strict=True)
        )

    def _decode(self, waiting: deque[int], bar: Any) -> Iterator[tuple[str, list[str], Arrays]]:
        """Take positions off `waiting`; give what is not stored and can be read."""
        while waiting:
            position = waiting.popleft()
            bar.update()
            key = self._key(position)
            if key is None or key in self._store.entries:  # unreadable, or stored meanwhile
                continue
            try:
                item = self.dataset[position]
            except (OSError, ValueError):
                continue  # whoever asks for it gets the reader's own message
            if self._key(position) == key:  # otherwise it changed while it was read
                sources = [] if self._sources is None else self._sources[position]
                yield key, sources, list(_flatten(item))


def _flatten(
    sample: Any, place: tuple[int | str, ...] = ()
) -> Iterator[tuple[list[int | str], str, NDArray[Any]]]:
    """(place, kind, array) of every tensor in tuples and dicts of names."""
    if isinstance(sample, tuple | list):
        for position, part in enumerate(sample):
            yield from _flatten(part, (*place, position))
    elif isinstance(sample, Mapping) and all(isinstance(name, str) for name in sample):
        for name, part in sample.items():
            yield from _flatten(part, (*place, name))
    elif _KINDS.get(type(sample).__name__) is type(sample):
        yield list(place), type(sample).__name__, sample.as_subclass(Tensor).numpy()
    else:
        kinds = ", ".join(_KINDS)
        raise TypeError(
            f"an item holds a {type(sample).__name__}: a cache takes {kinds}, tuples and dicts"
        )


def _unflatten(parts: list[tuple[list[int | str], str, NDArray[Any]]]) -> Any:
    """The inverse of `_flatten`."""
    (first, kind, array), *_ = parts
    if not first:
        tensor = torch.from_numpy(array)
        return tensor if kind == "Tensor" else _KINDS[kind](tensor)
    inner: dict[int | str, list[Any]] = {}
    for (name, *rest), kind, array in parts:
        inner.setdefault(name, []).append((rest, kind, array))
    made = {name: _unflatten(some) for name, some in inner.items()}
    return tuple(made.values()) if isinstance(first[0], int) else made


def _folder_name(dataset: Any, key: str) -> str:
    """A name for all that items depend on beside their files: reader, settings, decoders."""
    settings = {name: value for name, value in vars(dataset).items() if name not in _CHOICES}
    parts = [PIL.__version__, features.version("jpg"), _describe(type(dataset))]
    parts.append(key or _describe(settings))
    text = repr([str(part) for part in parts])
    digest = hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8)
    return f"{type(dataset).__name__}-{digest.hexdigest()}"


def _describe(value: Any) -> str:
    """Text that is the same for equal settings, in every process."""
    if value is None or isinstance(value, bool | int | float | str | bytes | Path):
        return repr(value)
    if isinstance(value, Mapping):
        return repr({str(name): _describe(value[name]) for name in sorted(value, key=str)})
    if isinstance(value, tuple | list):
        return repr([_describe(part) for part in value])
    if isinstance(value, set | frozenset):
        return repr(sorted(_describe(part) for part in value))
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.blake2b(value.tobytes()).hexdigest()}"
    if isinstance(value, type) or not hasattr(value, "__dict__") or callable(value):
        kind = value if hasattr(value, "__qualname__") else type(value)
        return f"{kind.__module__}.{kind.__qualname__}"
    return f"{_describe(type(value))}{_describe(vars(value))}"
