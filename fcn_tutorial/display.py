"""Tables: plain HTML for notebooks, escaped, in the page's own colours; lines for a terminal."""

from collections.abc import Iterable, Sequence
from html import escape

_LINE = "1px solid rgba(128, 128, 128, .5)"
_CELL = f"padding: .15em .6em; border-bottom: {_LINE}"
#: Okabe and Ito's blue; how much of it says how much, and letters stay readable on half of it.
_SHADE, _MOST = "0, 114, 178", 0.5


def table(
    heads: Sequence[object],
    rows: Iterable[Sequence[object]],
    caption: str = "",
    shades: Sequence[Sequence[float]] = (),
) -> str:
    """An HTML table: the first column names its row, the others are numbers.

    Args:
        heads: titles of the columns.
        rows: as many cells each; what is in them is shown as text, whatever it holds.
        caption: stands above.
        shades: for each row, how much of its cells' ground is coloured, from 0 to 1; none: nothing.
    """
    head = "".join(_cell("th", title, 0.0, not i) for i, title in enumerate(heads))
    lines = []
    for number, row in enumerate(rows):
        shade = shades[number] if shades else [0.0] * len(row)
        cells = zip(row, shade, strict=True)
        lines.append("".join(_cell("td", *cell, first=not i) for i, cell in enumerate(cells)))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    title = f'<caption style="text-align: left">{escape(caption)}</caption>' if caption else ""
    return (
        f'<table style="border-collapse: collapse; color: inherit">{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows of text as lines of columns, the first `left` of them written to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([*map(str.ljust, row[:left], widths), *map(str.rjust, row[left:], widths[left:])])
        for row in rows
    ]


def _cell(tag: str, content: object, shade: float, first: bool) -> str:
    style = f"{_CELL}; text-align: {'left' if first else 'right'}"
    if shade > 0:
        style += f"; background: rgba({_SHADE}, {_MOST * min(shade, 1.0):.2f})"
    return f'<{tag} style="{style}">{escape(str(content))}</{tag}>'
