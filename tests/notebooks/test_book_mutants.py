"""A change that a cell asserts against is caught, in cell and package; any other survives."""

from pathlib import Path

import nbformat
import pytest

from fcn_tutorial import scratch
from tools.book_mutants import changes, mutants, survives, try_chapter
from tools.notebooks import Chapter


def test_every_sign_number_operator_and_comparison_is_changed_once_and_data_is_not() -> None:
    found = [what for what, _ in changes("a = -b + 2\nassert a < c * d\nx = rng.normal(size=5)")]
    assert found == [
        "line 1: -b → b",
        "line 1: 2 → 3",
        "line 1: -b + 2 → -b - 2",
        "line 2: c * d → c + d",
    ]


def test_bounds_are_changed_in_code_and_not_in_assertions() -> None:
    found = [what for what, _ in changes("n = a < 3\nassert a < 3 < b + 1 and c == 4")]
    assert found == [
        "line 1: 3 → 4",
        "line 1: a < 3 → a <= 3",
        "line 2: 1 → 2",
        "line 2: b + 1 → b - 1",
        "line 2: 4 → 5",
        "line 2: c == 4 → c != 4",
    ]


def test_a_cell_that_asserts_catches_and_one_that_does_not_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [
        nbformat.v4.new_code_cell("from fcn_tutorial import scratch"),
        nbformat.v4.new_code_cell(
            "n = 9 - 2\nassert n == 7 and scratch.sigmoid(0.0) == 1 / 2",
            metadata={"tags": ["proves-1.1"]},
        ),
        nbformat.v4.new_code_cell("m = 3 * n", metadata={"tags": ["proves-1.2"]}),
        nbformat.v4.new_code_cell("assert m == 21"),  # nothing was changed in this process
    ]
    chapter = Chapter("01_short", tmp_path / "01_short.ipynb", tmp_path / "01_short.md")
    nbformat.write(nbformat.v4.new_notebook(cells=cells), chapter.notebook)
    tried, survived = try_chapter(chapter, most=40)
    lines = capsys.readouterr().out.splitlines()
    assert tried > 8 and survived == len(lines)
    assert {line.split(" SURVIVES ")[1] for line in lines if line.startswith("proves-1.2")} == {
        "cell, line 1: 3 → 4",
        "cell, line 1: 3 * n → 3 + n",
    }
    assert not any("cell" in line for line in lines if line.startswith("proves-1.1"))


def test_a_changed_default_of_the_package_is_what_a_cell_calls_with() -> None:
    default = "fcn_tutorial.scratch.softmax, line 1: 0 → 1"  # its axis
    for cell, lives in (
        ("scratch.softmax([[0.0, 0.0]])", True),
        ("assert scratch.softmax([[0.0, 0.0]]).tolist() == [[1.0, 1.0]]", False),
    ):
        tried = dict(mutants(cell, {"scratch": scratch}))
        assert survives(tried[default]) == lives
