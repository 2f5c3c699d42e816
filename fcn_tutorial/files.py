"""Files: written whole or not at all, lists of lines, and paths that stay inside their folder.

Beside them what messages about names share: one of several, the nearest, the first few.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import io
import os
import platform
import re
import secrets
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PureWindowsPath

_MAX_LIST_BYTES = 1 << 26  # the longest list in use, SBD's train.txt, has 0.1 MB
_BLOCK = 1 << 20  # bytes that are written at a time
#: What unfinished files are called: hidden, and by a number nobody can foresee.
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.partial(\.\w+)?")


@contextlib.contextmanager
def replacing(path: Path, former: Path | None = None) -> Iterator[Path]:
    """A new file beside `path`, of the same suffix, that takes its place at the end.

    Its name is random and nobody else's: no other file, and no link, is written through. It is on
    the disk before it is renamed, and so is the new name before this returns. What was at `path` is
    called `former`, if given. Whatever goes wrong within, what was at `path` is kept and nothing
    stays beside it.

    Raises:
        OSError: naming `path` where it cannot be written.
    """
    partial, held = None, None
    try:
        partial, held = _begun(path)
        mode = partial.stat().st_mode  # as the umask has it; some writers make a file of their own
        yield partial
        os.chmod(partial, mode)
        _flush(partial)
        if former is not None and path.exists():
            _keep(path, former)
        os.replace(partial, path)
        _flush(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{path}: cannot be written ({reason}); what was there is kept") from error
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        if held is not None:
            os.close(held)


def _begun(path: Path) -> tuple[Path, int | None]:
    """An empty file beside `path`, and what holds it against `sweep` until that is closed."""
    while True:
        partial = _beside(path)
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        if os.name == "nt":  # where a file that is open cannot be renamed, and none is swept
            os.close(descriptor)
            return partial, None
        _hold(descriptor, wait=True)
        if partial.exists():  # not swept before it was held
            return partial, descriptor
        os.close(descriptor)


def _beside(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(8)}.partial{path.suffix}")


def unfinished(folder: Path) -> list[Path]:
    """What `replacing` has begun in a folder and not ended; files of other names are not ours."""
    return [path for path in folder.iterdir() if _UNFINISHED.fullmatch(path.name)]


def sweep(folder: Path) -> None:
    """Remove what killed processes have left unfinished in a folder.

    What another process is writing stays. So does everything where files cannot be held: on Windows
    and on file systems without locks.
    """
    for path in unfinished(folder) if os.name != "nt" else ():
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _hold(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)


def _hold(descriptor: int, wait: bool = False) -> bool:
    """Hold an open file until it is closed, however that comes about; False where that fails."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _keep(path: Path, former: Path) -> None:
    """Give what is at `path` the name `former` too; where files have one name only, instead."""
    beside = _beside(path)
    try:
        os.link(path, beside)
        os.replace(beside, former)
    except OSError:
        os.replace(path, former)


def reserve(descriptor: int, size: int) -> None:
    """Make an empty file so many bytes long, all of them on the disk.

    A file that is mapped into memory must not find the disk full later: that ends the process.

    Raises:
        OSError: where there is no room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(_BLOCK)
    while size > 0:
        size -= os.write(descriptor, zeros[:size])


def write_atomically(path: Path, content: bytes) -> None:
    """Make `content` what `path` holds: as `replacing`, it is always the old or the new one."""
    with replacing(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file `path` as a lock while within; at the end it is removed.

    The lock dies with this process, however that ends, and is not passed on to those it starts.
    Where the file system knows no locks (some network drives), nothing keeps others out.

    Raises:
        BlockingIOError: saying who holds it.
        OSError: where the file cannot be written.
    """
    while (descriptor := _take(path)) is None:
        pass  # its last holder removed the file between our opening and locking it
    identity = _identity(path)
    _HELD.add(identity)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        _HELD.discard(identity)
        os.close(descriptor)


#: The files that this process holds. Such locks do not part a process from itself, and opening and
#: closing the file once more would lose it.
_HELD: set[tuple[int, int] | None] = set()


def _take(path: Path) -> int | None:
    """A descriptor of `path`, locked; None where the file is not there any more by then."""
    if (there := _identity(path)) and there in _HELD:
        raise BlockingIOError(errno.EAGAIN, "this process itself")
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o666)
    taken = False
    try:
        _lock(descriptor)
        opened = os.fstat(descriptor)
        taken = _identity(path) == (opened.st_dev, opened.st_ino)
    except BlockingIOError:
        holder = os.read(descriptor, 200).decode(errors="replace")
        raise BlockingIOError(errno.EAGAIN, holder or "another process") from None
    finally:
        if not taken:
            os.close(descriptor)
    return descriptor if taken else None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _lock(descriptor: int) -> None:
    """Keep other processes from the file.

    Raises:
        BlockingIOError: where another one holds it.
    """
    if os.name == "nt":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except PermissionError as error:
            raise BlockingIOError(errno.EAGAIN, "another process") from error
        return
    import fcntl

    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError as error:  # what some systems say of a lock that is held
        raise BlockingIOError(errno.EAGAIN, "another process") from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise


