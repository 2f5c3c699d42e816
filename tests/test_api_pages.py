"""The reference of the package: which pages it has, what they need, and where its links lead."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tools import api_pages
from tools.project import ROOT

PACKAGE = ROOT / api_pages.PACKAGE
MODULES = api_pages.public_modules(PACKAGE)


def entries(module: ModuleType) -> dict[str, object]:
    """What autodoc documents: the names of `__all__`, or what a module defines itself."""
    listed = getattr(module, "__all__", None)
    found = {name: getattr(module, name) for name in listed or vars(module)}
    return {
        name: value
        for name, value in found.items()
        if listed or (getattr(value, "__module__", "") == module.__name__ and name[0] != "_")
    }


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_and_class_says_something(name: str) -> None:
    module = importlib.import_module(f"fcn_tutorial.{name}")
    assert module.__doc__
    silent = [
        public
        for public, value in entries(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and not value.__doc__
    ]
    assert not silent


@pytest.mark.parametrize("name", MODULES)
def test_arguments_are_told_in_a_section_of_their_own(name: str) -> None:
    """A line `size: rows and columns` outside `Args:` would be run into the text around it."""
    module = importlib.import_module(f"fcn_tutorial.{name}")
    loose = []
    for public, value in entries(module).items():
        if inspect.isfunction(value) or (inspect.isclass(value) and value.__init__.__doc__ is None):
            arguments = inspect.signature(value).parameters
            lines = inspect.getdoc(value).splitlines()
            loose += [(public, line) for line in lines if line.partition(":")[0] in arguments]
    assert not loose


def test_modules_are_those_that_the_package_lists(tmp_path: Path) -> None:
    package = tmp_path / "some"
    (package / "two").mkdir(parents=True)
    (package / "__init__.py").write_text('__all__ = ["one", "two"]\n')
    (package / "one.py").touch()
    (package / "two" / "__init__.py").write_text(
        'from some.two import four\nfrom some.two.three import three\n__all__ = ["four", "three"]\n'
    )
    (package / "two" / "three.py").touch()  # `three` is the function of this file
    (package / "two" / "four.py").touch()
    assert api_pages.public_modules(package) == ["one", "two", "two.four"]
    (package / "one.py").unlink()
    with pytest.raises(ValueError, match="names one, which has no file"):
        api_pages.public_modules(package)


def test_the_pages_are_made_without_the_libraries_that_the_package_needs() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    mocked = config["sphinx"]["config"]["autodoc_mock_imports"]
    assert "torch" in mocked
    code = (
        "import sys, tools.book_extension\n"
        f"print({set(mocked)!r} & {{name.split('.')[0] for name in sys.modules}})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


def test_uses_of_a_chapter_are_found_through_every_kind_of_import() -> None:
    cells = [
        "from fcn_tutorial import geometry, surgery as cut\n%matplotlib inline",
        "from fcn_tutorial.models import FCN\nimport fcn_tutorial.losses as loss\nimport numpy",
        "geometry.Layer(3)\ncut.trace(net)\nFCN.from_coarser(x)\nloss.translate(1)\nnumpy.abs(1)",
    ]
    found = api_pages.uses(cells)
    expected = {"geometry.Layer", "surgery.trace", "models.FCN.from_coarser", "losses.translate"}
    assert expected <= found
    assert not {name for name in found if name.startswith("numpy")}


def test_a_name_in_the_text_means_one_object_or_none() -> None:
    names = api_pages.dotted_names(
        ["fcn_tutorial.a.One", "fcn_tutorial.a.One.go", "fcn_tutorial.b.One", "fcn_tutorial.b.two"]
    )
    assert api_pages.resolve("One.go()", names) == "fcn_tutorial.a.One.go"
    assert api_pages.resolve("a.One(x=1)", names) == "fcn_tutorial.a.One"
    assert api_pages.resolve("b.two", names) == "fcn_tutorial.b.two"
    assert api_pages.resolve("One", names) is None  # two of them, and no dot
    assert api_pages.resolve("c.three", names) is None


def test_equal_pages_are_left_alone_and_old_ones_go(tmp_path: Path) -> None:
    api_pages.write(tmp_path, {"one": "1\n", "two": "2\n"})
    before = (tmp_path / "one.rst").stat().st_mtime_ns
    api_pages.write(tmp_path, {"one": "1\n"})
    assert (tmp_path / "one.rst").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["one.rst"]
