"""The set-up cell in an environment as near to Colab's as can be made without Colab.

The versions are those of Colab's image, the libraries behind them the installed ones; the cell, pip
and the wheel are real. `make nbval` runs a whole chapter in the same way.
"""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import hatchling.build
import pytest

from tools import colab
from tools.colab import IMAGE
from tools.project import ROOT, read_project

PROJECT = read_project()
SECONDS = 30  # that a reader waits at most; 3 here, 12 where two other tests run


@dataclass(frozen=True)
class Ran:
    """What came of the cell.

    Attributes:
        printed: all that it wrote.
        failed: whether it ended in an error.
        seconds: what it took, the start of IPython included.
        installed: names of what pip installed, by its own report.
    """

    printed: str
    failed: bool
    seconds: float
    installed: list[str]


def run_cell(python: Path, cell: str, folder: Path) -> Ran:
    """Run a cell in IPython as Colab would; `folder` is a new one for what the run needs."""
    stub = colab.write_stub(folder / "stub")
    report, script = folder / "report.json", folder / "cell.ipy"
    script.write_text(cell + "\n", encoding="utf-8")
    variables = colab.offline() | {
        "PYTHONPATH": str(stub), "IPYTHONDIR": str(folder / "ipython"), "PIP_REPORT": str(report),
    }  # fmt: skip
    started = time.perf_counter()
    run = subprocess.run(
        [str(python), "-m", "IPython", "--colors=NoColor", str(script)],
        env=variables, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    chosen = json.loads(report.read_text(encoding="utf-8"))["install"] if report.exists() else []
    names = [one["metadata"]["name"] for one in chosen]
    return Ran(run.stdout + run.stderr, run.returncode != 0, seconds, names)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, here = tmp_path_factory.mktemp("wheel"), Path.cwd()
    os.chdir(ROOT)
    try:
        return folder / hatchling.build.build_wheel(str(folder))
    finally:
        os.chdir(here)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return colab.environment(tmp_path_factory.mktemp("colab") / "venv", IMAGE)


@pytest.fixture(scope="module")
def ran(site: tuple[Path, Path], wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run_cell(site[0], colab.cell_for(wheel, PROJECT), tmp_path_factory.mktemp("ran"))


def test_the_package_is_added_and_nothing_replaced(ran: Ran, site: tuple[Path, Path]) -> None:
    """By the cell's own line, by pip's report, and by what lies in the folder."""
    assert not ran.failed, ran.printed
    assert f"Added: {PROJECT.name}. Replaced: nothing." in ran.printed.splitlines()
    assert ran.installed == [PROJECT.name]
    assert colab.versions(site[1]) == {**IMAGE, PROJECT.name: PROJECT.version}


def test_it_takes_less_than_half_a_minute(ran: Ran) -> None:
    assert ran.seconds < SECONDS


def test_a_second_run_does_nothing(
    ran: Ran, site: tuple[Path, Path], wheel: Path, tmp_path: Path
) -> None:
    again = run_cell(site[0], colab.cell_for(wheel, PROJECT), tmp_path)
    assert (again.printed.strip(), again.failed, again.installed) == ("", False, [])


def test_an_image_that_is_too_old_is_left_alone_and_said_so(wheel: Path, tmp_path: Path) -> None:
    """Rather than another torch, no package: the reader is told, above the reason by pip."""
    python, site = colab.environment(tmp_path / "venv", {**IMAGE, "torch": "2.3.0"})
    ran = run_cell(python, colab.cell_for(wheel, PROJECT), tmp_path / "run")
    assert ran.failed and ran.installed == []
    assert f"RuntimeError: pip could not install {PROJECT.name} from file:" in ran.printed
    assert "The chapter can be read without: its outputs are stored" in ran.printed
    assert colab.versions(site) == {**IMAGE, "torch": "2.3.0"}


def test_the_image_lists_all_that_the_package_needs() -> None:
    """So that a new requirement is looked up in Colab's image, before a reader waits for it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.findall(r'"([\w-]+)>=', text.partition("dependencies = [")[2].partition("]")[0])
    assert {name.lower() for name in IMAGE} == set(needed)
