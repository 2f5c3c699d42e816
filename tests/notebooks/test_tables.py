"""No score in a table is typed by hand: it comes from a record, from a recipe, or with a citation.

A table that a chapter computes is made in a cell. One written in the prose may hold numbers only
where it, or the sentence before it, cites where they stand; one written into a cell as text may
hold none.
"""

import ast
import re
from collections.abc import Iterator, Sequence

import pytest

from tools.notebooks import Chapter, chapters, from_text
from tools.project import ROOT, read_project

CHAPTERS = chapters(ROOT / "book")
CONTRACT = "**Question**"  # the table at the head, which states running times
CITATION = re.compile(r"\{cite(?::\w+)?\}`")

# What is no score although it has digits: formulas, code, addresses, and an equation's number.
NO_SCORE = re.compile(r"\$[^$]*\$|`[^`]*`|\]\([^)]*\)|\(\d+\.\d+\)")
# A number that stands by itself: not the 32 of FCN-32s, nor the 16 of VGG16.
NUMBER = re.compile(r"(?<![\w.-])[+\u2212-]?\d+(?:[.,]\d+)*(?![\w.])")


def numbers(row: str, head: bool = False) -> list[str]:
    """The numbers in a row of a table; whole ones may name a column of its `head`, as a stride."""
    found = NUMBER.findall(NO_SCORE.sub(" ", row))
    return [number for number in found if not head or "." in number]


def typed(rows: Sequence[str]) -> Iterator[str]:
    """Those of a table's rows that have numbers."""
    stripped = [row.strip() for row in rows]
    yield from (row for place, row in enumerate(stripped) if numbers(row, head=place == 0))


def tables(prose: str) -> Iterator[tuple[str, str]]:
    """The tables of a markdown cell, each with the sentence before it."""
    fenced = re.sub(r"^(```+|~~~+).*?^\1[ \t]*$", "", prose, flags=re.M | re.S)
    for table in re.finditer(r"(?:^[ \t]*\|.*(?:\n|\Z))+", fenced, re.M):
        before = fenced[: table.start()].strip()
        yield table[0], re.split(r"(?<=[.!?])\s+(?=[A-Z*_\[])|\n\s*\n", before)[-1]


def typed_in_prose(prose: str) -> Iterator[str]:
    """Rows with numbers in tables that name no source."""
    for table, sentence in tables(prose):
        if CONTRACT not in table and not CITATION.search(f"{sentence}\n{table}"):
            yield from typed(table.splitlines())


def typed_in_code(source: str) -> Iterator[str]:
    """Rows of a markdown table that are written, numbers and all, as text of a program."""
    for node in ast.walk(ast.parse(re.sub(r"^[ \t]*[%!].*$", "", source, flags=re.M))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from typed([row for row in node.value.splitlines() if row.startswith("|")])


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)
def test_every_number_in_a_table_comes_from_a_record_or_a_source(chapter: Chapter) -> None:
    text = chapter.text.read_text(encoding="utf-8")
    cells = from_text(text, chapter.stem, read_project()).cells
    found = [row for c in cells if c.cell_type == "markdown" for row in typed_in_prose(c.source)]
    # The set-up cell holds a line of IPython's own in the middle of an `if`.
    code = [
        c.source
        for c in cells
        if c.cell_type == "code" and "colab-setup" not in c.metadata.get("tags", [])
    ]
    found += [row for source in code for row in typed_in_code(source)]
    assert not found, f"typed by hand: {found}; compute them from a record, or cite their source"


TABLE = "| net | mean IU |\n|---|---|\n| FCN-32s | 63.6 |\n"


@pytest.mark.parametrize(
    "prose",
    [
        TABLE,
        f"Our networks, scored.\n\n{TABLE}",
        f"As in {{cite}}`Long2015`. Ours is better.\n\n{TABLE}",  # not the sentence before it
        f"As in {{cite}}`Long2015`.\n\nOurs:\n\n{TABLE}",
        f"Ours:\n\n{TABLE}\nThe others {{cite}}`Long2015`:\n",  # not the sentence after it
        "| net | seconds |\n|---|---|\n| VGG16, eq. (7.1) | 1,234 |\n",
        "| net | gain |\n|---|---|\n| FCN-8s | +0.3 |\n",
    ],
)
def test_a_typed_number_without_a_source_is_found(prose: str) -> None:
    assert len(list(typed_in_prose(prose))) == 1


@pytest.mark.parametrize(
    "prose",
    [
        f"As published {{cite}}`Long2015` (Table 2).\n\n{TABLE}",
        "| net | mean IU |\n|---|---|\n| FCN-32s {cite}`Long2015` | 63.6 |\n",
        "| | |\n|---|---|\n| **Question** | Why? |\n| **Running time** | about 20 s |\n",
        "| name | fair? |\n|---|---|\n| VGG16's stride of $1/32$ | yes, by (6.5) |\n",
        "```python\n| 63.6 |\n```\n",
        "A line with | 63.6 | bars.\n",
        "| | stride 32 | 16 | 8 |\n|---|---|---|---|\n",
    ],
)
def test_what_has_a_source_or_is_no_score_passes(prose: str) -> None:
    assert list(typed_in_prose(prose)) == []


def test_rows_typed_into_a_program_are_found_and_computed_ones_are_not() -> None:
    typed = 'Markdown("| net | mean IU |\\n|---|---|\\n| FCN-32s | 63.6 |")'
    assert list(typed_in_code(typed)) == ["| FCN-32s | 63.6 |"]
    assert list(typed_in_code("rows += ['| FCN-32s | 63.6 |']")) == ["| FCN-32s | 63.6 |"]
    computed = 'rows = [f"| {name} of FCN-32s | {100 * iu:.1f} |"]\n%matplotlib inline'
    assert list(typed_in_code(computed)) == []
