"""A run folder: what a training run leaves behind, written so that no crash leaves half a file.

`record.json` (what was run and what came out), `last.pt` and `last-1.pt` (everything needed to go
on, and the same from one checkpoint earlier), `best.safetensors` (the network), `model_card.md`
(the record for people), `log.csv` (a row an epoch), `curve.png`, `samples.png`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

import torch

from fcn_tutorial.files import check_stored, locked, replacing, unfinished, write_atomically
from fcn_tutorial.training import distributed
from fcn_tutorial.training.records.card import model_card
from fcn_tutorial.training.records.record import dumps, html, read

#: What a checkpoint's zip comment begins with; the digest of the file up to there follows.
_MARK = b"sha256:"
_SEAL = (len(_MARK) + 64).to_bytes(2, "little") + _MARK  # the comment's length goes before it
_CHUNK = 1 << 24  # bytes that one thread digests at a time


class RunFolder:
    """Paths of one run, its lock, and what is written and read there.

    Args:
        path: of the folder; nothing is made before `claimed` or `opened`.

    ::

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = RunFolder(folder)
        ...     run.write_state({"step": 3})
        ...     run.last.name, run.read_state()
        ('last.pt', {'step': 3})
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        self.record = path / "record.json"
        self.last = path / "last.pt"
        self.previous = path / "last-1.pt"
        self.best = path / "best.safetensors"
        self.card = path / "model_card.md"
        self.log = path / "log.csv"
        self.curve = path / "curve.png"
        self.samples = path / "samples.png"
        self._former: Path | None = self.previous  # where a checkpoint goes that is replaced

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.last.exists() or self.previous.exists()

    @property
    def used(self) -> bool:
        """Whether a run has left anything here that another would overwrite."""
        return self.begun or self.record.exists() or self.best.exists()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Make the folder, and be its only writer while within.

        What a writer that was killed has left half-written is removed.

        Raises:
            ValueError: where the folder cannot be written, and where another process writes there.
        """
        with ExitStack() as held:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(self.path / ".lock"))
            except BlockingIOError as error:
                raise ValueError(
                    f"--out {self.path}: {error.strerror} writes there; wait until it has ended, "
                    "or name another folder"
                ) from error
            except OSError as error:
                reason = error.strerror
                raise ValueError(f"--out {self.path}: cannot be written ({reason})") from error
            for left in unfinished(self.path):
                left.unlink(missing_ok=True)
            yield

    @contextmanager
    def opened(self, resume: bool | Literal["auto"]) -> Iterator[Self]:
        """Be the run's folder while within; under `torchrun` the first process claims it for all.

        Raises:
            ValueError: as `claimed`, and where a run that is not to go on is here already.
        """
        with ExitStack() as held:

            def claim() -> None:
                held.enter_context(self.claimed())
                if self.used and not resume:
                    raise ValueError(
                        f"--out {self.path}: holds a run already; add --resume or name another "
                        "folder"
                    )

            distributed.by_first(claim)
            yield self

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replace `last.pt` whole, by a file that knows its own digest; the old one is kept."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        # A zip archive may end with a comment; without one its last two bytes are 0.
        content = buffer.getbuffer()[:-2]
        parts = [content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK)]
        seal = (_SEAL, _digest([*parts, _SEAL]).encode())
        with replacing(self.last, self._former) as partial, partial.open("wb") as file:
            file.writelines((content, *seal))
        self._former = self.previous

    def read_state(self) -> dict[str, Any]:
        """`last.pt`, tensors and plain types only.

        Raises:
            ValueError: naming a damaged file.
        """
        return _read_state(self.last)

    def newest_state(self, needed: bool) -> tuple[dict[str, Any], str]:
        """The state of the newest checkpoint that is whole, and what is wrong with a newer one.

        Nothing and nothing where no run has begun here.

        Raises:
            FileNotFoundError: where one is `needed`, or has been and ended.
            ValueError: where none is whole.
        """
        if not self.begun:
            if needed or self.used:
                raise FileNotFoundError(f"{self.last} not found: nothing to resume")
            return {}, ""
        try:
            return self.read_state(), ""
        except (FileNotFoundError, ValueError) as error:
            if not self.previous.exists():
                raise
            state = _read_state(self.previous)
            self._former = None  # the damaged one is not worth the place of the whole one
            return state, f"{error}; {self.previous.name}, the checkpoint before it, is whole"

    def write_log(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace `log.csv` whole."""
        text = io.StringIO()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.log, text.getvalue().encode())

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace `record.json`, and the model card that is made from it, each whole."""
        write_atomically(self.record, dumps(record).encode())
        write_atomically(self.card, model_card(record).encode())

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """In a notebook, the scores of the run's record; before it has ended, its place."""
        try:
            return html(read(self.record))
        except ValueError as error:
            told = f"{self.path}: no run has ended here" if not self.record.exists() else str(error)
            return f"<pre>{escape(told)}</pre>"


