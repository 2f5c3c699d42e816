"""The template runs, and each way to break a chapter is caught."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from fcn_tutorial import playground
from tools import chapter_form
from tools.chapter_form import (
    complaints,
    figure_complaints,
    import_complaints,
    legend_complaints,
    picture_complaints,
    table_complaints,
    unlisted_pages,
)
from tools.notebooks import (
    BATCH,
    Chapter,
    Notebook,
    build,
    chapters,
    fold,
    from_text,
    reading_minutes,
    setup_cell,
    to_text,
)
from tools.project import ROOT, read_project

PROJECT = read_project()
STEM = "00_template"
TOC = f"format: jb-book\nroot: book/{STEM}\nparts:\n- chapters:\n"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book with one chapter, made from the template as a contributor would."""
    book = tmp_path_factory.mktemp("template") / "book"
    (book / "text").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "chapter_template.md", book / "text" / f"{STEM}.md")
    shutil.copy(ROOT / "book" / "glossary.md", book)
    (chapter,) = chapters(book)
    build(chapter, PROJECT)
    (book.parent / "_toc.yml").write_text(f"{TOC}  - file: book/glossary\n")
    return book


@pytest.fixture
def chapter(built: Path, tmp_path: Path) -> Chapter:
    """A copy of the built template, to break."""
    shutil.copytree(built.parent, tmp_path, dirs_exist_ok=True)
    (one,) = chapters(tmp_path / "book")
    return one


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def nbval(chapter: Chapter) -> subprocess.CompletedProcess[str]:
    """The stage of that name, on one chapter."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--nbval", "-p", "no:cacheprovider",
         "--rootdir", str(chapter.notebook.parent), str(chapter.notebook)],
        env={**os.environ, BATCH: "1"}, capture_output=True, text=True,
    )  # fmt: skip


def test_the_template_is_in_form(chapter: Chapter) -> None:
    assert complaints(chapter, PROJECT) == []
    assert unlisted_pages(chapter.notebook.parents[1]) == []


def test_a_repeated_run_writes_the_same_bytes(chapter: Chapter) -> None:
    before = chapter.notebook.read_bytes(), chapter.text.read_bytes()
    build(chapter, PROJECT)
    assert (chapter.notebook.read_bytes(), chapter.text.read_bytes()) == before


def test_the_template_repeats_its_outputs(chapter: Chapter) -> None:
    result = nbval(chapter)
    assert result.returncode == 0, result.stdout


def test_prose_changes_without_execution_and_code_does_not(chapter: Chapter) -> None:
    before = nbformat.read(chapter.notebook, as_version=4)
    replace(chapter.text, "true and surprising", "true, and surprising")
    build(chapter, PROJECT, prose=True)
    assert complaints(chapter, PROJECT) == []
    after = nbformat.read(chapter.notebook, as_version=4)
    assert [c.get("outputs") for c in after.cells] == [c.get("outputs") for c in before.cells]
    replace(chapter.notebook, "%pip install -q", "%pip install")  # stamped, so it may differ
    build(chapter, PROJECT, prose=True)
    assert complaints(chapter, PROJECT) == []
    replace(chapter.text, "for n in (5, 6, 7)", "for n in (5, 6, 8)")
    with pytest.raises(SystemExit, match="code changed too"):
        build(chapter, PROJECT, prose=True)


def test_folds_and_comments_change_without_execution(chapter: Chapter) -> None:
    replace(chapter.text, "# @title Draw the figure below", "# @title Another title")
    replace(chapter.text, "print([output_size", "# a comment\nprint([output_size")
    build(chapter, PROJECT, prose=True)
    assert complaints(chapter, PROJECT) == []


# A cell, its tags, and the line that it is folded to; none: it stands open.
FOLDS = {
    "a figure": ("visualize.figure(fig, alt='x')", [], "Draw the figure below"),
    "one that moves": ("widgets.interact(draw, [1], alt='x')", [], "Draw the figure below"),
    "a live twin": ("widgets.live(draw, 1, 8, alt='x')", [], "Any value, with a running kernel"),
    "a table": ("Markdown('| a |')", [], "Make the table below"),
    "a check": ("assert 1 + 1 == 2", ["proves-0.1", "proves-0.2"], "Check of (0.1), (0.2)"),
    "imports": ("import torch\n_ = torch.manual_seed(0)", [], "Imports and settings"),
    "a title of one's own": ("# @title Mine\nprint(1)", [], "Mine"),
    "the argument": ("visualize.figure(fig, alt='x')", ["argument"], ""),
    "other code": ("print(figure)", [], ""),
    "imports and more": ("import torch\nprint(torch.ones(2))", [], ""),
}


@pytest.mark.parametrize("what", FOLDS)
def test_what_is_not_the_argument_is_folded_to_a_title(what: str) -> None:
    source, tags, title = FOLDS[what]
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": [*tags]})
    fold(cell)
    assert cell.source.startswith(f"# @title {title}\n") if title else cell.source == source
    folded = {"hide-input", "hide-cell"} & set(cell.metadata.tags)
    assert bool(folded) == bool(title) == (cell.metadata.get("cellView") == "form")
    assert ("hide-cell" in folded) == (what == "a live twin")
    once = nbformat.from_dict(cell)
    fold(once)
    assert once == cell


def test_reading_takes_a_minute_for_two_hundred_words_of_prose() -> None:
    words = "word " * 1000 + "$$ a b c d e f g h $$ " * 50
    cells = [nbformat.v4.new_markdown_cell(words), nbformat.v4.new_code_cell("one two " * 500)]
    assert reading_minutes(nbformat.v4.new_notebook(cells=cells)) == 5


@pytest.mark.parametrize("arrives", [True, False])
def test_the_set_up_cell_says_when_the_package_did_not_arrive(
    arrives: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in Colab, where the package is not there and pip brings it, or fails and prints why."""
    module = PROJECT.name.replace("-", "_")
    installed: list[str] = []

    def pip(line: str) -> None:
        installed.append(line)
        here.append(SimpleNamespace(name=PROJECT.name, version="1"))

    real = importlib.util.find_spec

    def find_spec(name: str) -> object:
        if name != module:
            return real(name)
        return object() if installed and arrives else None

    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    here = [SimpleNamespace(name="torch", version="2.11.0+cu128")]
    monkeypatch.setattr("importlib.metadata.distributions", lambda: iter(here))
    shell = InteractiveShell()
    shell.register_magic_function(pip)
    result = shell.run_cell(setup_cell(PROJECT))
    (line,) = installed
    # No torchvision there: it is neither kept nor asked for.
    assert f'-q torch==2.11.0+cu128 "{PROJECT.name} @ git+{PROJECT.url}"' in line
    assert result.success is arrives
    told = capsys.readouterr().out
    if arrives:
        assert told == f"Added: {PROJECT.name}. Replaced: nothing.\n"
    else:
        said = f"pip could not install {PROJECT.name} from git+{PROJECT.url}; why, it says above."
        assert str(result.error_in_exec).startswith(said)


