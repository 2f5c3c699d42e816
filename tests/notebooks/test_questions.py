"""What readers of other tutorials complain of has a question on the page, and a place to read."""

import re
from pathlib import Path

import pytest

from tools.project import ROOT

BOOK = ROOT / "book"
PAGE = (BOOK / "frequent_questions.md").read_text(encoding="utf-8")
ANSWERS = {
    found[1]: found[2] for found in re.finditer(r"^### (.+?)\n(.+?)(?=^##|\Z)", PAGE, re.M | re.S)
}


def linked(answer: str) -> dict[str, str]:
    """Text of the pages that an answer links to, a chapter's from its text twin."""
    names = dict.fromkeys(re.findall(r"\]\(([\w/]+\.(?:ipynb|md))", answer))
    paths = {n: BOOK / n if n.endswith(".md") else _text(n) for n in names}
    return {name: path.read_text(encoding="utf-8") for name, path in paths.items()}


def _text(notebook: str) -> Path:
    return (BOOK / "text" / notebook).with_suffix(".md")


@pytest.mark.parametrize(
    ("question", "page", "shown"),
    [
        ("fails in Colab", "00_introduction.ipynb", "In Colab only: add the package"),
        ("not the ones that I get", "what_this_book_proves.md", "is run again"),
        ("text and the code disagree", "what_this_book_proves.md", "a cell that asserts it"),
        ("Where are the solutions", "04_from_classifier_to_fcn.ipynb", "# @title Solution 4.1"),
        ("do not move", "17_what_the_numbers_say.ipynb", "playground.table("),
        ("how I treat void", "09_loss.ipynb", "void"),
        ("how I treat void", "10_measuring.ipynb", "void"),
        ("how I treat void", "13_pascal_voc.ipynb", "void in SBD: none; in VOC's labels"),
        ("why 19, 5, 27, 9 and 31", "08_alignment.ipynb", "## 19, 5, 27, 9, 31 and 18"),
        ("outputs are background", "09_loss.ipynb", "Why is everything background?"),
        ("learning rate 0.0000000001", "09_loss.ipynb", "10^{-10}"),
        ("FCN-16s is worse", "08_alignment.ipynb", "Known mistake"),
        ("FCN-16s is worse", "11_skip_fusion.ipynb", "Known mistake"),
    ],
)
def test_a_complaint_has_an_answer_and_the_page_that_it_links_to_shows_it(
    question: str, page: str, shown: str
) -> None:
    (answer,) = (text for heading, text in ANSWERS.items() if question in heading)
    assert shown in linked(answer)[page]


def test_every_answer_leads_into_the_book_and_to_pages_that_are_there() -> None:
    assert len(ANSWERS) > 15
    assert not [heading for heading, answer in ANSWERS.items() if not linked(answer)]
