"""A run folder: what a training run leaves behind, written so that no crash leaves half a file.

`record.json` (what was run and what came out), `last.pt` (everything needed to go on),
`best.safetensors` (the network), `model_card.md` (the record for people), `log.csv` (a row an
epoch), `curve.png`, `samples.png`.
"""

from __future__ import annotations

import csv
import io
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from fcn_tutorial.files import replacing
from fcn_tutorial.training.card import model_card
from fcn_tutorial.training.record import dumps


class RunFolder:
    """Paths and atomic writes of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "record.json"
        self.last = path / "last.pt"
        self.best = path / "best.safetensors"
        self.card = path / "model_card.md"
        self.log = path / "log.csv"
        self.curve = path / "curve.png"
        self.samples = path / "samples.png"

    def create(self) -> None:
        """Make the folder. Raises ValueError where it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ValueError(f"--out {self.path}: cannot be written ({error.strerror})") from error

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace `last.pt` whole."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.last, buffer.getvalue())

    def read_state(self) -> dict[str, Any]:
        """`last.pt`, tensors and plain types only. Raises ValueError naming a damaged file."""
        try:
            state: dict[str, Any] = torch.load(self.last, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.last} not found: nothing to resume") from None
        except Exception as error:  # the unpickler raises many kinds
            raise ValueError(f"{self.last}: damaged or not a checkpoint ({error})") from error
        return state

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


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside, flush to disk, rename over: `path` is always the old or the new content.

    Raises OSError naming `path` where that fails, for want of space or of permission.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def _git_state() -> str:
    """Commit of the source tree, with "+changes" if it was edited; "" outside a checkout."""
    here = Path(__file__).parent
    try:
        options = {"cwd": here, "capture_output": True, "text": True, "check": True}
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **options).stdout.strip()  # type: ignore[call-overload]
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "."],
            **options,  # type: ignore[call-overload]
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}+changes" if changes else commit
