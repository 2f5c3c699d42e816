"""Tables of numbers as print has them: a true minus, and columns of numbers set to the right.

A number with its unit or its spread stays on one line.
"""

import re
from itertools import zip_longest

from docutils import nodes

#: A hyphen that stands for a minus: before a digit, behind nothing that a word or a range ends in.
MINUS = re.compile(r"(?<![\w.)\]–-])-(?=\.?\d)")
#: What a cell of numbers holds: a value, perhaps its spread or an interval, and its unit.
_NUMBER = r"[+−-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e[+−-]?\d+)?"
_UNIT = r"(?:%|ms|s|min|×|[kMG]|[KMG]i?B)?"
NUMBERS = re.compile(rf"[≥≤<>~]?\s?{_NUMBER}(?:\s?(?:±|to|/)\s?{_NUMBER})*\s?{_UNIT}")
NONE = re.compile(r"[–—?-]?")


def typeset(table: nodes.table) -> None:
    """Give the table's text its minus signs, and its columns of numbers their side."""
    for text in [*table.findall(nodes.Text)]:
        if not isinstance(text.parent, nodes.literal | nodes.math | nodes.raw):
            changed = MINUS.sub("−", text.astext())
            if changed != text.astext():
                text.parent.replace(text, nodes.Text(changed))
    heads = [row.children for head in table.findall(nodes.thead) for row in head]
    rows = [row.children for body in table.findall(nodes.tbody) for row in body]
    for number, column in enumerate(zip_longest(*rows)):
        cells = [cell for cell in column if cell is not None]
        if of_numbers([cell.astext() for cell in cells]):
            for cell in cells + [head[number] for head in heads if number < len(head)]:
                cell["classes"] = [c for c in cell["classes"] if not c.startswith("text-")]
                cell["classes"].append("text-right")
                if cell in cells and " to " not in cell.astext():
                    cell["classes"].append("fcn-whole")


def of_numbers(column: list[str]) -> bool:
    """Whether a column, by the text of its cells, holds numbers and gaps only, one at least."""
    texts = [text.strip() for text in column]
    numbers = [text for text in texts if not NONE.fullmatch(text)]
    return bool(numbers) and all(NUMBERS.fullmatch(text) for text in numbers)