def _flush(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # Windows opens no folders, and writes names through
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_stored(archive: zipfile.ZipFile, size: int) -> None:
    """Check that an archive does not unfold to more than its file of `size` bytes.

    Raises:
        ValueError: for compressed parts, and for parts larger than the file.
    """
    parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("its parts are compressed")
    if sum(part.file_size for part in parts) > size:
        raise ValueError("its parts are larger than the file")


class Bounded(io.BufferedReader):
    """A file that makes no room for more than it holds, whatever lengths its parts claim."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._bytes = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file; never asks for room for more bytes than there are."""
        return super().read(size if size is None else min(size, self._bytes))


def require(path: Path, why: str = "") -> Path:
    """`path`, which must be a file.

    Raises:
        FileNotFoundError: where it is none, naming it, and `why` it is needed.
    """
    if not os.path.isfile(path):  # unlike Path.is_file, False for names no file can have
        raise FileNotFoundError(f"{path} not found" + (f"; {why}" if why else ""))
    return path


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Line numbers, from 1, and stripped text of the lines of a UTF-8 list that are not empty.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is no text or larger than a list can be.
    """
    require(path)
    try:
        if path.stat().st_size > _MAX_LIST_BYTES:
            raise ValueError(f"larger than {_MAX_LIST_BYTES} bytes")
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise ValueError(f"{path}: not a readable UTF-8 list ({error})") from error
    stripped = enumerate((line.strip() for line in text.splitlines()), 1)
    return [(number, line) for number, line in stripped if line]


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 list that are not empty, stripped.

    Raises:
        FileNotFoundError, ValueError: as `numbered_lines`.
    """
    return [line for _, line in numbered_lines(path)]


def inside(root: Path, relative: str, source: str = "path") -> Path:
    """`root / relative`, for a relative path that a list names; the file need not exist.

    Backslashes count as separators, as in lists written on Windows. `source` opens the message of
    the error; name the list and its line. `root` itself may be a link.

    Raises:
        ValueError: for an absolute path, a drive letter, "..", a NUL, an empty path, and a link
            below `root` that leads out of it.
    """
    name = PureWindowsPath(relative)
    if name.anchor or not name.parts or ".." in name.parts or "\0" in relative:
        raise ValueError(f"{source}: {relative!r} is no path below {root}; use relative paths")
    path, linked = root, False
    for part in name.parts:
        path = path / part
        linked = linked or os.path.islink(path)
    if linked and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise ValueError(f"{source}: {relative!r} is a link out of {root}; copy the file instead")
    return path


def plain_name(name: str, source: str) -> str:
    """`name`, if it can be part of a file's name on every system and lead nowhere else.

    `source` opens the message of the error.

    Raises:
        ValueError: for an empty name, for one with a separator, a drive letter or what cannot be
            printed (NUL among it), and for "." and "..".
    """
    parts = PureWindowsPath(name).parts if isinstance(name, str) else ()
    if parts != (name,) or name in (".", "..") or ":" in name or not name.isprintable():
        raise ValueError(f"{source}: {name!r} is no plain name; leave out separators and controls")
    return name


def fcn_data() -> Path | None:
    """The folder of the data sets that the environment names, if it does; `~` is one's home."""
    said = os.environ.get("FCN_DATA")
    return Path(said).expanduser() if said else None


def data_folder(named: Path | None, how: str, holds: str = "") -> Path:
    """The folder of the data sets: `named`, or what FCN_DATA says.

    Raises:
        FileNotFoundError: where neither is given: `how` to name it opens the message, and it says
            what the folder `holds`.
    """
    found = named or fcn_data()
    if found is None:
        of = f" to the folder that holds {holds}/" if holds else ""
        raise FileNotFoundError(f"{how}, or set FCN_DATA{of}")
    return found


def one_of(name: str, value: str, known: Iterable[str]) -> str:
    """`value`, which must be known.

    Raises:
        ValueError: for one that is not, naming the argument and what it may be.
    """
    known = list(known)
    if value not in known:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(known)}")
    return value


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error: the nearest known names, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name.lower(), known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else f"; known: {', '.join(known)}"


def number_of(count: int, noun: str) -> str:
    """'1 image' and '1,200 images'."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def first_few(names: Sequence[str], shown: int = 5) -> str:
    """'a, b, c, d, e and 12 more'."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
