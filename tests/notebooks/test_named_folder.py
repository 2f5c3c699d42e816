"""Chapters whose cells read what FCN_DATA names, on folders in the official layout at full size."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from fcn_tutorial.cli import main
from tools.notebooks import SECONDS_PER_CELL
from tools.project import ROOT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chapter", "source", "images", "name"),
    [
        ("13_pascal_voc", "voc", 30, "root"),
        ("14_nyudv2", "nyud", 3, "folder"),
        ("15_sift_flow", "siftflow", 40, "root"),
    ],
)
def test_a_chapter_runs_unchanged_on_the_folder_that_is_named(
    chapter: str,
    source: str,
    images: int,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many pictures as the chapter tells its readers to make; all its assertions hold.

    The variable `name` of the chapter has the folder that it read: this one, and no stand-in.
    """
    assert main(["data", "make", source, str(tmp_path / "data"), "--n", str(images)]) == 0
    monkeypatch.setenv("FCN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4)
    where = f"assert str({name}).startswith({str(tmp_path)!r}), {name}"
    notebook.cells.append(nbformat.v4.new_code_cell(where))
    NotebookClient(
        notebook,
        timeout=3 * SECONDS_PER_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
