"""Every page of the book, opened with the network off: it needs nothing from outside and works."""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser

from tests.book import looks
from tests.book.conftest import Visit, Visitor
from tools import api_pages
from tools.chapter_form import listed_pages
from tools.project import ROOT

# The contents name the modules' pages by a pattern.
MADE = [f"book/api/{name}" for name in api_pages.pages(ROOT / api_pages.PACKAGE)]
PAGES = [f"{name}.html" for name in dict.fromkeys([*listed_pages(), *MADE])]


class Links(HTMLParser):
    """What a page loads, and where its links lead."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        self.anchors.add(named.get("id", ""))
        if tag == "a":
            self.leads.append(named.get("href", ""))
        elif tag == "link" and named.get("rel") not in ("canonical", "next", "prev", "author"):
            self.loads.append(named.get("href", ""))
        else:
            self.loads += [
                named[name] for name in ("src", "srcset", "data", "poster") if name in named
            ]


@cache
def read(path: Path) -> Links:
    return Links(path.read_text(encoding="utf-8"))


def outside(address: str) -> bool:
    return address.startswith(("http:", "https:", "//"))


# The tests of a page stay together, in one of the processes that share the pages out.
TOGETHER = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in PAGES]


@pytest.fixture(scope="module", params=TOGETHER)
def page(request: pytest.FixtureRequest) -> str:
    """Path of a page in the folder of the build.

    Its tests run one after the other, from the wide window to the narrow: a page that is laid out
    anew takes half a second.
    """
    return str(request.param)


def test_page_loads_nothing_from_another_host(html: Path, page: str) -> None:
    assert not [address for address in read(html / page).loads if outside(address)]


def dead(page: Path, address: str) -> bool:
    """Whether a link of a page leads to a file, or to a place in one, that is not there."""
    parts = urlsplit(address)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if parts.scheme or parts.netloc:
        return False
    if target.suffix != ".html":
        return not target.exists()
    return not target.exists() or unquote(parts.fragment) not in read(target).anchors


def test_links_inside_the_book_lead_somewhere(html: Path, page: str) -> None:
    assert not [to for to in read(html / page).leads if dead(html / page, to)]


def test_a_link_to_no_page_or_to_no_place_in_it_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text('<h2 id="here"></h2>')
    page = tmp_path / "two.html"
    page.write_text('<p id="own">')
    good = ["one.html", "one.html#here", "#own", "#", "", "https://a.b/c#d", "mailto:a@b.c"]
    assert not [address for address in good if dead(page, address)]
    bad = ["three.html", "one.html#there", "#here", "pictures/a.png"]
    assert [address for address in bad if dead(page, address)] == bad


def opens(opened: Visit) -> None:
    opened.page.evaluate("document.fonts.ready.then(() => true)")
    assert opened.page.locator(".bd-article h1").first.is_visible()
    assert opened.outside == []
    assert opened.errors == []


def test_page_opens_offline_without_an_error(html: Path, visit: Visitor, page: str) -> None:
    opens(visit(html, page))


def test_math_is_set_with_its_numbers(html: Path, visit: Visitor, page: str) -> None:
    opened = visit(html, page).page
    assert opened.evaluate(looks.UNSET_MATH) == []
    twin = ROOT / "book" / "text" / f"{PurePosixPath(page).stem}.md"
    source = twin.read_text(encoding="utf-8") if twin.is_file() else ""
    widths = opened.evaluate(looks.EQUATION_NUMBERS)
    assert len(widths) == len(re.findall(r"\\tag\{", source))
    assert all(width > 0 for width in widths)


def test_equations_are_seen_whole(html: Path, visit: Visitor, page: str) -> None:
    assert visit(html, page).page.evaluate(looks.CUT_EQUATIONS) == []


@pytest.mark.parametrize(
    "cut", [r"\hspace{-9em}", r"\llap{begins far before, }", r"\text{ends far beyond: }"]
)
def test_an_equation_cut_on_a_phone_is_found_by_its_text(
    html: Path, browser: Browser, tmp_path: Path, cut: str
) -> None:
    """In a copy of a chapter's page, whose first equation goes beyond an end of its box."""
    (name,) = (page for page in PAGES if page.startswith("book/04_"))
    (tmp_path / "_static").symlink_to(html / "_static")
    (tmp_path / "book").mkdir()
    source = (html / name).read_text(encoding="utf-8")
    assert source.count("y_o = b_o") == 1
    (tmp_path / name).write_text(source.replace("y_o = b_o", cut + " y_o = b_o"), encoding="utf-8")
    page = browser.new_page(viewport={"width": 360, "height": 900})
    page.goto((tmp_path / name).as_uri())
    page.evaluate("window.MathJax.startup.promise.then(() => true)")
    (found,) = page.evaluate(looks.CUT_EQUATIONS)
    assert found.strip().startswith("(4.1)")
    page.close()


