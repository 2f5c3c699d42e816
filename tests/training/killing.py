"""End runs in every way that machines end them, go on each time, and compare with a calm run.

    python -m tests.training.killing [--seed N]    `make kills`: a few minutes

All happens to one run: SIGKILLs, many of them while a checkpoint is being written; SIGTERMs to the
whole group, as a scheduler sends them; disks that fill up; a second process that wants the same
folder. After each of them the next attempt must go on, and in the end weights, states and log must
be those of a run that was left alone. Then the same, shorter, under `torchrun` with two processes.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from fcn_tutorial.training.run import RunFolder

SETTINGS = (
    "model.width=0.25", "data.crop=48,64", "data.train_images=12", "data.test_images=4",
    "batch=4", "epochs=120", "validate_every=40", "ema=0.9", "model.dropout=0.2", "save_every=1",
    "baselines=false",
)  # fmt: skip
#: Seconds after which a run that does nothing has hung.
_PATIENCE = 120


def command(out: Path, *more: str) -> list[str]:
    """A run of a minute or so: three steps an epoch, a checkpoint after each."""
    return [sys.executable, "-m", "fcn_tutorial", *arguments(out, *more)]


def arguments(out: Path, *more: str) -> list[str]:
    """What the command line is given for it."""
    chosen = [part for setting in SETTINGS for part in ("--set", setting)]
    return ["train", "scenes-fcn8s", "--out", str(out), "--device", "cpu", *chosen, *more]


# Processes ----------------------------------------------------------------------------------------


@dataclass
class Running:
    """A process in a group of its own."""

    pid: int
    wait: Callable[[], int]  # its status; negative: the signal that ended it
    ended: Callable[[], bool]
    errors: Path

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send the signal to its whole group; then as `finish`."""
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            _until(self, lambda: os.getpgid(self.pid) == self.pid)
            os.killpg(self.pid, number)
        return self.finish()

    def finish(self) -> tuple[int, str]:
        """Its status and what it said of errors, once it has ended."""
        status, said = self.wait(), self.errors.read_text()
        self.errors.unlink()
        return status, said


#: Starts the command line with these arguments, a largest size of files, if any, in bytes.
Start = Callable[[Sequence[str], int], Running]


def cold(line: Sequence[str]) -> Running:
    """A process of its own kind, such as `torchrun`."""
    errors = _errors()
    with errors.open("w") as stream:
        process = subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True
        )
    return Running(process.pid, process.wait, lambda: process.poll() is not None, errors)


def warm(given: Sequence[str], limit: int = 0) -> Running:
    """The command line in a process that is forked from one that has loaded the libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fcn_tutorial.training", "fcn_tutorial.cli.train"])
    errors = _errors()
    process = context.Process(target=_command_line, args=([*given], limit, errors))
    process.start()
    assert process.pid is not None

    def wait() -> int:
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    return Running(process.pid, wait, lambda: not process.is_alive(), errors)


def _errors() -> Path:
    descriptor, name = tempfile.mkstemp(suffix=".errors")
    os.close(descriptor)
    return Path(name)


def _command_line(given: list[str], limit: int, errors: Path) -> None:
    os.setsid()
    # Those that prepare batches are forked, as in a run that nobody started in this way.
    multiprocessing.set_start_method("fork", force=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND), 2)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    from fcn_tutorial.cli import main

    try:
        status = main(given)
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stderr.flush()
    os._exit(status)


def _until(process: Running, happened: Callable[[], bool], every: float = 0.005) -> None:
    end = time.monotonic() + _PATIENCE
    while not happened() and not process.ended():
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            raise RuntimeError("nothing happened for minutes")
        time.sleep(every)


# What happens to a run ----------------------------------------------------------------------------


class Story:
    """One run, and all that happens to it. Raises AssertionError where it takes harm."""

    def __init__(self, out: Path, seed: int, more: Sequence[str] = (), start: Start = warm) -> None:
        self.folder, self.rng = RunFolder(out), random.Random(seed)
        self.more, self.start = more, start
        self.while_writing = 0

    def attempt(self, *more: str, limit: int = 0) -> Running:
        """Begin or go on."""
        given = arguments(self.folder.path, *self.more, *more, "--resume", "auto")
        return self.start(given, limit)

    def _saves(self, process: Running, most: int = 5) -> None:
        """Let it save its state a few times."""
        for _ in range(self.rng.randrange(1, most)):
            before = _stamp(self.folder.last)
            _until(process, lambda b=before: _stamp(self.folder.last) != b)  # type: ignore[misc]

    def killed(self, writing: bool = False) -> None:
        """SIGKILL, somewhen or while a checkpoint is being written."""
        process = self.attempt()
        self._saves(process)
        if writing:
            _until(process, lambda: bool(_unfinished(self.folder.path)), every=1e-4)
        else:
            time.sleep(self.rng.uniform(0, 0.05))
        status, said = process.end(signal.SIGKILL)
        assert status == -signal.SIGKILL, f"the run ended before it was killed ({status}): {said}"
        self.while_writing += bool(_unfinished(self.folder.path))

    def terminated(self) -> None:
        """SIGTERM to the whole group: the state of the last whole step is saved."""
        before = self._step()
        process = self.attempt("--set", "save_every=1000")
        if self.rng.random() < 0.25:  # while it starts
            time.sleep(self.rng.uniform(0, 0.5))
        else:
            self._saves(process, 4)
            time.sleep(self.rng.uniform(0, 0.05))
        status, said = process.end(signal.SIGTERM)
        assert "Traceback" not in said, said
        if status == -signal.SIGTERM:  # before there was anything to save
            assert self._step() == before
            return
        assert status == 130, f"status {status}: {said}"
        if "nothing was learned yet" not in said:
            told = re.search(r"stopped at step (\d+) of", said)
            assert told is not None and int(told[1]) == self._step() >= before, said

    def full(self) -> None:
        """A disk that takes no more of any file than a part of a checkpoint, or of a batch."""
        before = _contents(self.folder)
        room = self.rng.randrange(1_000, self.folder.last.stat().st_size - 1_000)
        status, said = self.attempt(limit=room).finish()
        assert status == 1 and "File too large" in said, f"{status}: {said}"
        assert "Traceback" not in said and _contents(self.folder) == before
        assert not _unfinished(self.folder.path)

    def shared(self) -> None:
        """Two processes that want the folder at once: one has it, the other says so."""
        both = [self.attempt() for _ in range(2)]
        _until(both[0], lambda: both[1].ended() or both[0].ended())
        refused, other = sorted(both, key=lambda process: not process.ended())
        status, said = refused.finish()
        assert status == 1 and "writes there; wait until it has ended" in said, f"{status}: {said}"
        self._saves(other)
        status, said = other.end(signal.SIGKILL)
        assert status == -signal.SIGKILL, f"{status}: {said}"

    def end(self) -> None:
        """Let it end."""
        status, said = self.attempt().finish()
        assert status == 0, f"{status}: {said}"

    def _step(self) -> int:
        """The step of its newest checkpoint."""
        stored, _ = self.folder.newest_state(needed=False) if self.folder.used else ({}, "")
        return int(stored["progress"]["step"]) if stored else 0


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".*.partial*"))


def _contents(folder: RunFolder) -> list[bytes]:
    return [path.read_bytes() for path in (folder.last, folder.previous) if path.exists()]


def kill_and_resume(
    out: Path, kills: int, seed: int = 0, more: Sequence[str] = (), start: Start = warm
) -> int:
    """Run into `out`, kill it so many times, let it end; returns the kills during a write."""
    story = Story(out, seed, more, start)
    for turn in range(kills):
        story.killed(writing=turn % 2 == 1)
    story.end()
    return story.while_writing


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
    for mine, theirs in zip(state["random"], state_cut["random"], strict=True):
        found += ["random state"] * (not torch.equal(mine["cpu"], theirs["cpu"]))
    for i, values in state["optimiser"]["state"].items():
        theirs = state_cut["optimiser"]["state"][i]
        found += [f"optimiser {i} {k}" for k in values if not torch.equal(values[k], theirs[k])]
    return found


# All of it ----------------------------------------------------------------------------------------


def together(out: Path, *more: str) -> list[str]:
    """The same under `torchrun`, in two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    line = ["--nproc-per-node=2", "-m", "fcn_tutorial", *arguments(out, *more)]
    return [*launcher, *line, "--resume", "auto"]


