"""British spelling of every page, by a dictionary that is on disk.

A word is right if Hunspell's English dictionary (from `chunspell`) or the project's own list,
tools/words.txt, has it. That dictionary is American, so codespell's table of British words and
their American forms corrects it: what stands on its left is right, what stands on its right alone
is wrong. Formulas, code, citations and addresses are not looked at.

python -m tools.spelling          name the words that are wrong, and where
python -m tools.spelling --add    put them into the list instead; read what was added
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import cast

import hunspell

from tools.glossary import blanked
from tools.project import ROOT

LIST = ROOT / "tools" / "words.txt"
TABLE = "dictionary_en-GB_to_en-US.txt"
PAGES = ("book/text/*.md", "book/*.md", "README.md", "CONTRIBUTING.md", "data/README.md")

# What is no text, in the order in which it is hidden.
NO_TEXT = (
    r"\A---\n.*?\n---\n",  # the head of the file
    r"^(?P<fence>```+|~~~+)[^\n]*\n.*?^(?P=fence)[ \t]*$",  # cells and directives
    r"<!--.*?-->",
    r"\$\$.*?\$\$",
    r"(?:\{[\w:]+\})?`[^`]*`",  # code and citations
    r"(?<![\\\w])\$(?!\s)[^$]*?(?<![\s\\])\$",  # formulas in a line
)
# What holds no words beside that. Headings and tables do hold some.
NO_WORDS = (
    *NO_TEXT,
    r"(?<=\])\([^)\s]*\)",  # where a link leads
    r"<[^>]*>",
    r"https?://[^\s)>]+",
)
# Letters, and apostrophes inside: `isn't`. Not what is glued to a digit, `_` or `.`: names.
WORD = re.compile(r"(?<![\w./@])[A-Za-zÀ-ÖØ-öø-ÿ]+(?:['’][A-Za-z]+)*(?![\w/@]|\.\w)")


@dataclass(frozen=True)
class Word:
    """A word of a page and the line where it stands."""

    text: str
    line: int


def words(text: str) -> Iterator[Word]:
    """The words of a page, in reading order, without a possessive `'s`."""
    text = blanked(text, NO_WORDS)
    for match in WORD.finditer(text):
        word = re.sub(r"'s$", "", match[0].replace("’", "'"))
        yield Word(word, text.count("\n", 0, match.start()) + 1)


def read_list(path: Path = LIST) -> frozenset[str]:
    """The project's words: one a line, lines with `#` say what follows."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


@cache
def american_forms() -> Mapping[str, frozenset[str]]:
    """codespell's table: British words and what Americans write, in lower case."""
    found = [file for file in files("codespell") or () if file.name == TABLE]
    if not found:
        raise RuntimeError(f"codespell holds no {TABLE}; pin the version in constraints.txt")
    table = {}
    for line in found[0].read_text(encoding="utf-8").lower().splitlines():
        british, _, american = line.partition("->")
        table[british] = frozenset(part.strip() for part in american.split(",") if part.strip())
    return table


@cache
def british_forms() -> Mapping[str, str]:
    """American words that no British table has, and what to write instead."""
    forms = american_forms()
    return {us: uk for uk, all_us in forms.items() for us in all_us if us not in forms}


@cache
def _dictionary() -> hunspell.Hunspell:
    return hunspell.Hunspell("en_US")


@cache
def _known(word: str) -> bool:
    try:
        return cast(bool, _dictionary().spell(word))
    except UnicodeEncodeError:  # a letter that no English word has
        return False


def complaint(word: str, own: frozenset[str]) -> str | None:
    """What is wrong with a word, None if it is right; `own` holds the project's words."""
    lower = word.lower()
    if word in own or lower in own:
        return None
    if lower in british_forms():
        return f"{word} is American; write {british_forms()[lower]}"
    if lower in american_forms() or _known(word):
        return None
    return f"{word} is in no dictionary"


def complaints(text: str, own: frozenset[str]) -> list[str]:
    """The words of a page that are wrong, each once, with its first line."""
    found: dict[str, str] = {}
    for word in words(text):
        sentence = complaint(word.text, own)
        if sentence is not None:
            found.setdefault(word.text, f"line {word.line}: {sentence}")
    return list(found.values())


def pages(root: Path = ROOT) -> list[Path]:
    """Every page that is checked."""
    return sorted(path for pattern in PAGES for path in root.glob(pattern))


def add(new: Sequence[str], path: Path = LIST) -> None:
    """Put words into the list, in alphabetical order below its head."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line for line in lines if line.startswith("#")]
    every = sorted({*read_list(path), *new}, key=lambda word: (word.lower(), word))
    path.write_text("\n".join([*head, *every]) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check all pages, or take their unknown words into the list."""
    parser = argparse.ArgumentParser(prog="tools.spelling", description=__doc__)
    parser.add_argument("--add", action="store_true", help="put the unknown words into the list")
    options = parser.parse_args(arguments)
    own = read_list()
    if options.add:
        texts = [path.read_text(encoding="utf-8") for path in pages()]
        new = {w.text for text in texts for w in words(text) if complaint(w.text, own)}
        add(sorted(new))
        print(f"added: {', '.join(sorted(new)) or 'nothing'}")
        return 0
    found = [
        f"{path.relative_to(ROOT)}, {sentence}"
        for path in pages()
        for sentence in complaints(path.read_text(encoding="utf-8"), own)
    ]
    print("\n".join(found) or "every word is spelt right")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