def test_images_are_seen_and_named(html: Path, visit: Visitor, page: str) -> None:
    opened = visit(html, page).page
    assert opened.evaluate(looks.UNSEEN_IMAGES) == []
    assert opened.evaluate(looks.NAMELESS_IMAGES) == []


def test_no_number_of_a_table_leads_to_itself(html: Path, page: str) -> None:
    captions = re.findall(r'<p class="fcn-caption".*?</p>', (html / page).read_text("utf-8"), re.S)
    assert not [caption for caption in captions if re.search(r"<strong>\s*<a\b", caption)]


def test_a_link_to_a_chapter_has_the_word_in_it(html: Path, page: str) -> None:
    text = (html / page).read_text("utf-8")
    assert not re.findall(r'chapter\s<a class="reference internal"[^>]*>\d+</a>', text, re.I)


def test_the_argument_stands_open_and_little_else(html: Path, visit: Visitor, page: str) -> None:
    assert visit(html, page).page.evaluate(looks.OPEN_CODE) <= 0.25


def test_a_chapter_shows_a_picture_on_its_first_screen(
    html: Path, visit: Visitor, page: str
) -> None:
    if re.match(r"book/\d\d_", page):
        assert visit(html, page).page.evaluate(looks.FIRST_PICTURE) < 900


def test_a_folded_contract_says_how_long_reading_and_running_take(html: Path, page: str) -> None:
    """Times alone: what a chapter adds to them, on GPUs for instance, stands inside."""
    if re.match(r"book/\d\d_", page):
        source = (html / page).read_text(encoding="utf-8")
        (line,) = re.findall(r'<details class="fcn-contract"><summary>(.*?)</summary>', source)
        times = r"; \d+ minutes to read; about \d+ s on two CPU cores to run"
        assert re.fullmatch("What it takes and what it gives" + times, line)


def test_equations_are_linked_where_they_are_named(html: Path, page: str) -> None:
    source = (html / page).read_text(encoding="utf-8")
    stated = set(re.findall(r'id="equation-(\d+-\d+)"', source))
    prose = re.sub(
        r"(?s)<(a|pre|code|script|h\d|summary)\b.*?</\1>|<div class=\"math.*?</div>", "", source
    )
    unlinked = {n for n in re.findall(r"\((\d+\.\d+)\)", prose) if n.replace(".", "-") in stated}
    assert not unlinked


def test_figures_are_numbered_in_their_order(html: Path, page: str) -> None:
    source = (html / page).read_text(encoding="utf-8")
    for kind in ("figure", "table"):
        numbers = re.findall(rf'id="{kind}-(\d+)-(\d+)"', source)
        chapter = re.match(r"book/(\d\d)_", page)
        assert [int(n) for _, n in numbers] == list(range(1, len(numbers) + 1))
        assert {int(c) for c, _ in numbers} <= ({int(chapter[1])} if chapter else set())


def test_figures_have_no_light_card_in_dark_mode(html: Path, visit: Visitor, page: str) -> None:
    opened = visit(html, page, dark=True).page
    assert opened.locator("html").get_attribute("data-theme") == "dark"
    assert opened.evaluate(looks.LIGHT_CARDS) == []


