"""The list of broken formulas stays true to the code; `make mutants` tries them."""

import ast
import os
from pathlib import Path

import pytest

from tools.mutants import Mutant, read, start, survived
from tools.project import ROOT

MUTANTS = read()


def test_every_formula_of_the_list_is_in_the_code_once() -> None:
    for mutant in MUTANTS:
        text = (ROOT / mutant.file).read_text(encoding="utf-8")
        assert text.count(mutant.old) == 1, f"{mutant.file}: {mutant.old}"
        ast.parse(text.replace(mutant.old, mutant.new))


def test_every_test_of_the_list_exists() -> None:
    for mutant in MUTANTS:
        file, _, name = mutant.test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), mutant.test


def test_a_broken_formula_is_caught_and_an_unbroken_one_is_not(tmp_path: Path) -> None:
    crop = next(m for m in MUTANTS if "crops" in m.test or "offsets" in m.test)
    same = Mutant(crop.file, crop.old, crop.old, crop.test)
    for mutant, name in ((crop, "broken"), (same, "whole")):
        _, status = os.waitpid(start(mutant, tmp_path / name), 0)
        assert survived(mutant, tmp_path / name, status) == (name == "whole")
    with pytest.raises(ValueError, match="occurs 0 times"):
        (tmp_path / "fcn_tutorial").mkdir()
        (tmp_path / crop.file).write_text("")
        crop.apply(tmp_path)
