"""Examples in docstrings run, and the quick start of the package does what it says when pasted."""

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from code import InteractiveConsole
from pathlib import Path
from typing import Any

import pytest

import fcn_tutorial

PACKAGE = Path(fcn_tutorial.__file__).parent
#: Every file with an example.
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text("utf-8")]
#: Functions whose first line says all.
IN_A_LINE = {
    "assets.root", "transforms.mean_colour", "transforms.holding_pixel", "upsampling.check_scores",
}  # fmt: skip


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_examples_print_what_stands_below_them(path: Path) -> None:
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    module = importlib.import_module(module_of(path))
    for example in doctest.DocTestFinder().find(module):
        runner.run(example, out=told.append)
    assert runner.summarize(verbose=False).attempted > 0
    assert not told, "".join(told)


def offered() -> dict[str, Any]:
    """Every function and class that a module of the package's `__all__` offers, by its name."""
    found = {}
    for module in fcn_tutorial.__all__:
        inside = getattr(fcn_tutorial, module)
        for name in getattr(inside, "__all__", vars(inside)):
            value = getattr(inside, name)
            own = getattr(value, "__module__", "").startswith(inside.__name__)
            if (
                own
                and not name.startswith("_")
                and inspect.isroutine(value) | inspect.isclass(value)
            ):
                found[f"{module}.{name}"] = value
    return found


@pytest.mark.parametrize("name", offered())
def test_whatever_is_offered_has_an_example(name: str) -> None:
    assert ">>> " in (offered()[name].__doc__ or "")


@pytest.mark.parametrize("name", [n for n, value in offered().items() if inspect.isroutine(value)])
def test_arguments_and_results_of_functions_have_their_sections(name: str) -> None:
    function = offered()[name]
    known, doc = inspect.signature(function), function.__doc__ or ""
    told = re.search(r"(?m)^    Args:\n((?:        .+\n|\n(?= {8}))+)", doc)
    entries = re.findall(r"(?m)^        ([\w*, ]+):", told[1]) if told else []
    names = {part.strip(" *") for entry in entries for part in entry.split(",")}
    assert names >= set(known.parameters) or name in IN_A_LINE
    said = re.search(r"(?m)^    (Returns|Yields):$", doc) or name in IN_A_LINE
    assert said or known.return_annotation in (None, "None")


def quick_start() -> str:
    block = re.search(r"::\n\n((?:    .*\n|\n)+)", fcn_tutorial.__doc__ or "")
    assert block is not None
    return textwrap.dedent(block[1])


def test_the_quick_start_of_help_works_when_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    assert len([line for line in quick_start().splitlines() if line]) <= 20
    prompt = InteractiveConsole()  # which ends a block at an empty line
    for line in quick_start().splitlines():
        prompt.push(line)
    shown = capsys.readouterr()
    said = re.search(r"^mean IU (0\.\d{3}) after 16 steps\n\Z", shown.out, re.M)
    assert "Error" not in shown.err
    assert said is not None and 0 < float(said[1]) < 1


def test_the_lines_of_readme_that_import_it_run() -> None:
    page = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?s)\*\*Import\.\*\*.*?```python\n(.*?)```", page)
    names: dict[str, Any] = {}
    exec(block, names)
    for comment, value in re.findall(r"(?m)^(\w+) = .*# (\([\d, ]+\))", block):
        assert names[comment].shape == ast.literal_eval(value), comment


def test_help_names_every_module() -> None:
    for name in fcn_tutorial.__all__:
        assert f"`{name}`" in (fcn_tutorial.__doc__ or ""), name
