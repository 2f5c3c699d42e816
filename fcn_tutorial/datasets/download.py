"""Fetching a data set: resumed where it was cut, verified, and unpacked inside its folder only.

Pooch keeps checksums too, but begins anew what was cut, which for 3 GB from a slow host may never
end, and unpacks whatever an archive holds.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from fcn_tutorial.datasets.source import Remote, Source

__all__ = ["Unreachable", "download", "fetch", "unpack"]

MAX_BYTES = 16 << 30  # of a file or of what an archive unpacks to; the largest in use has 3 GB
MAX_MEMBERS = 1_000_000
_MAX_DEPTH = 64  # folders of a member, one in the other; those in use have six
_CHUNK = 1 << 20
_ATTEMPTS = 4  # a cut connection is taken up again so often, as long as something arrives
_TIMEOUT = 30.0  # seconds without a byte
_LEAST = 30.0, 15_000  # seconds, and bytes that must come in them: 0.5 kB/s is no connection
# What files begin with, by their ending; archives are known by their own modules.
_BEGINNINGS = {".mat": (b"MATLAB", b"\x89HDF")}

Say = Callable[[str], None]


class Unreachable(OSError):
    """The server cannot be reached, refuses, or keeps cutting the connection."""


class _Wrong(ValueError):
    """What arrived is not the file; it is removed."""


def download(source: Source, root: Path | str, say: Say = print) -> list[Path]:
    """Fetch a data set into `root`, the folder that FCN_DATA would name.

    An archive is removed once it is unpacked. `say` is told what happens.

    Returns:
        The files and folders that are new; what is there already is left as it is.

    Raises:
        ValueError: where there is nothing to download, where a part of it is there already, and for
            a wrong checksum or an unsafe archive.
        Unreachable: an OSError, where the server fails, with the steps to take by hand.
        OSError: where the disk fails.
    """
    if not source.files:
        raise ValueError(f"{source.name}: nothing to download; {source.note or source.address}")
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for remote in source.files:
        targets = [root / folder for folder in remote.folders]
        targets = targets or [root / remote.into / remote.name]
        if all(target.exists() for target in targets):
            say(f"{', '.join(map(str, targets))}: already there")
            continue
        if present := [target for target in targets if target.exists()]:
            raise ValueError(f"{present[0]} is there, others are not; move it away and try again")
        try:
            file = fetch(remote, root / remote.into)
        except Unreachable as error:
            steps = "\n".join(f"  {i}. {step}" for i, step in enumerate(source.manual, 1))
            raise Unreachable(
                f"{error}\nWhat arrived is kept: the same command goes on from there. By hand, "
                f"with DIR = {root}:\n{steps}\nSource: {source.address}"
            ) from error
        say(f"{file}: fetched" + (", checksum right" if remote.md5 else ", no checksum is known"))
        if remote.unpack:
            try:
                unpack(file, root, remote.unpack)
            except ValueError as error:
                file.unlink()
                raise ValueError(
                    f"{error}. It is removed; the same command fetches it anew"
                ) from None
            file.unlink()
        made += targets
    return made


def fetch(remote: Remote, folder: Path, limit: int = MAX_BYTES) -> Path:
    """Fetch one file into `folder`; returns its path.

    It is written as NAME.part and gets its name when it is complete, its checksum right, and it is
    what its name says; a part that is there is continued. What is wrong from one address is fetched
    from the next.

    Raises:
        Unreachable: where no address can be reached.
        ValueError: for a file that is wrong from all (it is removed) or of more than `limit` bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / remote.name, folder / f"{remote.name}.part"
    if not target.is_file():
        wrong: _Wrong | None = None
        reasons = []
        for url in remote.urls:
            try:
                _fetch_from(url, part, limit, _tells_its_end(remote))
                _verify(remote, part)
                break
            except Unreachable as error:
                reasons.append(str(error))
            except _Wrong as error:
                wrong = error
        else:
            raise wrong or Unreachable("; ".join(reasons))
        _tag(part).unlink(missing_ok=True)
        part.replace(target)
    return target


def _tells_its_end(remote: Remote) -> bool:
    """Whether a file that was cut short would be noticed whatever the server says."""
    return bool(remote.md5 or remote.size or remote.unpack)


def _fetch_from(url: str, part: Path, limit: int, tells_its_end: bool) -> None:
    """Bring the part to its full length, taking the connection up again where it is cut."""
    reason = ""
    for attempt in range(_ATTEMPTS):
        before = _length(part)
        try:
            if _fetch_once(url, part, limit, tells_its_end):
                return
            reason = "the connection was cut"
        except _Cut as error:
            reason = str(error)
        if _length(part) == before and attempt:
            break
    raise Unreachable(f"{url}: cannot be fetched ({reason}), {_length(part):,} bytes are here")


