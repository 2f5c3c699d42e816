"""The slides are what the chapters say, and need nothing from outside."""

import base64
import copy
import io
import re
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from tools import slides
from tools.notebooks import Chapter, chapters
from tools.project import ROOT

CHAPTERS = chapters(ROOT / "book")


@pytest.fixture(scope="module")
def page() -> str:
    return slides.page(ROOT / "book", slides.title_of_book())


def test_each_chapter_has_its_two_slides_and_its_equations() -> None:
    assert sorted(slides.KEY) == [int(chapter.stem[:2]) for chapter in CHAPTERS]
    assert all(slides.KEY.values())


def test_there_are_as_many_as_fit_into_an_hour(page: str) -> None:
    sections = re.findall(r'<section id="([\w-]+)">', page)
    assert len(sections) == len(set(sections)) == 1 + 2 * len(CHAPTERS)
    assert 25 <= len(sections) <= 40


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)
def test_what_a_slide_says_stands_in_the_text(chapter: Chapter) -> None:
    """The text is what people edit; the slides are read from the notebook."""
    text = re.sub(r"\s+", " ", chapter.text.read_text(encoding="utf-8"))
    said = slides.argument(chapter)
    for sentence in (said.title, said.question, *said.points):
        assert sentence in text
    assert 1 <= len(said.points) <= slides.POINTS
    for equation in said.equations:
        assert equation.tex.split("\n")[0] in chapter.text.read_text(encoding="utf-8")
        assert f"proves-{equation.number}" in text


def test_nothing_is_loaded_but_the_equations_of_the_book(page: str) -> None:
    loads = re.findall(r'(?:src|srcset|poster)="([^"]*)"|<link[^>]*href="([^"]*)"', page)
    addresses = {one or other for one, other in loads}
    own = {address for address in addresses if not address.startswith("data:image/")}
    assert own == {"../_static/mathjax/tex-mml-chtml.js"}
    assert "@import" not in page and "url(" not in page


def test_pictures_are_there_and_show_something(page: str) -> None:
    pictures = re.findall(r'<img src="data:image/\w+;base64,([^"]+)" alt="([^"]+)">', page)
    assert len(pictures) == len(CHAPTERS) == page.count("<img")
    for data, _ in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        levels = picture.convert("RGBA").getextrema()
        assert picture.width >= 400 and any(high > low for low, high in levels)


def test_no_markup_of_the_text_is_left(page: str) -> None:
    bare = re.sub(r'src="[^"]*"|<(script|style).*?</\1>', "", page, flags=re.S)
    for left in ("{cite", "](", "**", "$", ".ipynb", ".md", "github.com"):
        assert left not in bare, left


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("## Summary", "## At the end", "04_short: has no summary"),
        ("| **Question**", "| **Asks**", "04_short: has no question"),
        (r"\tag{4.4}", "", r"04_short: has no equation \(4\.4\)"),
        ('class="fcn-figure"', 'class="other"', "04_short: shows no picture"),
    ],
)
def test_a_chapter_without_what_a_slide_needs_is_named(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    (source,) = chapters(ROOT / "book", "04")
    notebook = copy.deepcopy(nbformat.read(source.notebook, as_version=4))
    for cell in notebook.cells:
        cell.source = cell.source.replace(old, new)
        for output in cell.get("outputs", []):
            if "text/html" in output.get("data", {}):
                output.data["text/html"] = output.data["text/html"].replace(old, new)
    nbformat.write(notebook, tmp_path / "04_short.ipynb")
    (broken,) = chapters(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        slides.argument(broken)
