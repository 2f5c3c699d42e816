"""The floors of CONTRIBUTING.md: who may import whom, and what stays without torch."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fcn_tutorial

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fcn_tutorial"
FILES = sorted(PACKAGE.rglob("*.py"))
# They are there to be imported first or to hand out the others, so they stand on no floor.
APART = {"__init__"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in FILES}


@cache
def floors() -> dict[str, int]:
    """The table `| floor | modules |` of CONTRIBUTING.md."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (`.*`) \|$", page, re.M)
    return {name: int(floor) for floor, row in rows for name in re.findall(r"`(\w+)`", row)}


def top(name: str) -> str:
    """Module or folder directly under the package that `name` belongs to."""
    return name.split(".")[1] if "." in name else "__init__"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def all_imports(path: Path, *, at_import_time: bool = False) -> set[str]:
    """Absolute names that a file imports, those inside functions too unless `at_import_time`."""
    here = module_name(path).split(".")
    package = here if path.name == "__init__.py" else here[:-1]
    found: set[str] = set()
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
            if at_import_time:
                continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found.add(source)
            found |= {f"{source}.{alias.name}" for alias in node.names}
        pending += ast.iter_child_nodes(node)
    return found


def imported_modules(path: Path, *, at_import_time: bool = False) -> set[str]:
    """Modules of the package that a file imports, not itself."""
    found = all_imports(path, at_import_time=at_import_time)
    return {name for name in found if name in NAMES} - {module_name(path), "fcn_tutorial"}


def test_the_table_names_the_floors() -> None:
    assert set(floors().values()) == set(range(6))


def test_every_module_stands_on_a_floor() -> None:
    assert {top(name) for name in NAMES} - APART <= set(floors())


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_only_from_lower_floors(path: Path) -> None:
    here = top(module_name(path))
    if here in APART:
        assert not imported_modules(path)  # the package itself imports lazily
        return
    for name in imported_modules(path):
        if top(name) != here and here != "__main__":
            assert floors()[top(name)] < floors()[here], f"{here} may not import {name}"


def test_modules_import_each_other_without_circles() -> None:
    graph = {
        module_name(path): imported_modules(path, at_import_time=True)
        for path in FILES
        if path.name != "__init__.py"
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_lowest_floor_does_not_name_torch(path: Path) -> None:
    name = top(module_name(path))
    if name == "__init__" or (floors()[name] == 0 and name != "vision"):
        assert not {n.split(".")[0] for n in all_imports(path)} & {"torch", "torchvision"}


@pytest.mark.parametrize(
    "name",
    ["fcn_tutorial", "fcn_tutorial.geometry", "fcn_tutorial.scratch", "fcn_tutorial.assets"],
)
def test_importing_it_does_not_load_torch(name: str) -> None:
    code = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_package_does_not_know_the_book(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    found = re.search(r"\b(chapters?|tools\.|jupyter_book|book/)", source, re.I)
    assert found is None, f"{path.name} mentions {found[0]}"


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """The functions of a file by name, a method's with its class before it."""
    found = {}
    for node in tree(path).body:
        owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef):
                found[owner + inner.name] = inner
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_constructor_takes_eight_arguments_at_most(path: Path) -> None:
    """What needs more is a config: a frozen dataclass, whose fields are named where it is made."""
    for name, function in functions(path).items():
        if name.endswith(".__init__") and not name.startswith("_"):
            arguments = function.args
            count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1
            assert count <= 8, f"{name} takes {count}"


def test_the_loop_fits_a_screen() -> None:
    """Its code, that is. Its ways are counted by ruff, as those of every function."""
    train = functions(PACKAGE / "training" / "loop.py")["train"]
    assert train.end_lineno is not None and train.end_lineno - train.body[1].lineno < 30


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if top(module_name(p)) in ("training", "predict", "export", "cli")],
    ids=module_name,
)
def test_what_runs_networks_names_none_of_them(path: Path) -> None:
    """Training, evaluation, prediction, export and commands know `Network` and the registry."""
    from fcn_tutorial.models import NETWORKS

    named = {
        name
        for node in ast.walk(tree(path))
        for name in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", ""))
    }
    assert not named & {network.__name__ for network in NETWORKS.values()}


def test_the_package_lists_its_modules_and_nothing_that_it_imports() -> None:
    assert dir(fcn_tutorial) == sorted([*fcn_tutorial.__all__, "__version__"])