def test_a_broken_equation_cell_stops_the_build(chapter: Chapter) -> None:
    before = chapter.notebook.read_bytes()
    replace(chapter.text, "m = (n + 2 * p - k) // s + 1\n", "m = (n + 2 * p - k) // s\n")
    with pytest.raises(SystemExit, match="AssertionError"):
        build(chapter, PROJECT)
    assert chapter.notebook.read_bytes() == before


def test_a_broken_equation_cell_and_a_stale_number_fail_nbval(chapter: Chapter) -> None:
    replace(chapter.notebook, "[2, 2, 3]", "[2, 2, 4]")
    replace(chapter.notebook, "assert a // 2 + 1 ==", "assert a // 2 + 2 ==")
    result = nbval(chapter)
    assert result.returncode == 1
    assert re.search(r"2 failed", result.stdout), result.stdout
    assert len(set(re.findall(rf"{STEM}\.ipynb::Cell (\d+)", result.stdout))) == 2


def test_a_text_out_of_step_is_named(chapter: Chapter) -> None:
    replace(chapter.text, "true and surprising", "false and surprising")
    (sentence,) = complaints(chapter, PROJECT)
    assert "out of step: cell 3 differs from its text in source" in sentence
    assert f"make notebooks CHAPTER={STEM}" in sentence


def test_a_cell_missing_in_the_text_is_named(chapter: Chapter) -> None:
    replace(chapter.text, "- The output counts the places where the window fits.\n", "")
    assert any("out of step" in sentence for sentence in complaints(chapter, PROJECT))


def test_an_unlisted_page_is_named(chapter: Chapter) -> None:
    root = chapter.notebook.parents[1]
    (root / "book" / "appendix.md").write_text("# Forgotten\n")
    assert unlisted_pages(root) == ["book/appendix is not listed in _toc.yml"]


