"""The slides in a browser: each fits the screen, equations are set, keys lead on and back."""

from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.book.conftest import Visitor

SLIDES = "book/slides.html"
HIGH = "height => [...document.querySelectorAll('section')]" + (
    ".filter(s => s.getBoundingClientRect().height > height + 1).map(s => s.id)"
)
CUT = "() => [...document.querySelectorAll('section, .equation')]" + (
    ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.closest('section').id)"
)
SEEN = "() => [...document.querySelectorAll('section')]" + (
    ".findIndex(s => Math.abs(s.getBoundingClientRect().top) < 2)"
)


def press(page: Page, key: str) -> int:
    page.keyboard.press(key)
    page.wait_for_timeout(50)
    return int(page.evaluate(SEEN))


def test_slides_open_offline_fit_and_are_led_by_keys(html: Path, visit: Visitor) -> None:
    opened = visit(html, SLIDES)
    page = opened.page
    page.set_viewport_size({"width": 1280, "height": 720})
    assert opened.errors == [] and opened.outside == []
    assert page.locator("mjx-merror").count() == 0
    assert page.locator("mjx-container[display=true]").count() == page.locator(".equation").count()
    assert page.evaluate(HIGH, 720) == [] and page.evaluate(CUT) == []
    assert [press(page, key) for key in ("ArrowRight", " ", "ArrowLeft")] == [1, 2, 1]
    assert page.url.endswith("#0")


def test_axe_finds_nothing_serious_in_the_slides(html: Path, visit: Visitor) -> None:
    page = visit(html, SLIDES).page
    found = Axe().run(page, {"exclude": [["mjx-container"]]}).response["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
