"""Kill a run at random moments, resume it each time, and compare what it leaves with a calm run's.

    python -m tests.training.killing 20        twenty kills, a few minutes

Every second kill waits for a file that is being written.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from fcn_tutorial.training.run import RunFolder

SETTINGS = (
    "model.width=0.25", "data.crop=48,64", "data.train_images=12", "data.test_images=4",
    "batch=4", "epochs=120", "validate_every=40", "ema=0.9", "model.dropout=0.2", "save_every=1",
    "baselines=false",
)  # fmt: skip


def command(out: Path, *more: str) -> list[str]:
    """A run of a minute or so: three steps an epoch, a checkpoint after each."""
    chosen = [part for setting in SETTINGS for part in ("--set", setting)]
    return [
        sys.executable, "-m", "fcn_tutorial", "train", "scenes-fcn8s", "--out", str(out),
        "--device", "cpu", *chosen, *more,
    ]  # fmt: skip


def kill_and_resume(out: Path, kills: int, seed: int = 0) -> int:
    """Run into `out`, kill it so many times, let it end; returns the kills during a write."""
    rng = random.Random(seed)
    while_writing = 0
    for turn in range(kills):
        resumed = ["--resume", "auto"]
        before = _stamp(out / "last.pt")
        process = subprocess.Popen(
            command(out, *resumed), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _wait(process, lambda b=before: _stamp(out / "last.pt") != b)
        time.sleep(rng.uniform(0, 0.6))
        if turn % 2:
            _wait(process, lambda: bool(list(out.glob("*.partial*"))))
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the run ended before it was killed: {said.decode()[-2000:]}")
        while_writing += bool(list(out.glob("*.partial*")))
    subprocess.run(command(out, "--resume"), check=True, stdout=subprocess.DEVNULL)
    return while_writing


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _wait(process: subprocess.Popen[bytes], happened: Any) -> None:
    for _ in range(2_000_000):
        if happened() or process.poll() is not None:
            return
        time.sleep(0.00005)
    raise RuntimeError("nothing happened for minutes")


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two run folders' weights, states and logs; nothing if all bits agree."""
    found = []
    calm, cut = RunFolder(one), RunFolder(other)
    if calm.log.read_bytes() != cut.log.read_bytes():
        found.append("log.csv")
    best, best_cut = load_file(calm.best), load_file(cut.best)
    found += [f"best {k}" for k in best if not torch.equal(best[k], best_cut[k])]
    state, state_cut = calm.read_state(), cut.read_state()
    for part in ("model", "average"):
        found += [
            f"{part} {k}"
            for k in state[part]
            if not torch.equal(state[part][k], state_cut[part][k])
        ]
    if not torch.equal(state["random"][0]["cpu"], state_cut["random"][0]["cpu"]):
        found.append("random state")
    for i, values in state["optimiser"]["state"].items():
        theirs = state_cut["optimiser"]["state"][i]
        found += [f"optimiser {i} {k}" for k in values if not torch.equal(values[k], theirs[k])]
    return found


def main() -> int:
    """Kill as often as asked, and say what came of it."""
    kills = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        calm, cut = Path(folder) / "calm", Path(folder) / "cut"
        subprocess.run(command(calm), check=True, stdout=subprocess.DEVNULL)
        while_writing = kill_and_resume(cut, kills)
        found = differences(calm, cut)
    print(f"{kills} kills, {while_writing} of them during a write")
    print(
        "\n".join(found) or "weights, states and log are those of the undisturbed run, to the bit"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