def _fetch_once(url: str, part: Path, limit: int, tells_its_end: bool) -> bool:
    """One request for what is missing; True where the file is complete then."""
    start = _length(part)
    # Without a validator nobody would notice that the file changed in between: begin anew.
    validator = _tag(part).read_text() if _tag(part).is_file() else ""
    try:
        answer = _ask(url, start if validator else 0, validator)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 416:
            raise Unreachable(f"{url}: the server answers {error.code} {error.reason}") from error
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return True  # stopped between the last byte and the renaming
        part.unlink()
        return False
    with answer:
        begin, total = _extent(answer)
        if begin not in (0, start):
            raise _Cut(f"asked for byte {start}, got byte {begin}")
        if total is not None and total > limit:
            raise ValueError(f"{url}: {total:,} bytes, more than the {limit:,} that are allowed")
        if total is None and not tells_its_end and not answer.chunked:
            raise Unreachable(
                f"{url}: the server does not say how long it is; a cut would not show"
            )
        _check_space(part.parent, (total or 0) - begin)
        _tag(part).write_text(_validator(answer))
        with part.open("r+b" if begin else "wb") as file:
            file.seek(begin)
            done = _copy(answer, file, begin, total, limit)
            file.truncate()
    return total is None or done == total


def _copy(answer: Any, file: IO[bytes], begin: int, total: int | None, limit: int) -> int:
    """Write what the answer sends, with a bar; returns the length of the file then."""
    from tqdm import tqdm

    done, allowed = begin, limit if total is None else total
    name = Path(str(file.name)).name.removesuffix(".part")
    with tqdm(
        desc=name, initial=begin, total=total, unit="B", unit_scale=True, leave=False, disable=None
    ) as bar:
        for block in _blocks(answer):
            done += len(block)
            if done > allowed:
                raise ValueError(f"{name}: the server sends more than {allowed:,} bytes; stopped")
            file.write(block)
            bar.update(len(block))
    return done


class _Cut(Exception):
    """The network failed, which may pass; what arrived is in the part."""


def _ask(url: str, start: int, validator: str) -> Any:
    """The answer to a request for the bytes from `start`.

    Raises:
        HTTPError: where the server refuses.
        _Cut: where the network fails.
    """
    headers = {"User-Agent": "fcn-tutorial", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    try:
        return urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT
        )
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(str(getattr(error, "reason", "") or error or repr(error))) from error


def _blocks(answer: Any) -> Iterator[bytes]:
    came, since = 0, time.monotonic()
    try:
        while block := answer.read1(_CHUNK):
            yield block
            came += len(block)
            if (passed := time.monotonic() - since) > _LEAST[0]:
                if came < _LEAST[1]:
                    raise _Cut(f"{came:,} bytes in {passed:.0f} s")
                came, since = 0, time.monotonic()
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(str(error) or repr(error)) from error