def test_figures_lie_on_black_in_dark_mode(html: Path, visit: Visitor, page: str) -> None:
    """There their grey has a contrast of 4.5; see the tests of `visualize.GREY`."""
    grounds = visit(html, page, dark=True).page.evaluate(looks.FIGURE_GROUNDS)
    assert set(grounds) <= {"rgb(0, 0, 0)"}


@pytest.mark.parametrize("by", ["mouse", "keyboard", "touch"])
def test_sliders_move_their_figures(html: Path, visit: Visitor, page: str, by: str) -> None:
    opened = visit(html, page, width=390 if by == "touch" else 1280)
    for figure in looks.sliders(opened.page):
        looks.check_slider(opened.page, figure, by)
    assert opened.errors == []


def test_a_phone_shows_every_equation_whole(html: Path, visit: Visitor, page: str) -> None:
    assert visit(html, page, width=360).page.evaluate(looks.CUT_EQUATIONS) == []


def test_page_fits_a_phone(html: Path, visit: Visitor, page: str) -> None:
    assert visit(html, page, width=360).page.evaluate(looks.TOO_WIDE) == []


@pytest.mark.parametrize("width", [390, 360])
def test_what_goes_on_beyond_its_box_says_so(
    html: Path, visit: Visitor, page: str, width: int
) -> None:
    assert visit(html, page, width=width).page.evaluate(looks.WITHOUT_CUE) == []


def test_solutions_are_folded_and_open(html: Path, visit: Visitor, page: str) -> None:
    opened = visit(html, page, width=360).page
    for number, solution in enumerate(opened.locator(".cell.tag_solution").all()):
        code = solution.locator("div.highlight").first
        assert not code.is_visible()
        summary = solution.locator("summary").first
        # A finger finds the first, as it would the others; they are opened without the way there.
        summary.evaluate("fold => fold.click()") if number else summary.click()
        assert code.is_visible()


def test_the_model_chapter_shows_one_of_each(html: Path, visit: Visitor, page: str) -> None:
    if not page.startswith("book/04_"):
        return
    opened = visit(html, page).page
    assert opened.locator(".fcn-playground canvas").first.is_visible(), "nothing to move"
    opened.locator(".fcn-contract > summary").click()
    for what in ("mjx-container[display=true]", "table", ".cell_output img", ".known-mistake"):
        assert opened.locator(f".bd-article {what}").first.is_visible(), what


MODEL = [mark for name, mark in zip(PAGES, TOGETHER, strict=True) if name.startswith("book/04_")]


@pytest.mark.parametrize("model", MODEL)
def test_the_model_chapter_opens_from_a_server_too(served: str, visit: Visitor, model: str) -> None:
    opens(visit(served, model))


def test_styles_load_nothing_from_another_host(html: Path) -> None:
    for sheet in html.rglob("*.css"):
        source = sheet.read_text(encoding="utf-8")
        found = re.findall(r"(?:@import\s+|url\()['\"]?(?:https?:)?//[^)'\"]*", source)
        assert not found, f"{sheet.name}: {found}"


def test_names_of_modules_end_a_line_behind_a_dot_or_an_underscore(
    html: Path, visit: Visitor
) -> None:
    page = visit(html, "book/api/index.html", width=360).page
    lines = page.evaluate(
        """() => [...document.querySelectorAll('table.autosummary code .pre')].map(name => {
          const lines = [];
          for (const part of name.childNodes) {
            if (part.nodeType !== Node.TEXT_NODE) continue;
            const range = document.createRange();
            range.selectNodeContents(part);
            lines.push([part.data, range.getClientRects().length]);
          }
          return [name.textContent, lines];
        })"""
    )
    assert len(lines) > 20
    for name, parts in lines:
        assert "".join(part for part, _ in parts) == name
        assert [part for part, _ in parts] == re.findall(r"[^._]+[._]?", name)
        assert all(count == 1 for _, count in parts), name  # none is broken inside
