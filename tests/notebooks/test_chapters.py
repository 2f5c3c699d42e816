"""Each chapter of the book, and the table of contents, as they are on disk."""

import pytest

from tools.chapter_form import complaints, unlisted_pages
from tools.notebooks import Chapter, chapters
from tools.project import ROOT, read_project

CHAPTERS = chapters(ROOT / "book")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)
def test_chapter_is_in_form_and_in_step_with_its_text(chapter: Chapter) -> None:
    assert not complaints(chapter, read_project())


def test_pages_and_table_of_contents_agree() -> None:
    assert not unlisted_pages(ROOT)
