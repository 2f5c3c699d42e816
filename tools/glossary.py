"""Links to the glossary: which headings it has, and which words of a chapter should lead there.

python -m tools.glossary --link 05   write the missing links into the text of chapter 05
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.notebooks import chapters
from tools.project import ROOT

LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\(glossary\.md(?:#(?P<slug>[^)\s]*))?\)")

# What is not prose, in the order in which `blanked` hides it.
NOT_PROSE = (
    r"\A---\n.*?\n---\n",  # the head of the file
    r"^(?P<fence>```+|~~~+)[^\n]*\n.*?^(?P=fence)[ \t]*$",  # cells and directives
    r"<!--.*?-->",
    r"<p class=\"admonition-title\">.*?</p>",
    r"<summary>.*?</summary>",
    r"\$\$.*?\$\$",
    r"^\#[^\n]*$",  # headings
    r"^\|[^\n]*$",  # tables
    r"(?:\{[\w:]+\})?`[^`]*`",  # code and citations
    r"(?<![\\\w])\$(?!\s)[^$]*?(?<![\s\\])\$",  # formulas in a line
    r"!?\[[^\[\]]*\]\([^)]*\)",  # links
    r"<[^>\n]*>",
)


@dataclass(frozen=True)
class Use:
    """A term where the prose uses it without a link."""

    slug: str
    start: int
    end: int


def slug(term: str) -> str:
    """The part of an address after the `#`: lower case, words joined by hyphens."""
    return re.sub(r"[^\w-]", "", re.sub(r"\s+", "-", term.strip().lower()))


def read_terms(page: Path) -> dict[str, str]:
    """The headings of the glossary by their slugs; none if there is no such page."""
    if not page.is_file():
        return {}
    headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {slug(heading): heading.strip() for heading in headings}


def pattern(term: str) -> str:
    """Regular expression of a term and its simple plural; a space may be a hyphen or a new line."""
    *before, last = re.split(r"[\s-]+", term.strip())
    if last.endswith("matrix"):
        last = re.escape(last[:-2]) + "(?:ix|ices)"
    elif re.search(r"[^aeiou]y$", last):
        last = re.escape(last[:-1]) + "(?:y|ies)"
    elif last.endswith("s") and not last.endswith("ss"):
        last = re.escape(last) + "?"
    else:
        last = re.escape(last) + ("(?:es)?" if re.search(r"(s|x|z|ch|sh)$", last) else "s?")
    return r"[\s-]+".join([*map(re.escape, before), last])


def blanked(text: str, expressions: Iterable[str]) -> str:
    """The text without what the expressions match, everything else where it was."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", "\0", match[0])

    for expression in expressions:
        text = re.sub(expression, blank, text, flags=re.M | re.S)
    return text


def prose(text: str) -> str:
    """The text with everything that is not running prose blanked, each place where it was."""
    return blanked(text, NOT_PROSE)


def uses(text: str, terms: dict[str, str]) -> Iterator[Use]:
    """Unlinked uses in the prose, in reading order; of terms inside one another the longest."""
    if not terms:
        return
    ordered = sorted(terms, key=lambda name: -len(terms[name]))
    groups = "|".join(f"({pattern(terms[name])})" for name in ordered)
    for match in re.finditer(rf"(?<![\w-])(?:{groups})(?![\w-])", prose(text), re.I):
        assert match.lastindex is not None
        yield Use(ordered[match.lastindex - 1], *match.span())


def missing(text: str, terms: dict[str, str]) -> list[Use]:
    """The first use of each term, where it is not linked."""
    linked = {match["slug"]: match.start() for match in reversed([*LINK.finditer(text)])}
    first: dict[str, Use] = {}
    for use in uses(text, terms):
        first.setdefault(use.slug, use)
    return [use for use in first.values() if use.start < linked.get(use.slug, len(text))]


def complaints(text: str, terms: dict[str, str]) -> Iterator[str]:
    """Links to headings that are not there, and first uses without a link."""
    for match in LINK.finditer(text):
        to_the_page = match["slug"] is None and match["text"] == "glossary"
        if match["slug"] not in terms and not to_the_page:
            yield f"links to glossary.md#{match['slug'] or ''}, which is no heading there"
    for use in missing(text, terms):
        line = text.count("\n", 0, use.start) + 1
        word = " ".join(text[use.start : use.end].split())
        yield (
            f"line {line} first uses {word!r} without a link: [{word}](glossary.md#{use.slug}) "
            "(`python -m tools.glossary --link` writes it)"
        )


def with_links(text: str, terms: dict[str, str]) -> str:
    """The text with a link at the first use of each term that lacks one."""
    for use in sorted(missing(text, terms), key=lambda use: -use.start):
        word = text[use.start : use.end]
        text = f"{text[: use.start]}[{word}](glossary.md#{use.slug}){text[use.end :]}"
    return text


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the missing links of one chapter into its text."""
    parser = argparse.ArgumentParser(prog="tools.glossary", description=__doc__)
    parser.add_argument("--link", required=True, help="start of a chapter's name, such as 05")
    options = parser.parse_args(arguments)
    terms = read_terms(ROOT / "book" / "glossary.md")
    for chapter in chapters(ROOT / "book", options.link):
        text = chapter.text.read_text(encoding="utf-8")
        found = missing(text, terms)
        chapter.text.write_text(with_links(text, terms), encoding="utf-8")
        print(f"{chapter.stem}: {len(found)} links: {', '.join(use.slug for use in found)}")
    print("Read them, then `python -m tools.notebooks --prose --chapter NN`.")


if __name__ == "__main__":
    main()