def shared_run(folder: Path, seed: int) -> list[str]:
    """Two processes under `torchrun`, ended by SIGTERM and by SIGKILL; what differs at the end."""
    rng, short = random.Random(seed), ("--set", "epochs=8", "--set", "batch=2")
    calm, cut = folder / "calm-2", folder / "cut-2"
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = cold(together(cut, *short))
        before = _stamp(cut / "last.pt")
        _until(process, lambda b=before: _stamp(cut / "last.pt") != b)  # type: ignore[misc]
        time.sleep(rng.uniform(0, 0.3))
        status, said = process.end(number)
        assert status != 0, said
        assert number == signal.SIGKILL or "the state is saved" in said, said
    for out in (cut, calm):
        status, said = cold(together(out, *short)).finish()
        assert status == 0, said
    return differences(calm, cut)


def main() -> int:
    """End runs as often as the issue asks, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--kills", type=int, default=25, help="by SIGKILL")
    parser.add_argument("--terms", type=int, default=12, help="by SIGTERM to the group")
    parser.add_argument(
        "--others", type=int, default=3, help="full disks, and two writers, of each"
    )
    parser.add_argument("--alone", action="store_true", help="without torchrun")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found, writing = story(folder, options.seed, options.kills, options.terms, options.others)
        print(f"{options.kills} SIGKILLs, {writing} of them while a file was being written; "
              f"{options.terms} SIGTERMs, {options.others} full disks, {options.others} times two "
              f"writers: {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
        if not options.alone:
            found += shared_run(folder, options.seed)
            print(f"torchrun, two processes: {time.monotonic() - began:.0f} s")
    print("\n".join(found) or "weights, states and logs are those of undisturbed runs, to the bit")
    return 1 if found else 0


def story(folder: Path, seed: int, kills: int, terms: int, others: int) -> tuple[list[str], int]:
    """All that one process can suffer, in an order drawn from the seed.

    Returns what differs from the undisturbed run, and how many kills came during a write.
    """
    events = [*(["kill", "write"] * kills)[:kills], *["term"] * terms, *["full", "two"] * others]
    random.Random(seed).shuffle(events)
    epochs = 12 + 3 * kills + 3 * others + 5 * terms  # enough for all that is cut off
    more = ("--set", f"epochs={epochs}", "--set", f"validate_every={epochs // 3}")
    calm, cut = folder / "calm", Story(folder / "cut", seed, more)
    ways = {"kill": cut.killed, "write": lambda: cut.killed(writing=True),
            "term": cut.terminated, "full": cut.full, "two": cut.shared}  # fmt: skip
    try:
        cut.killed()  # so that there is something to lose
        for event in events:
            ways[event]()
        cut.end()
    finally:
        for process in multiprocessing.active_children():  # of a story that ended badly
            process.kill()
    status, said = warm(arguments(calm, *more)).finish()
    assert status == 0, said
    return differences(calm, cut.folder.path), cut.while_writing


if __name__ == "__main__":
    sys.exit(main())
