"""The notation page explains each letter of the numbered equations, chapter by chapter."""

import re

import pytest

from tools.notebooks import Chapter, chapters
from tools.project import ROOT

PAGE = (ROOT / "book" / "notation.md").read_text(encoding="utf-8")
GENERAL, BY_CHAPTER = PAGE.split("## Chapter by chapter")
GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu pi rho sigma tau phi varphi "
    "chi psi omega Delta Theta Lambda Pi Sigma Phi Psi Omega ell"
)
WORDS = r"\\(?:text|operatorname|mathrm|tag|begin|end|phantom)\s*\{[^{}]*\}|\\mathsf\s*\{?T\}?"


def letters(tex: str) -> set[str]:
    """Latin letters and Greek commands of a formula; words and the transpose are none."""
    found = re.findall(r"\\([A-Za-z]+)|([A-Za-z])", re.sub(WORDS, "", tex))
    return {name for command, letter in found if (name := letter or command) and (
        letter or command in GREEK.split())}  # fmt: skip


def in_formulas(text: str) -> set[str]:
    return set().union(*(letters(tex) for tex in re.findall(r"\$([^$]+)\$", text)))


def row(chapter: Chapter) -> str:
    """The chapter's own line on the page."""
    number = int(chapter.stem[:2])
    (line,) = re.findall(rf"(?m)^\| {number or 'Introduction'} \| (.*) \|$", BY_CHAPTER)
    return str(line)


@pytest.mark.parametrize("chapter", chapters(ROOT / "book"), ids=lambda c: c.stem)
def test_each_letter_of_a_numbered_equation_is_explained_once_and_no_other(
    chapter: Chapter,
) -> None:
    text = chapter.text.read_text(encoding="utf-8")
    tagged = [tex for tex in re.findall(r"\$\$(.*?)\$\$", text, re.S) if r"\tag" in tex]
    used = set().union(*map(letters, tagged))
    general = in_formulas("\n".join(re.findall(r"(?m)^\| ([^|]+) \|", GENERAL)))
    assert used <= general | in_formulas(row(chapter)), "not on the notation page"
    assert in_formulas(row(chapter)) <= used, "on the page, but not in an equation"
    own = [name for part in row(chapter).split("; ") for name in in_formulas(part.split(" ")[0])]
    assert len(own) == len(set(own)), "explained twice"
