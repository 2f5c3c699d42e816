"""What every phase is given, and the one file that it leaves.

The file of a phase, DIR/NAME.json, is whole after each result:

    {"schema": 1, "smoke": false, "says": ["a line of the closing table", …],
     "records": {"benchmarks/results/core-cuda.json": {…}, …}}

where each record stands under the path that it has in the repository once it is brought home.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_tutorial.files import write_atomically

# Without torch, which a phase that only starts others need not load.
ROOT = Path(__file__).resolve().parents[2]
SCHEMA = 1
#: Exit statuses of a phase that is neither done (0) nor failed.
SKIPPED, CUT = 3, 4


class Skipped(Exception):
    """The phase lacks something here; the message says what."""


class Cut(Exception):
    """The time is over; the message says what was not reached."""


@dataclass(frozen=True)
class Work:
    """Where a phase runs and for how long.

    device: "cuda", or "cpu" of a smoke run. carried: the folder that `tools.carry_camvid` made.
    deadline: by `time.monotonic`, when the phase must have ended.
    """

    device: str
    smoke: bool
    carried: Path
    deadline: float

    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def call(self, command: Sequence[str]) -> int:
        """Run a command from the root of the checkout; its exit status. Raises Cut at the deadline.

        Its output goes where the phase's goes.
        """
        try:
            return subprocess.run(command, cwd=ROOT, timeout=self.left()).returncode
        except subprocess.TimeoutExpired:
            raise Cut(f"no time left in {' '.join(command[1:6])}") from None


class Bundle:
    """The file of a phase."""

    def __init__(self, path: Path, work: Work) -> None:
        self.path = path
        commit = work.carried / "commit.txt"
        self._commit = commit.read_text(encoding="utf-8").strip() if commit.is_file() else ""
        self._smoke = work.smoke
        self._says: list[str] = []
        self._records: dict[str, Any] = {}

    def add(self, where: str, record: dict[str, Any], says: str = "") -> None:
        """Keep a record, in place of an earlier one for the same path, and a line on it."""
        if not record.get("git"):  # a checkout that was carried without its history
            record["git"] = self._commit
        self._records[where] = record
        if says:
            self._says.append(says)
            print(says, flush=True)
        content = {
            "schema": SCHEMA, "smoke": self._smoke, "says": self._says, "records": self._records
        }  # fmt: skip
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.path, text.encode())
