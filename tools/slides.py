"""The argument of the book as slides, taken from the chapters: nothing is written twice.

python -m tools.slides PATH   write the page; `make book` does so, to _build/html/book/slides.html

Two slides a chapter: its question over its first picture; its key equations, each with what the
chapter asserts of it, over the beginning of its summary. The page stands beside the chapters'
pages and sets its equations with their MathJax.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from tools import proofs
from tools.notebooks import TITLE, Chapter, Notebook, chapters, relative_links
from tools.project import ROOT

#: By chapter the equations that its argument turns on.
KEY = {
    0: ("0.1", "0.3"), 1: ("1.1", "1.6"), 2: ("2.7",), 3: ("3.3",), 4: ("4.2", "4.4"), 5: ("5.4",),
    6: ("6.3", "6.7"), 7: ("7.3", "7.6"), 8: ("8.2", "8.5"), 9: ("9.2", "9.3"), 10: ("10.3",),
    11: ("11.1",), 12: ("12.4", "12.5"), 13: ("13.1",), 14: ("14.3", "14.7"), 15: ("15.2", "15.3"),
    16: ("16.4", "16.8"), 17: ("17.4",), 18: ("18.1",),
}  # fmt: skip
POINTS = 4  # of a summary, that fit below equations
PICTURE = re.compile(r'<img class="fcn-figure" src="(data:image/[^"]+)" alt="([^"]+)"')


@dataclass(frozen=True)
class Equation:
    """An equation of a chapter: its TeX, without its number, and the claim of its check."""

    number: str
    tex: str
    claim: str


@dataclass(frozen=True)
class Argument:
    """What the slides say of a chapter; sentences are Markdown, the picture is an address.

    Attributes:
        picture: the first one that the chapter shows, as `data:` address.
        caption: its title, or its alternative text where it has none of its own.
    """

    number: int
    stem: str
    title: str
    question: str
    picture: str
    alt: str
    caption: str
    equations: Sequence[Equation]
    points: Sequence[str]


def argument(chapter: Chapter) -> Argument:
    """Read a chapter. Raises ValueError that names it and what it lacks."""
    notebook = nbformat.read(chapter.notebook, as_version=4)
    prose = relative_links(
        "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    )
    number = int(chapter.stem[:2])

    def found(what: str, pattern: str) -> str:
        match = re.search(pattern, prose)
        if match is None:
            raise ValueError(f"{chapter.stem}: has no {what} for its slides")
        return match[1]

    picture, alt, caption = _picture(notebook, chapter.stem)
    summary = found("summary", r"(?s)\n## Summary\n(.*?)(?=\n## |\n\*\*Exercise|\Z)")
    points = re.findall(r"(?m)^- (.+)$", summary)
    if not points:
        raise ValueError(f"{chapter.stem}: its summary has no points for its slides")
    return Argument(
        number, chapter.stem, found("title", r"(?m)^# (.+)$"),
        found("question", r"(?m)^\| \*\*Question\*\* \| (.+) \|$"), picture, alt, caption,
        [_equation(notebook, prose, chapter.stem, name) for name in KEY.get(number, ())],
        points[:POINTS],
    )  # fmt: skip


def _picture(notebook: Notebook, stem: str) -> tuple[str, str, str]:
    """Address, alternative text and caption of the first picture, the latter two as HTML."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            match = PICTURE.search(output.get("data", {}).get("text/html", ""))
            if match:
                own = re.match(rf"{TITLE}Figure: (.+)", cell.source)
                words = escape(own[1][:1].upper() + own[1][1:]) if own else match[2]
                return match[1], match[2], words
    raise ValueError(f"{stem}: shows no picture for its slides")


def _equation(notebook: Notebook, prose: str, stem: str, number: str) -> Equation:
    shown = re.search(rf"\$\$((?:(?!\$\$).)*?)\\tag\{{{re.escape(number)}\}}", prose, re.S)
    proof = next(
        (cell for cell in notebook.cells if f"proves-{number}" in cell.metadata.get("tags", [])),
        None,
    )
    if shown is None or proof is None:
        raise ValueError(f"{stem}: has no equation ({number}) with a check for its slides")
    tex = re.sub(r"[.,;]\s*(\\end\{aligned\}\s*|\s)$", r"\1", shown[1]).strip()
    return Equation(number, tex, proofs.claim(proof.source))


def _math(content: str, options: dict[str, Any]) -> str:
    return f"\\({escape(content)}\\)"


MARKDOWN = MarkdownIt("commonmark").use(dollarmath_plugin, renderer=_math)


def line(markdown: str) -> str:
    """A sentence as HTML; pages of the book are linked, works are not cited."""
    bare = re.sub(r"\s*\{cite(?::\w+)?\}`[^`]*`", "", markdown)
    linked = re.sub(r"\]\((\w+)\.(?:ipynb|md)((?:#[^)]*)?)\)", r"](\1.html\2)", bare)
    html: str = MARKDOWN.renderInline(linked)
    return html


