"""What is said once about the project, read from where it is said: pyproject.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def project_table(root: Path = ROOT) -> dict[str, Any]:
    """The table `project` of pyproject.toml under `root`."""
    table: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def read_project(root: Path = ROOT) -> Project:
    """Read pyproject.toml under `root`."""
    table = project_table(root)
    return Project(table["name"], table["version"], table["urls"]["Repository"])
