"""What is said once about the project, read from where it is said: pyproject.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Project:
    """The name, version and repository address of the project."""

    name: str
    version: str
    url: str

    @property
    def slug(self) -> str:
        """`owner/repository`, the part of the address after the host."""
        return "/".join(self.url.rstrip("/").split("/")[-2:])


def read_project(root: Path = ROOT) -> Project:
    """Read pyproject.toml under `root`."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return Project(table["name"], table["version"], table["urls"]["Repository"])
