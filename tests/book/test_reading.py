"""What readers without a mouse, with little bandwidth or on paper have of the pages, and search."""

import re
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from benchmarks import paint
from tests.book.test_pages import MADE, PAGES
from tools import lighten
from tools.pages import VIEWS, join, names, print_page, shoot

MOST_BYTES = 1.5e6
CHAPTERS = [name for name in PAGES if re.match(r"book/\d\d_", name)]
WRITTEN = [name for name in PAGES if name.removesuffix(".html") not in MADE]
#: What the theme's own switch does, the fading between the two schemes ended.
SWITCH = """theme => {
  document.documentElement.dataset.theme = theme;
  document.getAnimations().forEach(animation => animation.finish());
}"""
#: What somebody would type who looks for the chapter.
TERMS = {
    "00": "semantic segmentation", "01": "convolution", "02": "receptive field",
    "03": "graph cut", "04": "convolutionalize", "05": "shift-and-stitch", "06": "transposed",
    "07": "bilinear", "08": "alignment", "09": "cross-entropy", "10": "confusion matrix",
    "11": "skip", "12": "learning rate", "13": "void", "14": "HHA", "15": "SIFT Flow",
    "16": "U-Net", "17": "literature review", "18": "processes",
}  # fmt: skip
#: Two kinds of page in each run; all of them weekly.
LOOKED_AT = [
    pytest.param(
        name, marks=() if name.startswith(("book/intro", "book/00_")) else pytest.mark.slow
    )
    for name in WRITTEN
]


def lightest(html: Path) -> list[str]:
    """The chapters by the size of their pages."""
    return sorted(CHAPTERS, key=lambda name: (html / name).stat().st_size)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", LOOKED_AT)