def _extent(answer: Any) -> tuple[int, int | None]:
    """First byte and length of the whole file, as the answer tells them."""
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if found is None:
            raise _Cut("a partial answer without a usable Content-Range")
        return int(found[1]), int(found[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _validator(answer: Any) -> str:
    """What tells the server's file from a later one; a weak ETag does not hold for ranges."""
    tag = str(answer.headers.get("ETag", ""))
    weak = not tag or tag.startswith("W/")
    return str(answer.headers.get("Last-Modified", "")) if weak else tag


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise ValueError(f"{folder}: {wanted:,} bytes to come, {free:,} are free; make room")


def _verify(remote: Remote, part: Path) -> None:
    """Remove what is not the file, and raise `_Wrong` saying why."""
    length = _length(part)
    why = _why_wrong(remote, part, length)
    if why:
        part.unlink()
        _tag(part).unlink(missing_ok=True)
        raise _Wrong(
            f"{remote.name}: {why} ({length:,} bytes arrived"
            + (f", expected {remote.size:,}" if remote.size else "")
            + "). It was damaged on the way or replaced at the source; it is removed, try again"
        )


def _why_wrong(remote: Remote, part: Path, length: int) -> str:
    if remote.md5 is not None:
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        found = digest.hexdigest()
        return "" if found == remote.md5 else f"its md5 is {found}, expected {remote.md5}"
    if remote.size is not None and length != remote.size:
        return "it is not as long as it should be"
    with part.open("rb") as file:
        begins = file.read(512)
    if (
        begins.lstrip(b"\xef\xbb\xbf \t\r\n")
        .lower()
        .startswith((b"<!doctype html", b"<html", b"<?xml"))
    ):
        return "it is a web page, as of a login or an error"
    ending = Path(remote.name).suffix
    if remote.unpack:
        known = zipfile.is_zipfile(part) if ending == ".zip" else _is_tar(part)
        return "" if known else f"it is no {ending} archive"
    if not begins.startswith(_BEGINNINGS.get(ending, b"")):
        return f"it is no {ending} file"
    return ""


# Archives


def unpack(
    archive: Path, root: Path, placements: tuple[tuple[str, str], ...], limit: int = MAX_BYTES
) -> None:
    """Unpack a zip or tar archive: of `placements`, (folder inside, folder below `root`).

    Folders appear when all is unpacked, or not at all, and nothing is written outside `root`.

    Raises:
        ValueError: where a member's name is absolute or leads upwards, where a wanted member is a
            link or a device, where more than `limit` bytes come out, where the archive is damaged,
            and where it holds none of the folders.
    """
    staging = root / f".unpacking-{archive.name}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        found = _unpack_into(archive, staging, placements, limit)
        if not found:
            folders = ", ".join(inside or "files" for inside, _ in placements)
            raise ValueError(f"{archive}: holds no {folders}; is it the right archive?")
        for folder in sorted(found):
            (root / folder).parent.mkdir(parents=True, exist_ok=True)
            (staging / folder).rename(root / folder)
    except (ValueError, KeyboardInterrupt):
        raise
    except OSError as error:
        # The disk's; those of damaged archives have no number, or are about a place or a name.
        if error.errno not in (None, errno.EINVAL, errno.ENAMETOOLONG):
            raise
        raise ValueError(f"{archive}: damaged archive ({error})") from error
    except Exception as error:  # both modules raise almost anything on damaged input
        raise ValueError(f"{archive}: damaged archive ({error or repr(error)})") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack_into(
    archive: Path, staging: Path, placements: tuple[tuple[str, str], ...], limit: int
) -> set[str]:
    """Write the wanted members below `staging`; returns the folders of `placements` that came."""
    from tqdm import tqdm

    room, found = limit, set()
    members = _zip_members(archive) if archive.suffix == ".zip" else _tar_members(archive)
    bar = tqdm(members, f"unpacking {archive.name}", unit="file", leave=False, disable=None)
    for number, (name, kind, opener) in enumerate(bar):
        parts = _safe_parts(archive, name)
        if number >= MAX_MEMBERS:
            raise ValueError(f"{archive}: more than {MAX_MEMBERS:,} members")
        placed = _place("/".join(parts), placements)
        if placed is None or kind == "folder":
            continue
        if kind != "file":
            raise ValueError(f"{archive}: unsafe archive, {name!r} is a {kind}; not unpacked")
        folder, inner = placed
        target = staging / folder / inner
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            raise ValueError(f"{archive}: damaged archive, {name!r} comes twice")
        with opener() as source, target.open("xb") as file:
            while block := source.read(_CHUNK):
                room -= len(block)
                if room < 0:
                    raise ValueError(f"{archive}: unpacks to more than {limit:,} bytes; stopped")
                file.write(block)
        found.add(folder)
    return found


Member = tuple[str, str, Callable[[], IO[bytes]]]


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else "link" if stat.S_ISLNK(mode) else "file"
            yield info.filename, kind, lambda info=info: opened.open(info)  # type: ignore[misc]


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive, tarinfo=_Header) as opened:
        for info in opened:
            kind = "folder" if info.isdir() else "file" if info.isreg() else "link or device"
            yield info.name, kind, lambda info=info: _content(opened, info)  # type: ignore[misc]
        # tarfile takes a damaged or missing header for the end; the end is a block of zeros.
        assert opened.fileobj is not None, "it was opened for reading"
        opened.fileobj.seek(opened.offset)
        if opened.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"{archive}: damaged archive, it breaks off; fetch it again")


def _is_tar(path: Path) -> bool:
    try:
        tarfile.open(path, tarinfo=_Header).close()
    except tarfile.TarError:
        return False
    return True


class _Header(tarfile.TarInfo):
    """A member's header, or one that describes the next; the latter are read into memory whole."""

    def _proc_member(self, *arguments: Any) -> Any:
        """What reads the next header's description.

        Not `frombuf`, which the tarfile of newer Pythons, and of Debian 12, passes by.

        Raises:
            TarError: for a description above 1 MiB.
        """
        if self.type in _DESCRIPTIONS and self.size > _CHUNK:
            raise tarfile.TarError(f"a header of {self.size:,} bytes")
        return super()._proc_member(*arguments)  # type: ignore[misc]


_DESCRIPTIONS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip


def _content(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = opened.extractfile(info)
    if content is None:
        raise ValueError(f"{info.name!r} has no content")
    return content


def _safe_parts(archive: Path, name: str) -> tuple[str, ...]:
    """The parts of a member's name.

    Raises:
        ValueError: where they could lead out of a folder.
    """
    path = PureWindowsPath(name)  # takes both separators, and knows drives
    if path.anchor or path.drive or ".." in path.parts or "\0" in name:
        raise ValueError(f"{archive}: unsafe archive, it holds {name!r}; not unpacked")
    if len(path.parts) > _MAX_DEPTH:
        raise ValueError(
            f"{archive}: damaged archive, {len(path.parts)} folders lie one in the other; not "
            "unpacked"
        )
    return path.parts


def _place(name: str, placements: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    """Folder and name below it of a member, or None where it is not wanted."""
    for inside, folder in placements:
        if name.startswith(inside) and len(name) > len(inside):
            return folder, name[len(inside) :]
    return None
