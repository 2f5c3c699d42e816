"""A table to sort by any column and to narrow down."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from fcn_tutorial.playground.element import Element


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    filters: Sequence[str],
    start: Mapping[str, str] | None = None,
    alt: str,
) -> Element:
    """Rows of text under a head; a click on a head sorts, numbers by size and words by letters.

    Without scripts it is a table.

    Args:
        head: the names of the columns.
        rows: as long as the head, each.
        filters: columns with a choice of their values.
        start: {column: value} that is chosen at the beginning; None: all rows are shown.
        alt: what is seen before the reader does anything.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: for rows of another length than the head, for columns and values that are not
            there, and as `Element`.

    ::

        >>> head, rows = ["network", "mean IU"], [["FCN-32s", "59.4"], ["FCN-8s", "62.7"]]
        >>> table(head, rows, filters=["network"], alt="Two networks and their scores.")
        To play with: Two networks and their scores.
    """
    for place, row in enumerate(rows):
        if len(row) != len(head):
            raise ValueError(f"row {place} has {len(row)} cells, the head has {len(head)}")
    start = start or {}
    if odd := [name for name in (*filters, *start) if name not in head]:
        raise ValueError(f"{odd[0]!r} is no column; there are {', '.join(head)}")
    for name, value in start.items():
        if name not in filters or value not in {row[head.index(name)] for row in rows}:
            raise ValueError(f"start={name!r}: {value!r} is nothing that can be chosen there")
    lines = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    plain = (
        f'<table class="sorted"><thead><tr>{_cells("th", head)}</tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )
    data = {
        "filters": [head.index(name) for name in filters],
        "start": [[head.index(name), value] for name, value in start.items()],
    }
    return Element("table", data, alt, f'<div class="still">{plain}</div>')


def _cells(kind: str, texts: Sequence[str]) -> str:
    return "".join(f"<{kind}>{html.escape(text)}</{kind}>" for text in texts)
