"""The cheat sheet says what the package computes, and leads to equations that are there."""

import importlib
import re

import pytest

from tools import cheat_sheet
from tools.cheat_sheet import Row
from tools.notebooks import chapters
from tools.project import ROOT

ROWS = [row for rows in cheat_sheet.sections().values() for row in rows]


def flat(value: object) -> list[float]:
    """The numbers of nested lists and tuples."""
    if isinstance(value, list | tuple):
        return [number for part in value for number in flat(part)]
    return [float(value)]  # type: ignore[arg-type]


def test_the_page_is_what_the_tool_writes() -> None:
    text = cheat_sheet.PAGE.read_text(encoding="utf-8")
    assert text == cheat_sheet.page(), "run `python -m tools.cheat_sheet`"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_formula_gives_what_its_function_gives(row: Row) -> None:
    """Most are whole numbers or exact fractions; weights are stored in float32."""
    pairs = [*row.check()]
    assert sum(len(flat(ours)) for ours, _ in pairs) >= 3  # several values
    for ours, theirs in pairs:
        assert flat(ours) == pytest.approx(flat(theirs), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_line_names_a_function_of_the_package(row: Row) -> None:
    module, _, name = f"fcn_tutorial.{row.function}".rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


def test_each_equation_stands_in_its_chapter() -> None:
    there = {
        number
        for chapter in chapters(ROOT / "book")
        for number in re.findall(r"\\tag\{([\d.]+)\}", chapter.text.read_text(encoding="utf-8"))
    }
    named = {number for row in ROWS for number in row.equations}
    assert named and named <= there, sorted(named - there)
