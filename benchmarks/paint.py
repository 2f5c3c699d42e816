"""Seconds until a reader of the built book sees the first words of each chapter, on a slow laptop.

`python -m benchmarks.paint [NAME…]` opens each chapter and an empty page in turn, nine times, with
a processor four times slower than this one, and over a line of 10 Mbit/s that takes 40 ms to
answer; it prints medians and quartiles. NAME is the beginning of a page's file name, such as 04.
Run it while nothing else runs: the browser's processes fill two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.command import Progress, positive
from tools.pages import HTML, chromium, names, served

SLOWER = 4
LINE = {
    "offline": False,
    "latency": 40,
    "downloadThroughput": 10e6 / 8,
    "uploadThroughput": 10e6 / 8,
}
EMPTY = "an empty page"
_PAINT = "performance.getEntriesByName('first-contentful-paint')"


def seconds(browser: Browser, address: str) -> float:
    """Until the first text or picture is drawn; nothing is kept from an earlier visit."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", LINE)
    page.goto(address, wait_until="commit")
    page.wait_for_function(f"{_PAINT}.length")
    found = float(page.evaluate(f"{_PAINT}[0].startTime")) / 1000
    context.close()
    return found


def measured(browser: Browser, chapters: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """The seconds of each visit, of the empty page first; all pages in each round."""
    say = Progress("paint")
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, served(HTML) as book, served(folder) as bare:
        Path(folder, "index.html").write_text("<!doctype html><title>.</title><p>Words.</p>")
        pages = {EMPTY: f"{bare}/index.html"} | {name: f"{book}/{name}.html" for name in chapters}
        for visit in range(rounds):
            for name, address in pages.items():
                say(f"visit {visit + 1} of {rounds}: {name}")
                found.setdefault(name, []).append(seconds(browser, address))
    say.clear()
    return found


def table(found: Mapping[str, Sequence[float]]) -> str:
    """A line for each page: median, quartiles, and how often the empty page's median it is."""
    base = statistics.median(found[EMPTY])
    lines = []
    for name, times in found.items():
        low, median, high = statistics.quantiles(times, n=4, method="inclusive")
        lines.append(f"{name:<38} {median:5.2f} s ({low:.2f}–{high:.2f}) {median / base:5.1f} ×")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; `--json` keeps all times."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paint", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("only", nargs="*", metavar="NAME")
    parser.add_argument("--rounds", type=positive, default=9, help="visits of each page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all times")
    options = parser.parse_args(arguments)
    chapters = names(options.only, chapters=True)
    if not chapters:
        raise SystemExit("no such chapter is built: run `make book`")
    with chromium() as browser:
        found = measured(browser, chapters, options.rounds)
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
