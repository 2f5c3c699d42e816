"""Break one formula at a time and see that its test fails: `make mutants`.

The list is tests/mutants.toml: in `file`, the text `old`, which occurs there once, becomes `new`,
and `test` must then fail. Each is tried in a copy of the tree; the tree itself is never touched.
Each try is a fork of this process, which has imported the libraries, but not the package, once.
"""

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.project import ROOT

LIST = "tests/mutants.toml"
#: What a copy holds: enough to run the tests of the package.
COPIED = (
    "fcn_tutorial",
    "tests",
    "tools",
    "benchmarks",
    "data",
    "pyproject.toml",
    "CONTRIBUTING.md",
)
#: What takes the time of a test's start; `vision` imports torchvision where it needs help.
LIBRARIES = ("hypothesis", "scipy.ndimage", "sklearn.metrics", "fcn_tutorial.vision")


@dataclass(frozen=True)
class Mutant:
    """One change, and the test that must notice it."""

    file: str
    old: str
    new: str
    test: str

    def apply(self, root: Path) -> None:
        """Make the change under `root`. Raises ValueError unless `old` occurs exactly once."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(
                f"{LIST}: {self.old!r} occurs {text.count(self.old)} times in {self.file}"
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def read(root: Path = ROOT) -> list[Mutant]:
    """The mutants of the list."""
    with (root / LIST).open("rb") as file:
        return [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]


def copy(root: Path) -> None:
    """Copy the tree into `root`."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, root / name)


def start(mutant: Mutant, root: Path) -> int:
    """Run the test of a mutant in a copy at `root`, in a child; returns the child's number."""
    copy(root)
    mutant.apply(root)
    child = os.fork()
    if child == 0:
        try:
            os._exit(_run(mutant.test, root))
        finally:
            os._exit(3)  # pytest's own "internal error"
    return child


def _run(test: str, root: Path) -> int:
    """pytest in a child: everything that stems from the tree is imported anew, from the copy."""
    log = os.open(root / "log.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(root)
    os.environ["PYTHONPATH"] = str(root)
    sys.path[:] = [str(root), *(entry for entry in sys.path if Path(entry).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in COPIED]:
        LEFT.append(sys.modules.pop(name))
    return int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", test]))


#: Modules of the tree that a child has put aside: `vision` undoes its repair when it is collected.
LEFT: list[object] = []


def survived(mutant: Mutant, root: Path, status: int) -> bool:
    """What a child's end says. Raises SystemExit where the test did not run."""
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1):  # no such test, no such file
        log = (root / "log.txt").read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"{mutant.test} did not run:\n{log[-4000:]}")
    return code == 0


def tried(mutants: Sequence[Mutant], at_a_time: int) -> Iterator[tuple[Mutant, bool]]:
    """Each mutant and whether it survived, as they end."""
    waiting = list(reversed(mutants))
    running: dict[int, tuple[Mutant, Path]] = {}
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                mutant, root = waiting.pop(), Path(folder) / str(len(waiting))
                running[start(mutant, root)] = mutant, root
            child, status = os.wait()
            mutant, root = running.pop(child)
            yield mutant, survived(mutant, root, status)
            shutil.rmtree(root)


def main(arguments: Sequence[str] | None = None) -> None:
    """Try every mutant of the list, or those whose file or test contains a text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a file's or test's name")
    parser.add_argument("-j", type=int, default=2, help="how many at a time")
    options = parser.parse_args(arguments)
    for name in LIBRARIES:
        importlib.import_module(name)
    mutants = [m for m in read() if options.only in m.file or options.only in m.test]
    survivors = 0
    for mutant, alive in tried(mutants, options.j):
        survivors += alive
        verdict = "SURVIVES" if alive else "caught"
        change = f"{mutant.old.strip()} -> {mutant.new.strip()}"
        print(f"{verdict:8}  {mutant.file}: {change}", flush=True)
        if alive:
            print(f"          {mutant.test}")
    print(f"{len(mutants) - survivors} of {len(mutants)} broken formulas are caught")
    if survivors:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
