"""Stored outputs say what made them, and are named when that has changed since."""

from pathlib import Path

import nbformat
import pytest

from tools import chapter_form, fingerprint, notebooks
from tools.fingerprint import bare, of_code, of_package, reached, weights_named
from tools.notebooks import Chapter, chapters
from tools.project import ROOT, read_project

ONE = "import part\n\n\ndef f(a):\n    return a + 1\n"


@pytest.mark.parametrize(
    "same",
    [
        ONE.replace("return a + 1", "return (  # why\n        a + 1\n    )"),
        ONE.replace("    return", '    """What it does."""\n    return'),
        '"""What it is."""\n' + ONE,
    ],
)
def test_comments_docstrings_and_line_breaks_make_no_difference(same: str) -> None:
    assert bare(same) == bare(ONE)


@pytest.mark.parametrize("old, new", [("+ 1", "+ 2"), ("(a)", "(a, b)"), ("part", "other")])
def test_what_runs_otherwise_makes_a_difference(old: str, new: str) -> None:
    assert bare(ONE.replace(old, new)) != bare(ONE)


def package(root: Path) -> Path:
    """first -> below.second, inside a function; third and its picture alone."""
    folder = root / "pack"
    (folder / "below").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "first.py").write_text("def f():\n    from pack.below import second\n")
    (folder / "below" / "__init__.py").write_text("from .second import g as g\n")
    (folder / "below" / "second.py").write_text("def g():\n    return 1\n")
    (folder / "third.py").write_text("SCRIPT = 'third.js'\ndef f(a): return f'{a}.css'\n")
    for name in ("third.js", "kind.css", "below/third.css"):
        (folder / name).write_text("1")
    fingerprint.modules.cache_clear()
    fingerprint._digest_of.cache_clear()
    return folder


def page(source: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])


def test_a_chapter_reaches_what_its_modules_import_in_their_functions_too(tmp_path: Path) -> None:
    folder = package(tmp_path)
    assert reached(["from pack import first"], folder) == {
        "pack", "pack.first", "pack.below", "pack.below.second"
    }  # fmt: skip
    assert reached(["import numpy, pack.third"], folder) == {"pack", "pack.third"}


@pytest.mark.parametrize(
    "name, chapter, changes",
    [
        ("below/second.py", "from pack import first", True),
        ("third.py", "from pack import first", False),
        ("third.js", "from pack import third", True),
        ("third.js", "from pack import first", False),
        ("kind.css", "from pack import third", True),
        ("kind.css", "from pack import first", False),
        ("below/third.css", "from pack import third", False),
    ],
)
def test_it_is_marked_by_a_change_it_reaches_and_by_no_other(
    name: str, chapter: str, changes: bool, tmp_path: Path
) -> None:
    folder = package(tmp_path)
    before = of_package(page(chapter), folder)
    (folder / name).write_text((folder / name).read_text().replace("1", "2") + "\nX = 3\n")
    fingerprint._digest_of.cache_clear()
    assert (of_package(page(chapter), folder) != before) == changes


def test_it_is_marked_by_a_change_of_weights_that_are_named(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(b"1")
    named = weights_named(["x = 'weights/b.safetensors'"], tmp_path)
    assert named == [tmp_path / "b.safetensors"]
    before = of_package(page("path('weights/scene-fcn8s.safetensors')"))
    assert before != of_package(page("path('weights/scene.safetensors')"))


def test_every_chapter_reaches_modules_of_the_package() -> None:
    for chapter in chapters(ROOT / "book"):
        notebook = nbformat.read(chapter.notebook, as_version=4)
        assert len(reached(fingerprint.code_cells(notebook))) > 1, chapter.stem


@pytest.fixture
def chapter(tmp_path: Path) -> Chapter:
    """A chapter that prints and draws, stored as if it had been run."""
    (tmp_path / "text").mkdir()
    cell = nbformat.v4.new_code_cell("print(1 + 1)")
    cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="2\n")], 1
    drawn = nbformat.v4.new_code_cell("draw()", metadata={"tags": ["nbval-ignore-output"]})
    html = {"text/html": '<img src="data:image/png;base64,AAAA"> in 3 s'}
    drawn.outputs, drawn.execution_count = [nbformat.v4.new_output("display_data", html)], 2
    notebook = nbformat.v4.new_notebook(cells=[cell, drawn])
    one = Chapter("01_one", tmp_path / "01_one.ipynb", tmp_path / "text" / "01_one.md")
    notebook.metadata[fingerprint.KEY] = fingerprint.fingerprint(notebook)
    notebooks.write(notebook, one)
    one.text.write_text(notebooks.to_text(notebook), encoding="utf-8")
    return one


def age(chapter: Chapter) -> None:
    notebook = nbformat.read(chapter.notebook, as_version=4)
    notebook.metadata[fingerprint.KEY]["package"] = "of long ago"
    notebooks.write(notebook, chapter)


def rerun(monkeypatch: pytest.MonkeyPatch, chapter: Chapter, old: str, new: str) -> None:
    """Have chapters run to what is stored, but for one text."""
    text = chapter.notebook.read_text().replace(old, new)
    again = nbformat.reads(text, as_version=4)

    def execute(notebook: nbformat.NotebookNode, name: str) -> None:
        for cell, done in zip(notebook.cells, again.cells, strict=True):
            cell.outputs, cell.execution_count = done.outputs, done.execution_count

    monkeypatch.setattr(notebooks, "execute", execute)


def test_older_outputs_are_named_and_pass_once_they_repeat(
    chapter: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chapter_form.older([chapter]) == []
    age(chapter)
    (named,) = chapter_form.older([chapter])
    assert named.startswith("01_one: its outputs are older")
    before = nbformat.read(chapter.notebook, as_version=4).cells
    rerun(monkeypatch, chapter, " in 3 s", " in 4 s")  # a time beside a picture
    notebooks.stamp_outputs(chapter, read_project())
    assert chapter_form.older([chapter]) == []
    assert nbformat.read(chapter.notebook, as_version=4).cells == before


@pytest.mark.parametrize("old, new, cell", [('"2\\n', '"3\\n', 1), ("AAAA", "BBBB", 2)])
def test_outputs_that_do_not_repeat_are_named_by_their_cell(
    old: str, new: str, cell: int, chapter: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(chapter)
    rerun(monkeypatch, chapter, old, new)
    with pytest.raises(SystemExit, match=f"01_one: cell {cell} shows something else now"):
        notebooks.stamp_outputs(chapter, read_project())
    assert chapter_form.older([chapter]) != []


def test_outputs_of_other_code_are_a_fault(chapter: Chapter) -> None:
    notebook = nbformat.read(chapter.notebook, as_version=4)
    assert list(fingerprint.faults(notebook)) == []
    notebook.cells[0].source = "print(2)"
    assert of_code(notebook) != notebook.metadata[fingerprint.KEY]["code"]
    (fault,) = fingerprint.faults(notebook)
    assert "other code than it shows" in fault
