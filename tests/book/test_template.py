"""The form of a chapter, rendered: two chapters made from the template."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.book import looks
from tests.book.conftest import Visitor
from tools.notebooks import build, chapters
from tools.project import ROOT, read_project

PAGE = "book/98_first.html"
pytestmark = pytest.mark.xdist_group("template")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the built pages."""
    root = tmp_path_factory.mktemp("site")
    text = root / "book" / "text"
    text.mkdir(parents=True)
    for stem in ("98_first", "99_second"):
        shutil.copy(ROOT / "tools" / "chapter_template.md", text / f"{stem}.md")
    for chapter in chapters(root / "book"):
        build(chapter, read_project())
    for name in ("_config.yml", "tools", "book/_static", "book/references.bib", "book/glossary.md"):
        os.symlink(ROOT / name, root / name)
    toc = "format: jb-book\nroot: book/98_first\nchapters:\n"
    toc += "- file: book/99_second\n- file: book/glossary\n"
    (root / "_toc.yml").write_text(toc, encoding="utf-8")
    run = subprocess.run(
        [Path(sys.executable).parent / "jupyter-book", "build", "-q", "-W", "-n", root],
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return root / "_build" / "html"


@pytest.mark.parametrize("width", [1280, 390])
def test_page_opens_offline_without_an_error(site: Path, visit: Visitor, width: int) -> None:
    opened = visit(site, PAGE, width=width)
    assert opened.outside == []
    assert opened.errors == []
    assert opened.page.evaluate(looks.TOO_WIDE) == []
    assert opened.page.evaluate(looks.UNSEEN_IMAGES) == []


def test_equations_of_one_line_and_of_several_show_their_numbers(
    site: Path, visit: Visitor
) -> None:
    page = visit(site, PAGE).page
    assert page.evaluate(looks.UNSET_MATH) == []
    assert len(page.evaluate(looks.EQUATION_NUMBERS)) == 2


def test_contract_shows_no_empty_heading_row(site: Path, visit: Visitor) -> None:
    page = visit(site, PAGE).page
    page.locator(".fcn-contract > summary").click()
    contract = page.locator(".bd-article table").first
    assert contract.is_visible()
    assert not contract.locator("thead").is_visible()


def test_known_mistake_is_a_box_of_the_theme(site: Path, visit: Visitor) -> None:
    box = visit(site, PAGE).page.locator(".known-mistake")
    assert box.locator("code").inner_text() == "output_size"  # Markdown inside is rendered
    shadow = "e => [getComputedStyle(e).borderLeftWidth, getComputedStyle(e).borderLeftStyle]"
    width, style = box.evaluate(shadow)
    assert float(width.removesuffix("px")) >= 2 and style == "solid"


def test_folded_cells_carry_their_titles(site: Path, visit: Visitor) -> None:
    page = visit(site, PAGE).page
    solution = page.locator(".cell.tag_solution")
    assert solution.locator("summary").inner_text() == "Solution 0.1"
    assert not solution.locator("div.highlight").is_visible()
    solution.locator("summary").click()
    assert solution.locator("div.highlight").is_visible()
    prose = page.locator("details", has_text="never zero")
    prose.locator("summary").click()
    assert prose.locator("mjx-container").first.is_visible()


@pytest.mark.parametrize("stem", ["98_first", "99_second"])
def test_each_chapter_cites_its_own_list(site: Path, visit: Visitor, stem: str) -> None:
    page = visit(site, f"book/{stem}.html").page
    link = page.get_by_role("link", name="Dumoulin and Visin, 2016")
    target = link.get_attribute("href")
    assert target is not None and target.startswith("#")
    assert "A guide to convolution arithmetic" in page.locator(target).inner_text()


def test_glossary_links_lead_to_their_headings(site: Path, visit: Visitor) -> None:
    link = visit(site, PAGE).page.get_by_role("link", name="kernel", exact=True)
    assert link.get_attribute("href") == "glossary.html#kernel"
    assert 'id="kernel"' in (site / "book" / "glossary.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("by", ["mouse", "keyboard", "touch"])
def test_slider_moves_its_figure(site: Path, visit: Visitor, by: str) -> None:
    opened = visit(site, PAGE, width=390 if by == "touch" else 1280)
    (figure,) = looks.sliders(opened.page)
    looks.check_slider(opened.page, figure, by)
    assert opened.errors == []


def test_figures_have_no_light_card_in_dark_mode(site: Path, visit: Visitor) -> None:
    assert visit(site, PAGE, dark=True).page.evaluate(looks.LIGHT_CARDS) == []
