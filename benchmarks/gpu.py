"""All that a GPU is asked for, in one command that may be cut off at any moment.

    python -m benchmarks.gpu --out DIR [--only PHASE]… [--minutes M] [--carried DIR] [--smoke]
    python -m benchmarks.gpu --home DIR

It needs the checkout, torch and what the package imports, and no network. A phase is a process of
its own with a time of its own: one that crashes or hangs loses itself alone, and time that one
leaves goes to those after it. What a phase lacks is said, and the phase skipped. In order:

- correct: every test that carries the marker `cuda`;
- speed: `benchmarks.ceiling`, `.core` and `.training`;
- camvid, vgg16: runs on the frames and weights that `python -m tools.carry_camvid` has put into
  `--carried` [runs/carried];
- after: U-Net, SegNet-Basic and SegNet at full width on the same frames, from nothing;
- scenes: a network from scratch on generated scenes.

Each phase leaves DIR/PHASE.json, whole after each of its results; all write to DIR/log.txt. After
each phase DIR/summary.json is replaced:

    {"schema": 1, "smoke": false, "device": …, "created": …,
     "phases": {"correct": {"status": "done" | "skipped" | "cut" | "failed", "why": …,
                            "seconds": …, "files": ["correct.json"]}, …}}

`--home` puts the records in DIR where they belong, in data/results and benchmarks/results, and
overwrites no run that is there. `--smoke` takes the same path on a CPU, tiny, in less than a
minute; its records stay where they are.

Exit status: 0 done (phases may be cut or skipped); 1 a phase failed, or a clear error; 2 wrong
usage; 143 ended from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TextIO

from fcn_tutorial.files import write_atomically

# Nothing here imports torch: what hangs or faults in it must be in a phase.
ROOT = Path(__file__).resolve().parents[1]
SCHEMA = 1
STATUS = {0: "done", 3: "skipped", 4: "cut"}  # of a phase's exit; others: failed
TO_END = 5.0  # seconds between a phase's deadline and its end by force
RESULTS = ("data/results/", "benchmarks/results/")


class Phase(NamedTuple):
    """share: its part of the time, by comparison. most: the seconds it never exceeds."""

    share: float
    most: float


#: With the default of 9.5 minutes the shares are seconds.
PHASES = {
    "correct": Phase(90, 90),
    "speed": Phase(150, 150),
    "camvid": Phase(200, 360),
    "vgg16": Phase(50, 240),
    "after": Phase(40, 240),
    "scenes": Phase(40, 240),
}


def allowance(name: str, ahead: Sequence[str], seconds: float) -> float:
    """What a phase may take of the seconds left; `ahead`: the phases still to run, it included."""
    share = PHASES[name].share / sum(PHASES[other].share for other in ahead)
    return min(PHASES[name].most, seconds * share)


def command(name: str, args: argparse.Namespace, seconds: float) -> list[str]:
    """The process of a phase, which is told to end a little before it is made to."""
    line = [sys.executable, "-m", "benchmarks.phases", name, "--out", str(args.out.resolve())]
    line += [
        "--device",
        "cpu" if args.smoke else "cuda",
        "--until",
        str(time.monotonic() + seconds - TO_END),
    ]
    line += ["--carried", str(args.carried.resolve())]
    return line + ["--smoke"] * args.smoke


def run_phase(line: Sequence[str], seconds: float, log: Path) -> tuple[str, str]:
    """Run a phase for at most so long; its status, and why where that is not "done"."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    with log.open("a+", encoding="utf-8", errors="replace") as output:
        print(f"\n== {' '.join(line[2:4])}", file=output, flush=True)
        start = output.tell()
        # A group of its own, so that its children can be ended with it.
        process = subprocess.Popen(
            line, cwd=ROOT, env=environment, stdout=output, stderr=output, process_group=0
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return "cut", f"did not end within {seconds:.0f} s"
        finally:
            _end(process)
        return STATUS.get(code, "failed"), _last_line(output, start, code)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a phase that still runs: politely, for torchrun to end its children, then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(2)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _last_line(output: TextIO, start: int, code: int) -> str:
    if code == 0:
        return ""
    output.seek(start)
    lines = [line.strip() for line in output if line.strip()]
    said = lines[-1][:500] if lines else ""
    return f"ended by {signal.Signals(-code).name}: {said}" if code < 0 else said


def device_name() -> str:
    """The CUDA device as torch names it; "" without one. In a process of its own: it may hang."""
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    try:
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=90
        )
    except subprocess.TimeoutExpired:
        return ""
    return found.stdout.strip()