def test_a_listed_page_that_is_missing_is_named(chapter: Chapter) -> None:
    root = chapter.notebook.parents[1]
    (root / "_toc.yml").write_text(f"{TOC}  - file: book/glossary\n  - file: book/99_gone.ipynb\n")
    assert unlisted_pages(root) == ["book/99_gone is listed in _toc.yml, but there is no such page"]


def test_a_chapter_without_its_twin_is_named(chapter: Chapter) -> None:
    chapter.text.unlink()
    assert "no text twin" in complaints(chapter, PROJECT)[0]


def test_a_page_edited_by_another_tool_is_brought_to_one_form(chapter: Chapter) -> None:
    text = chapter.text.read_text(encoding="utf-8")
    foreign = text.replace(
        "  text_representation:", "  jupytext_version: 1.2.3\n  text_representation:"
    )
    assert to_text(from_text(foreign, STEM, PROJECT)) == text


# What is changed in the text, and what must then be said. The notebook is made anew without
# running it, so its outputs are missing as well; only the sentence in question is looked for.
BREAKS = {
    "unproved equation": (
        "[proves-0.2, hide-input]", "[other, hide-input]", r"equation \(0\.2\) has no cell",
    ),
    "proof of nothing": (r"\tag{0.2}", "", r"tagged proves-0\.2, but no equation"),
    "proof without assert": ("assert a // 2 + 1 ==", "a // 2 + 1 ==", "asserts nothing"),
    "ignored proof": (
        "[proves-0.2, hide", "[proves-0.2, nbval-ignore-output, hide", "output may not be ignored",
    ),
    "proof of nothing said": ("# Claim: the two", "# The two", "first line is not `# Claim: …`"),
    "unlinked term": ("[stride](glossary.md#stride)", "stride", r"first uses 'stride' without a l"),
    "link to no term": ("glossary.md#stride", "glossary.md#strid", r"#strid, which is no heading"),
    "equation stated twice": (r"\tag{0.2}", r"\tag{0.1}", r"\(0\.1\) is stated twice"),
    "no contract": ("**Builds on**", "**Needs**", "no row 'Builds on'"),
    "no Colab link": ("[Open in Colab]", "[Open it]", "no Colab link"),
    "no set-up cell": ("colab-setup, ", "", "does not begin its code with the set-up cell"),
    "hidden failure": ("[proves-0.2, hide", "[proves-0.2, nbval-skip, hide", "lets a failure pass"),
    "solution of nothing": ("Solution 0.1", "Solution 0.9", r"exercise 0\.9, which is not stated"),
    "solution not folded": ("[solution, hide-cell]", "[solution]", "without the tag hide-cell"),
    "wide comment": ("ALT =", "# " + "x" * 90 + "\nALT =", "wider than 79 columns"),
    "directive": ("## Summary", "```{note}\nx\n```\n\n## Summary", "uses the directive note"),
    "no list of references": ("```{bibliography}", "```", "holds no {bibliography}"),
}  # fmt: skip


@pytest.mark.parametrize("what", BREAKS)
def test_a_chapter_out_of_form_is_named(chapter: Chapter, what: str) -> None:
    old, new, sentence = BREAKS[what]
    replace(chapter.text, old, new)
    notebook = from_text(chapter.text.read_text(encoding="utf-8"), STEM, PROJECT)
    chapter.notebook.write_text(nbformat.writes(notebook), encoding="utf-8")
    found = complaints(chapter, PROJECT)
    assert any(re.search(sentence, one) for one in found), found


# What is changed in the stored output of the template's figure, or of its slider, and what is said.
LOOKS = {
    "no alt text": (r' alt="[^"]*"', "", "shows a picture without alt text"),
    "empty alt text": (r'alt="[^"]*"', 'alt=" "', "shows a picture without alt text"),
    "from outside": (r'src="data:[^"]*"', 'src="https://a.b/c.png"', "from outside: https://a.b/c"),
    "no control": (r'type="range"', 'type="text"', "has a slider that moves nothing"),
    "one frame": (r"<figure.*</figure>", '<figure class="fcn-slider"></figure>', "moves nothing"),
    "no script": ("oninput", "data-input", "has a slider that moves nothing"),
    "no picture": (
        r"(?s).+",
        "<p>Picture</p>",
        "draws a figure, of which its output holds no pict",
    ),
    "heavy": (r"\Z", "<!--" + "x" * 2_000_000 + "-->", r"stores 2\.\d MB, at most 0\.7"),
}