def test_axe_finds_nothing_serious(html: Path, page: Page, name: str) -> None:
    """Equations aside, which MathJax speaks through a twin that axe takes minutes to read.

    Of what axe asks, only contrast depends on the scheme of colours.
    """
    page.goto((html / name).as_uri())
    for theme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.evaluate(SWITCH, theme)
        found = (
            Axe()
            .run(page, {"exclude": [["mjx-container"]]}, {"resultTypes": ["violations"], **rules})
            .response["violations"]
        )
        serious = [
            f"{theme}: {violation['id']}: {node['html'][:100]}"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
        assert not serious, serious


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_weighs_less_than_a_megabyte_and_a_half(html: Path, name: str) -> None:
    """The page itself: figures are in it. What all pages share is loaded once."""
    assert (html / name).stat().st_size < MOST_BYTES


@pytest.mark.parametrize("name", CHAPTERS)
def test_text_waits_for_one_sheet_and_one_script(html: Path, name: str) -> None:
    """What delays the first words can be counted; benchmarks/paint.py has the seconds."""
    text = (html / name).read_text(encoding="utf-8")
    asked = re.findall(r'<link[^>]*rel="stylesheet"[^>]*>|<script[^>]*\bsrc=[^>]*>', text)
    assert [re.search(r"[\w.]+(?=\?v=)", tag)[0] for tag in asked] == [  # type: ignore[index]
        "all.css", "documentation_options.js",
    ]  # fmt: skip
    assert "searchindex.js" not in text


def test_scripts_have_run_when_the_page_is_loaded(html: Path, page: Page) -> None:
    """In their order: each of the later ones uses one of the earlier."""
    page.goto((html / CHAPTERS[0]).as_uri())
    assert page.evaluate("typeof MathJax.typesetPromise") == "function"
    assert page.locator(".copybtn").count() > 0  # needs clipboard.min.js
    sources = page.eval_on_selector_all(
        "script[src]", "all => all.map(s => s.src.split('/').pop().split('?')[0])"
    )
    assert sources.index("clipboard.min.js") < sources.index("copybutton.js")
    assert len(sources) == len(set(sources)) and "names.js" in sources


def test_first_paint_is_measured_beside_an_empty_page(html: Path, browser: Browser) -> None:
    """It runs, and finds a chapter slower than nothing at all; the seconds are not judged."""
    found = paint.measured(browser, names(["18"]), rounds=2)
    empty, chapter = found.values()
    assert len(empty) == len(chapter) == 2 and 0 < min(empty) < min(chapter)
    first, second = paint.table(found).splitlines()
    assert first.startswith(paint.EMPTY) and first.endswith(" 1.0 ×")
    assert second.startswith("book/18_what_training_costs") and " s (" in second


def test_search_finds_each_chapter_by_its_term(html: Path, page: Page) -> None:
    assert list(TERMS) == [Path(name).name[:2] for name in CHAPTERS]
    for number, term in TERMS.items():
        page.goto(f"{(html / 'search.html').as_uri()}?q={term.replace(' ', '+')}")
        page.wait_for_selector("#search-results li")
        # Results are added one by one; the sentence with their number comes after the last.
        page.wait_for_function(
            "/found [0-9]/.test(document.querySelector('.search-summary').innerText)"
        )
        found = page.eval_on_selector_all("#search-results li a", "all => all.map(a => a.href)")
        chapters = list(dict.fromkeys(re.findall(r"/book/(\d\d)_", " ".join(found))))
        assert number in chapters[:6], (term, chapters)


def test_a_chapter_read_to_its_end_is_remembered_and_can_be_forgotten(
    html: Path, page: Page
) -> None:
    one, other = lightest(html)[:2]
    mark = f".fcn-way a[href^='{Path(one).name}'].fcn-read"
    page.goto((html / other).as_uri())
    assert page.locator(mark).count() == 0
    page.goto((html / one).as_uri())
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_selector(".fcn-way > button", state="attached")
    page.goto((html / other).as_uri())
    assert page.locator(mark).count() == 1
    page.locator(".fcn-way > button").click()
    page.reload()
    assert page.locator(mark).count() == 0


def test_what_is_stored_by_others_breaks_nothing(html: Path, page: Page) -> None:
    page.goto((html / lightest(html)[0]).as_uri())
    page.evaluate("localStorage.setItem('fcn-tutorial-read', '{broken')")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.reload()
    assert errors == [] and page.locator(".fcn-way > button").count() == 0


def test_on_paper_there_is_the_text_and_no_sidebar(html: Path, page: Page) -> None:
    page.goto((html / lightest(html)[0]).as_uri())
    page.emulate_media(media="print")
    assert page.locator(".fcn-question").is_visible()
    for gone in (".bd-sidebar-primary", ".bd-header-article", ".fcn-way", ".prev-next-footer"):
        assert not page.locator(gone).first.is_visible(), gone


def test_a_page_becomes_a_pdf_and_three_pictures(
    html: Path, browser: Browser, tmp_path: Path
) -> None:
    (short,) = names(["teaching"])
    started = time.perf_counter()
    pdf = print_page(browser, short, tmp_path)
    assert pdf.read_bytes().startswith(b"%PDF-") and pdf.stat().st_size > 10_000
    assert len(shoot(browser, short, tmp_path)) == len(VIEWS)
    assert time.perf_counter() - started < 60
    assert join([pdf, pdf], tmp_path / "both.pdf") % 2 == 0


#: What decides how each element looks and where it stands, with nothing scrolled: the theme moves
#: its list of pages to the present one.
LOOK = """() => [...document.querySelectorAll("body, body *")].map(element => {
  element.scrollTo({ top: 0, left: 0, behavior: "instant" });
  return element;
}).map(element => {
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  const drawn = side => getComputedStyle(element, side).content;
  const names = [
    "display", "visibility", "opacity", "color", "backgroundColor", "font", "border", "outline",
    "boxShadow", "textDecoration", "listStyle", "zIndex", "transform", "cursor",
  ];
  return [
    element.tagName, element.className.baseVal ?? element.className, box.x, box.y, box.width,
    box.height, ...names.map(name => style[name]), drawn("::before"), drawn("::after"),
  ].join("|");
})"""
#: Puts sheets, each as it was written, where the page has a link to all of them as one.
RESTORE = """([name, sheets]) => {
  const links = sheets.map(css => Object.assign(document.createElement("link"), {
    rel: "stylesheet", href: css.endsWith(".css") ? css : URL.createObjectURL(
      new Blob([css], { type: "text/css" })),
  }));
  const read = links.map(link => new Promise(done => { link.onload = done; }));
  const lean = document.querySelector(`link[rel=stylesheet][href*="${name}"]`);
  lean.after(...links);
  return Promise.all(read).then(() => lean.remove());
}"""


def whole_sheets(static: Path) -> list[str]:
    """All sheets of a page in their order: addresses, and two as their packages bring them."""
    brought = {}
    for package, pattern in (
        ("pydata_sphinx_theme", "theme/**/static/styles/pydata-sphinx-theme.css"),
        ("myst_nb", "static/mystnb.css"),
    ):
        (path,) = Path(str(files(package))).glob(pattern)
        fonts = (static / "vendor").as_uri()
        brought[path.stem] = path.read_text(encoding="utf-8").replace("../vendor", fonts)
    first, *_ = (static / lighten.BUNDLE).read_text(encoding="utf-8").splitlines()
    names = [Path(name) for name in first.split()[1:-1]]
    sheets = [
        brought.pop(name.name.partition(".")[0], "") or (static / name).as_uri() for name in names
    ]
    assert len(sheets) > 5 and not brought
    return sheets


@pytest.mark.parametrize(
    ("name", "width"),
    [("book/intro", 1280), ("book/00_", 360), ("book/api/fcn_tutorial.geometry.html", 1280)],
)
def test_rules_that_were_left_out_change_no_page(
    html: Path, page: Page, name: str, width: int
) -> None:
    """Every element looks the same under the whole sheets of the theme and of the notebooks."""
    (address,) = [html / each for each in PAGES if each.startswith(name)]
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address.as_uri())
    page.evaluate("window.MathJax?.startup?.promise.then(() => true)")
    page.evaluate("document.fonts.ready.then(() => true)")
    page.add_style_tag(content="* { transition: none !important; animation: none !important }")
    for theme in ("light", "dark"):
        page.evaluate(SWITCH, theme)
        lean = page.evaluate(LOOK)
        assert len(lean) > 100
    page.evaluate(RESTORE, [lighten.BUNDLE, whole_sheets(html / "_static")])
    page.evaluate("document.fonts.load('900 16px \"Font Awesome 6 Free\"').then(() => true)")
    page.evaluate("document.fonts.ready.then(() => true)")
    changed = [pair for pair in zip(lean, page.evaluate(LOOK), strict=True) if pair[0] != pair[1]]
    assert not changed, changed[:5]


def test_icons_are_drawn_without_a_script(html: Path, page: Page) -> None:
    """The theme's script of icons, 1.5 MB, is in no page; the font shows each of them."""
    page.goto((html / CHAPTERS[0]).as_uri())
    page.evaluate("document.fonts.ready.then(() => true)")
    assert not page.query_selector("script[src*=fontawesome]")
    icons = page.eval_on_selector_all(
        "[class*='fa-']",
        "all => all.map(i => [i.className, getComputedStyle(i, '::before').content, "
        "getComputedStyle(i).fontFamily])",
    )
    assert len(icons) >= 10
    for classes, drawn, family in icons:
        assert len(drawn) == 3 and "\ue000" <= drawn[1] <= "\uf8ff", classes
        assert page.evaluate("f => document.fonts.check(`900 16px ${f}`, '\uf0c9')", family), (
            classes
        )
