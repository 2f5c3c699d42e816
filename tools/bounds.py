"""The lowest versions that pyproject.toml declares, as constraints for pip.

python -m tools.bounds   print a line `name==version` for each requirement of the package, of its
                         extras, and of the book; what only tests and releases need stays free

`make test-oldest` installs with them.
"""

import re
import sys
from pathlib import Path

from tools.project import ROOT, project_table

ONLY_TESTS = ("test", "benchmarks", "release")


def lowest(requirement: str) -> str:
    """`name>=1.2,<3` as `name==1.2`; raises ValueError where no lowest version is declared."""
    match = re.fullmatch(r"([\w.-]+)>=([\w.]+)(?:,<[\w.]+)?", requirement.replace(" ", ""))
    if match is None:
        raise ValueError(f"{requirement}: a requirement is written name>=lowest or name>=lowest,<x")
    return f"{match[1]}=={match[2]}"


def constraints(root: Path = ROOT) -> list[str]:
    """One line for each requirement that users of the package and of the book install."""
    project = project_table(root)
    extras = project["optional-dependencies"]
    groups = [requirements for name, requirements in extras.items() if name not in ONLY_TESTS]
    return sorted({lowest(line) for line in sum(groups, [*project["dependencies"]])})


def main() -> None:
    """Print the constraints, under the Python that the package asks for at least."""
    oldest = project_table()["requires-python"].removeprefix(">=")
    if oldest != f"{sys.version_info.major}.{sys.version_info.minor}":
        sys.exit(f"for Python {oldest} only: make test-oldest PYTHON=python{oldest}")
    print("\n".join(constraints()))


if __name__ == "__main__":
    main()
