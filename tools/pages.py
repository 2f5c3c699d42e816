"""The built pages as pictures and as PDF, through headless Chromium.

python -m tools.pages shots OUT [NAME…]   every page light, dark and as on a phone
python -m tools.pages pdf OUT [NAME…]     a PDF a chapter, and all of them in book.pdf

NAME is the beginning of a page's file name, such as 04; without, all pages, or all chapters.
"""

import argparse
import http.server
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from playwright.sync_api import Browser, Page, PdfMargins, sync_playwright

from tools.browser import FLAGS, MISSING, installed
from tools.chapter_form import listed_pages
from tools.project import ROOT

HTML = ROOT / "_build" / "html"
#: Of a picture: width of the window and scheme of colours.
VIEWS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (390, "light")}
HEIGHT = 900
_FOOT = (
    '<div style="font-size: 8px; width: 100%; text-align: center">'
    '<span class="pageNumber"></span></div>'
)
_MARGIN = PdfMargins(top="15mm", bottom="17mm", left="16mm", right="16mm")
# What is folded on the screen and belongs on paper: contracts, answers and solutions in prose.
_OPEN = "() => document.querySelectorAll('.bd-article details:not(.hide)').forEach(d => d.open = 1)"


def names(only: Sequence[str], chapters: bool = False) -> list[str]:
    """Pages of the table of contents in its order, without suffix; `chapters`: only those."""
    found = [name for name in listed_pages() if (HTML / f"{name}.html").is_file()]
    if chapters:
        found = [name for name in found if re.match(r"\d\d_", Path(name).name)]
    return [n for n in found if not only or Path(n).name.startswith(tuple(only))]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A started browser. Raises SystemExit where none is installed."""
    path = installed()
    if path is None:
        raise SystemExit(MISSING)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield started
        started.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, without a word about each."""

    protocol_version = "HTTP/1.1"  # a connection answers more than once, as everywhere

    def handle(self) -> None:
        with suppress(ConnectionError):  # the reader has left before all was sent
            super().handle()

    def do_GET(self) -> None:
        if self.path == "/favicon.ico":  # browsers ask for it; the book has none
            self.send_response(http.HTTPStatus.NO_CONTENT)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path | str) -> Iterator[str]:
    """Address under which this machine serves a folder."""
    handler = partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def opened(browser: Browser, name: str, width: int, theme: str) -> Page:
    """A page with its equations set, in a window of that width and in that scheme of colours."""
    context = browser.new_context(viewport={"width": width, "height": HEIGHT})
    page = context.new_page()
    page.goto((HTML / f"{name}.html").as_uri())
    page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
    page.evaluate("window.MathJax?.startup?.promise.then(() => true)")
    return page


def shoot(browser: Browser, name: str, out: Path) -> list[Path]:
    """A picture of the whole page in each view."""
    made = []
    for view, (width, theme) in VIEWS.items():
        page = opened(browser, name, width, theme)
        path = out / f"{Path(name).name}-{view}.jpg"
        page.screenshot(path=path, full_page=True, type="jpeg", quality=60)
        page.context.close()
        made.append(path)
    return made


def print_page(browser: Browser, name: str, out: Path) -> Path:
    """A page on A4, as the style for print has it."""
    page = opened(browser, name, 1280, "light")
    page.evaluate(_OPEN)
    path = out / f"{Path(name).name}.pdf"
    page.pdf(
        path=path, format="A4", margin=_MARGIN, print_background=True,
        display_header_footer=True, header_template="<span></span>", footer_template=_FOOT,
    )  # fmt: skip
    page.context.close()
    return path


def join(parts: Sequence[Path], whole: Path) -> int:
    """One PDF of several, with an entry of its outline for each; returns its pages."""
    from pypdf import PdfWriter

    writer = PdfWriter()
    for part in parts:
        writer.append(part, outline_item=part.stem.replace("_", " "))
    writer.write(whole)
    return len(writer.pages)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the pictures or the PDFs."""
    parser = argparse.ArgumentParser(prog="tools.pages", description=__doc__)
    parser.add_argument("what", choices=("shots", "pdf"))
    parser.add_argument("out", type=Path)
    parser.add_argument("only", nargs="*", metavar="NAME")
    options = parser.parse_args(arguments)
    wanted = names(options.only, chapters=options.what == "pdf")
    if not wanted:
        raise SystemExit("no such page is built: run `make book`")
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with chromium() as browser:
        if options.what == "shots":
            made = [path for name in wanted for path in shoot(browser, name, options.out)]
            told = f"{len(made)} pictures"
        else:
            made = [print_page(browser, name, options.out) for name in wanted]
            told = f"{join(made, options.out / 'book.pdf')} sheets in {options.out / 'book.pdf'}"
    print(f"{told}, {time.perf_counter() - started:.0f} s, in {options.out}")


if __name__ == "__main__":
    main()