def _read_state(path: Path) -> dict[str, Any]:
    try:
        _verify(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not state:  # none would be a run that has not begun
            raise ValueError(f"holds {'nothing' if state == {} else type(state).__name__}")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} not found: nothing to resume") from None
    except Exception as error:  # the unpickler raises many kinds
        raise ValueError(f"{path}: damaged or not a checkpoint ({error})") from error
    return state


def _verify(path: Path) -> None:
    """Raise ValueError, or what `zipfile` does, for a checkpoint that is not as it was written."""
    with zipfile.ZipFile(path) as archive:
        # As they are written: so a file cannot unfold to more than it is.
        check_stored(archive, path.stat().st_size)
        if not archive.comment:  # written before checkpoints knew their digest
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} is not as it was written")
            return
    with path.open("rb") as file:
        size = path.stat().st_size - len(_SEAL) - 64
        sizes = [*(min(_CHUNK, size - at) for at in range(0, size, _CHUNK)), len(_SEAL)]
        found = _digest(file.read(n) for n in sizes)
        if file.read() != found.encode():
            raise ValueError("not as it was written: its digest is another")


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    """SHA-256 of the SHA-256 sums of the parts, which several threads compute."""
    with ThreadPoolExecutor() as pool:
        sums = pool.map(lambda part: hashlib.sha256(part).digest(), parts)
        return hashlib.sha256(b"".join(sums)).hexdigest()


def provenance(device: torch.device) -> dict[str, Any]:
    """When, with what code, libraries and machine a run was made."""
    libraries = ("fcn-tutorial", "torch", "torchvision", "numpy", "pillow")
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": _git_state(),
        "versions": {"python": platform.python_version(), **{n: _version(n) for n in libraries}},
        "device": _device_name(device),
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{platform.machine()} CPU, {threads} thread{'s' * (threads != 1)}"


def _git_state() -> str:
    """Commit of this package's own checkout, with "+changes" if it was edited; "" outside of it.

    A package that lies in somebody else's repository, in an environment or as a copy, has none.
    """
    root = Path(__file__).resolve().parents[2]
    project = root / "pyproject.toml"
    if not ((root / ".git").exists() and project.is_file()):
        return ""
    if 'name = "fcn-tutorial"' not in project.read_text(encoding="utf-8", errors="replace"):
        return ""
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "fcn_tutorial")
    return f"{commit}+changes" if commit and changes else commit


def _git(root: Path, *arguments: str) -> str:
    """What a git command prints; "" where it fails."""
    # Variables that lead git to another repository, as in a hook of that one, are left out.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", *arguments], cwd=root, env=environment, capture_output=True, text=True,
            check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""


def peak_memory_mb(device: torch.device) -> int:
    """Largest memory so far: the allocator's on CUDA, the process's resident set on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) / 2**20)
    if sys.platform == "win32":
        return 0  # Windows has no getrusage
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (2**20 if sys.platform == "darwin" else 2**10))  # bytes there, KiB here
