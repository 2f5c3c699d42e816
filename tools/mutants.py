"""Break one formula at a time and see that its test fails: `make mutants`.

The list is tests/mutants.toml: in `file`, the text `old`, which occurs there once, becomes `new`,
and `test` must then fail. Each is tried in a copy of the tree; the tree itself is never touched.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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


def survives(mutant: Mutant) -> bool:
    """Whether the test passes although the formula is broken."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, root / name)
        mutant.apply(root)
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        done = subprocess.run([*command, mutant.test], cwd=root, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # no such test, no such file
        raise SystemExit(f"{mutant.test} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Try every mutant of the list, or those whose file or test contains a text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of a file's or test's name")
    parser.add_argument("-j", type=int, default=2, help="how many at a time")
    options = parser.parse_args(arguments)
    mutants = [m for m in read() if options.only in m.file or options.only in m.test]
    survivors = 0
    with ThreadPoolExecutor(options.j) as pool:
        for mutant, survived in zip(mutants, pool.map(survives, mutants), strict=True):
            survivors += survived
            verdict = "SURVIVES" if survived else "caught"
            print(f"{verdict:8}  {mutant.file}: {mutant.old.strip()} -> {mutant.new.strip()}")
            if survived:
                print(f"          {mutant.test}")
    print(f"{len(mutants) - survivors} of {len(mutants)} broken formulas are caught")
    if survivors:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