@pytest.mark.parametrize("what", LOOKS)
def test_a_picture_that_a_reader_would_miss_is_named_with_its_cell(
    chapter: Chapter, what: str
) -> None:
    """As when a figure is drawn without `visualize.figure`, or stored by another tool."""
    old, new, sentence = LOOKS[what]
    notebook = nbformat.read(chapter.notebook, as_version=4)
    moving = "slider" in sentence or "moves" in sentence
    call = "widgets.interact(" if moving else "visualize.figure("
    number, cell = next(
        (n, c) for n, c in enumerate(notebook.cells, 1)
        if c.cell_type == "code" and call in c.source
    )  # fmt: skip
    (output,) = (o for o in cell.outputs if "text/html" in o.get("data", {}))
    broken, count = re.subn(old, lambda _: new, output.data["text/html"], flags=re.S)
    assert count
    output.data["text/html"] = broken
    nbformat.write(notebook, chapter.notebook)
    found = complaints(chapter, PROJECT)
    assert any(re.match(f"{STEM}: cell {number} .*{sentence}", one) for one in found), found


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("axes.imshow(visualize.colourise(labels, palette))", False),
        ("paint(axes)", False),
        ("axes.imshow(visualize.overlay(image, labels, palette))", False),
        ("paint(axes)\nvisualize.class_legend(fig, [labels], classes, palette)", True),
        ("# colours: those of the figure above\npaint(axes)", True),
        ("axes.imshow(image)", True),
    ],
)
def test_a_map_of_classes_without_a_legend_is_named_with_its_cell(line: str, named: bool) -> None:
    cells = [
        "%pip install it\ndef colours():\n    return visualize.colourise(labels, palette)",
        "def paint(axes):\n    axes.imshow(colours())",
        f"{line}\nvisualize.figure(fig, alt='Labels.')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    found = list(legend_complaints(notebook))
    assert len(found) == (not named)
    assert all(one.startswith("cell 3 shows labels in colours that nothing") for one in found)


@pytest.mark.parametrize(
    ("source", "shown", "titled"),
    [
        ("# @title Table: two scores\nMarkdown(rows)", "| a |\n|---|\n| 1 |", True),
        ("rows = []\n# Table: two scores\nMarkdown(rows)", "| a |\n|--:|\n| 1 |", True),
        ("# @title Make the table below\nMarkdown(rows)", "| a |\n|---|\n| 1 |", False),
        ("Markdown(rows)", "| a |\n|:--|\n| 1 |", False),
        ("Markdown(text)", "*no* table | at all", True),
    ],
)
def test_a_table_without_a_title_is_named_with_its_cell(
    source: str, shown: str, titled: bool
) -> None:
    cell = nbformat.v4.new_code_cell(source)
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/markdown": shown})]
    found = list(table_complaints(nbformat.v4.new_notebook(cells=[cell])))
    assert found == [
        "cell 1 shows a table without a title: `# @title Table: what it lists`"
        for _ in range(not titled)
    ]


@pytest.mark.parametrize(
    ("text", "titled"),
    [
        ("**Table: five names**\n\n| a |\n|---|\n| 1 |", True),
        ("They have names.\n\n| a |\n|---|\n| 1 |", False),
        ("**Table: five names**\n\nThey follow.\n\n| a |\n|:--|\n| 1 |", False),
        ("The head of a chapter.\n\n| | |\n|---|---|\n| you need | 6 |", True),
    ],
)
def test_a_table_of_the_text_without_a_title_is_named_too(text: str, titled: bool) -> None:
    found = list(
        table_complaints(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]))
    )
    assert found == [
        "cell 1 has a table without `**Table: what it lists**` before it" for _ in range(not titled)
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("import pandas as pd", "imports pandas, which pyproject.toml does not declare"),
        ("from pytest import raises", "imports pytest, which pyproject.toml does not declare"),
        ("import nothing.such", "imports nothing, which pyproject.toml does not declare"),
        ("def f():\n    import pandas", "imports pandas, which pyproject.toml does not declare"),
        ("with x:\n    from pandas import a", "imports pandas, which pyproject.toml does not"),
        ("importlib.import_module('pandas')", "imports pandas, which pyproject.toml does not"),
        ("%%bash\nls -l .", r"is not Python in line \d: invalid syntax"),
    ],
)
def test_a_library_that_readers_do_not_get_is_named_with_its_cell(
    chapter: Chapter, line: str, sentence: str
) -> None:
    """Even where it is installed here, as those of the tests are."""
    replace(chapter.text, "import matplotlib.pyplot as plt", line)
    notebook = from_text(chapter.text.read_text(encoding="utf-8"), STEM, PROJECT)
    chapter.notebook.write_text(nbformat.writes(notebook), encoding="utf-8")
    found = complaints(chapter, PROJECT)
    assert any(re.match(rf"{STEM}: cell \d+ {sentence}", one) for one in found), found


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    import pandas\nexcept ImportError:\n    pandas = None",
        "able = importlib.util.find_spec('pandas')\nif able:\n    import pandas",
    ],
)
def test_a_library_that_a_chapter_can_do_without_is_no_fault(source: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    assert list(import_complaints(notebook)) == []


def element(html: str) -> Notebook:
    """A cell that makes the element of deconvolution, with this output."""
    cell = nbformat.v4.new_code_cell("playground.deconvolution(5, alt='Cells.')")
    cell.outputs = [nbformat.v4.new_output("execute_result", {"text/html": html})]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import x"), cell])


def test_a_thing_to_move_that_is_dead_or_of_another_age_is_named_with_its_cell() -> None:
    html = playground.deconvolution(5, alt="Cells.")._repr_html_()
    assert list(figure_complaints(element(html))) == []
    for broken in ("", re.sub("(?s)<script>.*</script>", "", html)):
        found = list(figure_complaints(element(broken)))
        assert [one.split(" as ")[0].split("hold ")[1] for one in found] == [
            "common.js", "deconvolution.js"
        ]  # fmt: skip
        assert all(one.startswith("cell 2 makes a thing to move") for one in found)
    (found_,) = figure_complaints(element(html.replace("pen = null", "pen = undefined")))
    assert "deconvolution.js as it stands in the package" in found_


@pytest.mark.parametrize(
    ("prose", "sentence"),
    [
        ("![Noise](_static/big.png)", r"shows _static/big\.png, 2\.0 MB, at most 0\.7"),
        ("<IMG SRC='_static/small.png'>", "shows a picture without alt text: _static/small.png"),
        ("<svg><path/></svg>", "shows a drawing without <title> or aria-label"),
        ("<img alt='x' src='https://a.b/c.png'>", "loads a picture from outside: https://a.b"),
    ],
)
def test_a_picture_that_the_prose_names_is_looked_at(
    prose: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    static = tmp_path / "book" / "_static"
    static.mkdir(parents=True)
    for name, size in (("big.png", 2_000_000), ("small.png", 100)):
        (static / name).write_bytes(bytes(size))
    monkeypatch.setattr(chapter_form, "ROOT", tmp_path)
    cell = nbformat.v4.new_markdown_cell(prose)
    (found,) = picture_complaints(nbformat.v4.new_notebook(cells=[cell]))
    assert re.match(f"cell 1 {sentence}", found)
    good = nbformat.v4.new_markdown_cell("![A](_static/small.png) <svg><title>B</title></svg>")
    assert list(picture_complaints(nbformat.v4.new_notebook(cells=[good]))) == []


def test_outputs_of_other_code_are_named(chapter: Chapter) -> None:
    for path in (chapter.text, chapter.notebook):
        replace(path, "for n in (5, 6, 7)", "for n in (5, 6, 8)")
    assert f"{STEM}: its outputs are of other code than it shows" in complaints(chapter, PROJECT)


def with_output(chapter: Chapter, **output: object) -> list[str]:
    """Complaints after an output is added to the third code cell."""
    notebook = nbformat.read(chapter.notebook, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    code[2].outputs.append(nbformat.v4.new_output(**output))
    nbformat.write(notebook, chapter.notebook)
    return complaints(chapter, PROJECT)


def test_a_stored_error_is_named(chapter: Chapter) -> None:
    found = with_output(chapter, output_type="error", ename="ValueError", evalue="no")
    assert any("stores an error: ValueError: no" in one for one in found)


def test_a_stored_warning_is_named(chapter: Chapter) -> None:
    found = with_output(chapter, output_type="stream", name="stderr", text="UserWarning: old")
    assert any("on stderr: 'UserWarning: old'" in one for one in found)


def test_a_stored_live_widget_is_named(chapter: Chapter) -> None:
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    found = with_output(chapter, output_type="display_data", data=view)
    assert any("stores a live widget" in one for one in found)


def test_a_heavy_chapter_is_named(chapter: Chapter) -> None:
    found = with_output(chapter, output_type="stream", name="stdout", text="x" * 1_500_000)
    assert any("larger than 1.5 MB" in one for one in found)


def test_a_cell_run_out_of_order_is_named(chapter: Chapter) -> None:
    replace(chapter.notebook, '"execution_count": 3', '"execution_count": 17')
    assert any("top to bottom" in one for one in complaints(chapter, PROJECT))