def _slides(one: Argument) -> Iterator[str]:
    """The two slides of a chapter."""
    page = f"{one.stem}.html"
    yield (
        f'<section id="{one.number}"><h2><a href="{page}">{one.number}. {line(one.title)}</a></h2>'
        f'<p class="question">{line(one.question)}</p>'
        f'<figure><img src="{one.picture}" alt="{one.alt}">'
        f'<figcaption><a href="{page}#figure-{one.number}-1">Figure {one.number}.1</a> '
        f"{one.caption}</figcaption></figure></section>"
    )
    shown = "".join(
        f'<div><div class="equation">\\[{escape(e.tex)}\\]</div><p class="claim">'
        f'<a href="{page}#{proofs.anchor("equation", e.number)}">({e.number})</a>, '
        f'<a href="{page}#{proofs.anchor("proves", e.number)}">checked</a>: '
        f"{line(e.claim)}</p></div>"
        for e in one.equations
    )
    points = "".join(f"<li>{line(point)}</li>" for point in one.points)
    yield (
        f'<section id="{one.number}-so"><h2>{one.number}. {line(one.title)}</h2>'
        f'<div class="equations">{shown}</div><ul>{points}</ul></section>'
    )


def page(book: Path, title: str) -> str:
    """The whole page, for the chapters in the folder `book`."""
    every = [argument(chapter) for chapter in chapters(book) if chapter.notebook.is_file()]
    contents = "".join(f'<li><a href="#{a.number}">{line(a.title)}</a></li>' for a in every)
    slides = [
        f'<section id="start"><h1>{escape(title)}</h1><p>The argument of the book, a question a '
        "chapter. Arrow keys lead on and back; print the page for handouts.</p>"
        f'<ol start="{every[0].number}">{contents}</ol></section>'
    ]
    slides += [slide for one in every for slide in _slides(one)]
    return HEAD.replace("TITLE", escape(title)) + "\n".join(slides) + FOOT


def title_of_book(root: Path = ROOT) -> str:
    """The book's title, from its configuration."""
    return str(yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["title"])


HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TITLE: slides</title>
<style>
html { scroll-snap-type: y mandatory; font: clamp(15px, 2.6vmin, 34px)/1.4 system-ui, sans-serif; }
body { margin: 0; color: #111; background: #fff; }
a { color: #005a8c; }
section { box-sizing: border-box; min-height: 100vh; padding: 1.2rem 2.5rem; scroll-snap-align: start;
  display: flex; flex-direction: column; gap: .7rem; justify-content: center; border-bottom: 1px solid #ccc; }
h1 { font-size: 2.2rem; margin: 0; } h2 { font-size: 1.1rem; font-weight: 600; margin: 0; }
h2 a { color: inherit; text-decoration: none; }
p, figure, ul, ol { margin: 0; }
ol { columns: 2 18rem; } li { margin-bottom: .5rem; }
.question { font-size: 1.45rem; max-width: 60rem; }
figure { display: flex; flex-direction: column; align-items: center; gap: .5rem; }
img { max-width: 100%; width: 110vmin; max-height: 58vh; object-fit: contain; }
figcaption, .claim { font-size: .82rem; color: #444; max-width: 52rem; }
.equations { display: flex; flex-wrap: wrap; gap: 0 3rem; }
.equations > * { flex: 1 1 28rem; min-width: 0; } .equation { overflow-x: auto; overflow-y: hidden; }
ul { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: .3rem 3rem;
  margin-top: 1rem; }
@media (max-width: 600px) { html { scroll-snap-type: none; } section { min-height: 0; padding: 1.2rem; } }
@media print {
  @page { size: A4 landscape; margin: 10mm; }
  html { font-size: 13pt; }
  section { min-height: 0; height: 185mm; padding: 0; border: 0; break-after: page; overflow: hidden; }
  img { max-height: 105mm; width: auto; }
  a { color: inherit; text-decoration: none; }
}
</style>
<script>MathJax = { options: { enableMenu: false } };</script>
<script defer src="../_static/mathjax/tex-mml-chtml.js"></script>
</head><body><main>
"""  # noqa: E501

FOOT = """
</main><script>
const slides = [...document.querySelectorAll("section")];
const keys = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 };
addEventListener("keydown", event => {
  const step = keys[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const now = slides.findLastIndex(slide => slide.getBoundingClientRect().top < innerHeight / 2);
  const next = slides[Math.min(Math.max(now + step, 0), slides.length - 1)];
  next.scrollIntoView();
  history.replaceState(null, "", "#" + next.id);
});
</script></body></html>
"""  # noqa: E501


def main(arguments: Sequence[str]) -> None:
    """Write the page."""
    (out,) = arguments
    Path(out).write_text(page(ROOT / "book", title_of_book()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
