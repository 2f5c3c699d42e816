"""A headless Chromium and the built pages; skipped in one clear line where there is no browser."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from tests.browser import chromium
from tools import pages
from tools.project import ROOT

HTML = ROOT / "_build" / "html"


class Visit:
    """A page opened with the network off, and everything that went wrong meanwhile."""

    def __init__(self, page: Page, address: str, inside: str) -> None:
        own = (inside, "data:", "blob:", "about:")
        self.page = page
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url}"))
        page.on("request", lambda r: r.url.startswith(own) or self.outside.append(r.url))
        page.on("response", lambda r: r.status < 400 or self.errors.append(f"{r.status} {r.url}"))
        page.goto(address)
        # MathJax sets the equations after the page has loaded.
        page.evaluate("window.MathJax?.startup?.promise.then(() => true)")


Visitor = Callable[..., Visit]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def html() -> Path:
    """Folder of the built pages."""
    if not (HTML / "index.html").is_file():
        pytest.fail("the book is not built: run `make book`")
    return HTML


@pytest.fixture(scope="session")
def served(html: Path) -> Iterator[str]:
    """Address under which this machine serves the built pages."""
    with pages.served(html) as address:
        yield address


@pytest.fixture(scope="module")
def visit(browser: Browser) -> Visitor:
    """Function that opens page `name` of the site at `base`, an address or a folder.

    A page is loaded once for all tests of a module that follow one another; what they ask for, the
    width of the window and the scheme of colours, changes on the open page, as a reader's would.
    """
    visits: dict[tuple[object, str], Visit] = {}

    def open_page(base: str | Path, name: str, width: int = 1280, dark: bool = False) -> Visit:
        if (base, name) not in visits:
            for known in [k for k in visits if k[1] != name]:
                visits.pop(known).page.context.close()
            context = browser.new_context(has_touch=True, viewport=_window(width))
            context.set_default_timeout(15_000)
            inside = base.as_uri() if isinstance(base, Path) else base
            visits[base, name] = Visit(context.new_page(), f"{inside}/{name}", inside)
        page = visits[base, name].page
        page.set_viewport_size(_window(width))
        # What the theme's own switch does.
        page.evaluate("theme => document.documentElement.dataset.theme = theme", _theme(dark))
        return visits[base, name]

    return open_page


def _theme(dark: bool) -> str:
    return "dark" if dark else "light"


def _window(width: int) -> ViewportSize:
    return {"width": width, "height": 900}
