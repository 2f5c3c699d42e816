"""Links lead somewhere before any page is built: in the texts, and in notebooks opened in Colab."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import glossary, spelling
from tools.notebooks import Chapter, chapters
from tools.project import ROOT, read_project

LINK = re.compile(r"\]\(([^()\s]+)\)")


def leads(text: str) -> Iterator[tuple[int, str]]:
    """Line and address of the links of a page or of a notebook's source."""
    bare = glossary.blanked(text, spelling.NO_TEXT)
    for match in LINK.finditer(bare):
        yield bare.count("\n", 0, match.start()) + 1, match[1]


def missing(page: Path, text: str) -> list[str]:
    """Relative links of a page that name no file, or no heading of the glossary."""
    folder = page.parents[1] if page.parent.name == "text" else page.parent
    found = []
    for line, address in leads(text):
        path, _, anchor = address.partition("#")
        if re.match(r"[a-z]+:", address) or not path:
            continue
        target = folder / path
        made = target.parent.name == "api"  # by the build
        in_glossary = target.name == "glossary.md" and anchor
        if not (made or target.exists()) or (
            in_glossary and anchor not in glossary.read_terms(target)
        ):
            found.append(f"{page.name}, line {line}: {address}")
    return found


@pytest.mark.parametrize("page", spelling.pages(), ids=lambda path: path.stem)
def test_links_of_a_text_name_files(page: Path) -> None:
    assert not missing(page, page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("chapter", chapters(ROOT / "book"), ids=lambda chapter: chapter.stem)
def test_links_of_a_notebook_into_the_repository_name_files(chapter: Chapter) -> None:
    """In Colab a relative link leads nowhere; these are absolute, so their files must exist."""
    slug = re.escape(read_project().slug)
    source = chapter.notebook.read_text(encoding="utf-8")
    inside = set(re.findall(rf"/{slug}/blob/main/([\w./-]+)", source))
    assert f"book/{chapter.stem}.ipynb" in inside  # its own, at the head
    assert not [path for path in inside if not (ROOT / path).is_file()]
    assert not re.findall(r"\]\((?:\d\d_\w+\.ipynb|glossary\.md)", source)


def test_a_link_to_no_file_or_no_term_is_found(tmp_path: Path) -> None:
    """In a copy of a chapter, beside copies of what its links need."""
    (chapter,) = chapters(ROOT / "book", "04")
    (tmp_path / "text").mkdir()
    for other in [*(ROOT / "book").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]:
        (tmp_path / other.name).symlink_to(other)
    page, text = tmp_path / "text" / chapter.text.name, chapter.text.read_text(encoding="utf-8")
    assert not missing(page, text)
    line = text.count("\n") + 1
    text += (
        "[a](04_from_classifer.ipynb), [b](glossary.md#strid), [c](api/none.rst), [d](#here),\n"
        "[e](https://a.b), `[f](g.md)`, [h](glossary.md#stride), ![i](_static/none.webp)"
    )
    name = chapter.text.name
    assert missing(page, text) == [
        f"{name}, line {line}: 04_from_classifer.ipynb",
        f"{name}, line {line}: glossary.md#strid",
        f"{name}, line {line + 1}: _static/none.webp",
    ]
