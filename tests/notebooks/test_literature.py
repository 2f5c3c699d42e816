"""Every score that a chapter cites is in the table of published figures, with its source.

Found mechanically: numbers with two digits before the point, in paragraphs with a citation, and in
cells that name the table of a paper or follow a text that does. What is no score of others there is
listed, with what it is.
"""

import ast
import re
from collections.abc import Iterator

import pytest

from fcn_tutorial.training.records.literature import figures
from tools.notebooks import Chapter, chapters, from_text
from tools.project import ROOT, read_project

CHAPTERS = chapters(ROOT / "book")
PUBLISHED = [figure.value for figure in figures([])]

CITED = re.compile(r"\{cite(?::\w+)?\}`")
SOURCE = re.compile(r"\bTables? \d|\bappendix\b|\bCVPR\b|\bPAMI\b")
# Formulas, code, links, equations and exercises have points between their digits too.
NO_SCORE = re.compile(
    r"\$[^$]*\$|`[^`]*`|\]\([^)]*\)|\(\d+\.\d+\)|(?:Exercises?|[Ff]igures?|chapters?) [\d.]+\d"
)
SCORE = re.compile(r"(?<![\w.,−+-])\d\d\.\d{1,2}(?![\w.]*\d)(?! (?:million|M\b|s\b|times|GMAC))")

#: {chapter: {number: what it is}}, where it is not a score that somebody published.
OTHERS: dict[str, dict[str, str]] = {
    "10_measuring": {
        "40.25": "the place of an edge",
        "40.6": "100 less 59.4",
        "97.5": "a percentile",
    },
    "16_after_fcn": {"20.5": "millions of weights", "65.1": "millions of weights"},
}


def in_table(number: str) -> bool:
    """Whether a published figure, rounded as the prose has it, is this number."""
    digits = len(number.partition(".")[2])
    return any(abs(value - float(number)) < 0.5001 * 10**-digits for value in PUBLISHED)


def cited(chapter: Chapter) -> Iterator[str]:
    """Numbers that look like scores in paragraphs with a citation, and in cells with a source."""
    text = chapter.text.read_text(encoding="utf-8")
    before = ""
    for cell in from_text(text, chapter.stem, read_project()).cells:
        if cell.cell_type == "markdown":
            before = cell.source
            for paragraph in cell.source.split("\n\n"):
                if CITED.search(paragraph):
                    yield from SCORE.findall(NO_SCORE.sub(" ", paragraph))
        elif (
            SOURCE.search(cell.source) or (CITED.search(before) and SOURCE.search(before))
        ) and "colab-setup" not in cell.metadata.get("tags", []):
            source = re.sub(r"^[ \t]*[%!].*$", "", cell.source, flags=re.M)
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Constant) and isinstance(node.value, float):
                    number = ast.get_source_segment(source, node) or ""
                    if SCORE.fullmatch(number):
                        yield number


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)
def test_every_cited_score_is_in_the_table(chapter: Chapter) -> None:
    others = OTHERS.get(chapter.stem, {})
    found = list(cited(chapter))
    missing = sorted({n for n in found if not in_table(n) and n not in others})
    assert not missing, (
        f"{missing}: add them to data/results/literature.json with their source, or to OTHERS here"
    )
    assert set(others) <= set(found), "OTHERS lists what is no longer there"


def test_chapters_cite_scores_at_all() -> None:
    found = {chapter.stem[:2]: len(list(cited(chapter))) for chapter in CHAPTERS}
    assert found["10"] >= 6 and found["13"] >= 8 and found["16"] >= 4 and found["17"] >= 2


@pytest.mark.parametrize(
    ("number", "known"), [("62.7", True), ("62.70", True), ("49.8", True), ("62.6", False)]
)
def test_a_number_is_known_as_rounded(number: str, known: bool) -> None:
    assert in_table(number) == known