def write(path: Path, content: Mapping[str, Any]) -> None:
    """A JSON file, whole or as it was."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, text.encode())


def run(args: argparse.Namespace) -> int:
    device = f"{platform.machine()} CPU" if args.smoke else device_name()
    if not device:
        print("torch sees no CUDA device; --smoke takes the same path on the CPU", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    names = [name for name in PHASES if not args.only or name in args.only]
    created = datetime.now(UTC).isoformat(timespec="seconds")
    summary = {
        "schema": SCHEMA, "smoke": args.smoke, "device": device, "created": created, "phases": {}
    }  # fmt: skip
    phases: dict[str, dict[str, Any]] = summary["phases"]
    signal.signal(signal.SIGTERM, _leave)
    end = time.monotonic() + 60 * args.minutes
    for number, name in enumerate(names):
        began = time.monotonic()
        # A smoke run shares nothing out: on a busy CPU any phase may take long.
        seconds = end - began if args.smoke else allowance(name, names[number:], end - began)
        print(f"{name}: up to {seconds:.0f} s", flush=True)
        status, why = "cut", "ended from outside"
        (args.out / f"{name}.json").unlink(missing_ok=True)  # of an earlier run
        try:
            if seconds > TO_END:
                status, why = run_phase(command(name, args, seconds), seconds, args.out / "log.txt")
            else:
                status, why = "cut", "no time left"
        finally:
            files = [f"{name}.json"] if (args.out / f"{name}.json").is_file() else []
            phases[name] = {
                "status": status, "why": why,
                "seconds": round(time.monotonic() - began, 1), "files": files,
            }  # fmt: skip
            write(args.out / "summary.json", summary)
    print(table(args.out, summary))
    return int(any(phase["status"] == "failed" for phase in phases.values()))


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def table(folder: Path, summary: Mapping[str, Any]) -> str:
    """Status and time of each phase, and under it what it found, one line each."""
    lines = [f"\n{summary['device']}"]
    for name, phase in summary["phases"].items():
        lines.append(f"{name:8} {phase['status']:8} {phase['seconds']:6.1f} s  {phase['why']}")
        for file in phase["files"]:
            lines += [f"           {line}" for line in read(folder / file)["says"]]
    return "\n".join(lines)


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def bring_home(folder: Path, root: Path = ROOT) -> int:
    """Put the records of a run's folder where they belong.

    Those of benchmarks replace what is there; a training run that is there already stays. Raises
    FileNotFoundError without a run, ValueError for a smoke run and a path that leads elsewhere.
    """
    paths = [folder / f"{name}.json" for name in PHASES if (folder / f"{name}.json").is_file()]
    if not paths:
        raise FileNotFoundError(f"--home {folder}: holds no file that a phase has left")
    for bundle in map(read, paths):
        if bundle["smoke"]:
            raise ValueError(f"--home {folder}: is of a smoke run, whose numbers mean nothing")
        for where, record in bundle["records"].items():
            target = root / where
            if not where.startswith(RESULTS) or ".." in where or target.suffix != ".json":
                raise ValueError(f"--home {folder}: {where} is not a place for records")
            if where.startswith("data/") and target.exists():
                print(f"kept      {where}, which was there")
                continue
            print(f"{'replaced' if target.exists() else 'new':9} {where}")
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target, record)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    summary, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=summary)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="DIR", help="run, and write here")
    what.add_argument("--home", type=Path, metavar="DIR", help="bring home the records of a run")
    parser.add_argument(
        "--only", nargs="+", action="extend", choices=PHASES, metavar="PHASE",
        help=", ".join(PHASES),
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=9.5, metavar="M", help="in all [9.5]")
    parser.add_argument("--carried", type=Path, default=ROOT / "runs" / "carried", metavar="DIR")
    parser.add_argument("--smoke", action="store_true", help="tiny, on the CPU")
    args = parser.parse_args(arguments)
    try:
        return bring_home(args.home) if args.home else run(args)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
