"""The reference of the package says what the docstrings say, of everything that is public."""

import importlib
from pathlib import Path

import pytest

from tools import api_pages
from tools.project import ROOT

PACKAGE = ROOT / api_pages.PACKAGE


@pytest.fixture(scope="module")
def modules() -> list[api_pages.Module]:
    """The package as the reference reads it, from its source."""
    return api_pages.read_package(PACKAGE)


def test_what_is_read_from_the_source_is_what_python_offers(
    modules: list[api_pages.Module],
) -> None:
    for module in modules:
        live = importlib.import_module(f"fcn_tutorial.{module.name}")
        for entry in module.entries:
            found = getattr(live, entry.name)
            if entry.kind == "class":
                assert isinstance(found, type)
                for member in entry.members:
                    assert hasattr(found, member.name)
            elif entry.kind == "function":
                assert callable(found)
        offered = getattr(live, "__all__", None)
        if offered is not None:
            submodules = {m.name.rpartition(".")[2] for m in modules if m.name != module.name}
            missing = {*offered} - {entry.name for entry in module.entries} - submodules
            assert not missing, f"{module.name}: {missing}"


def test_every_entry_says_something(modules: list[api_pages.Module]) -> None:
    silent = [
        f"{module.name}.{entry.name}"
        for module in modules
        for entry in module.entries
        if entry.kind in ("class", "function") and not entry.doc
    ]
    assert not silent


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    for name in api_pages.pages(PACKAGE):
        assert f"- file: book/api/{name}" in contents


def test_arguments_become_a_list_and_examples_stay_as_they_stand() -> None:
    doc = [
        "Upsample a map.",
        "",
        "Args:",
        "    scores: (N, C, h, w), any",
        "        float.",
        "    factor: a whole number.",
        "",
        "Raises ValueError for a `factor` below 1.",
        "",
        "    upsample(x, 2)",
    ]
    text = "\n".join(api_pages.as_rst(doc))
    assert "* **scores**: (N, C, h, w), any float." in text
    assert "* **factor**: a whole number." in text
    assert "Raises ValueError for a ``factor`` below 1." in text
    assert "::\n\n        upsample(x, 2)" in text


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("a*b and `c*d`", r"a\*b and ``c*d``"),
        ("the `n`th", r"the ``n``\ th"),
        ("a | b", r"a \| b"),
        ("name_ of", r"name\_ of"),
        ("one_two", "one_two"),
    ],
)
def test_running_text_cannot_be_misread_as_markup(plain: str, escaped: str) -> None:
    assert api_pages.escape(plain) == escaped


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


def test_a_name_that_is_promised_and_not_defined_is_an_error(tmp_path: Path) -> None:
    package = tmp_path / "some"
    package.mkdir()
    (package / "__init__.py").write_text('__all__ = ["one"]\n')
    (package / "one.py").write_text('"""One."""\n__all__ = ["gone"]\n')
    with pytest.raises(ValueError, match="names gone, defined nowhere"):
        api_pages.read_package(package)


def test_equal_pages_are_left_alone_and_old_ones_go(tmp_path: Path) -> None:
    api_pages.write(tmp_path, {"one": "1\n", "two": "2\n"})
    before = (tmp_path / "one.rst").stat().st_mtime_ns
    api_pages.write(tmp_path, {"one": "1\n"})
    assert (tmp_path / "one.rst").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["one.rst"]
