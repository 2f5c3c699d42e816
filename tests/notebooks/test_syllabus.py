"""The weeks for a class are in step with the chapters, and leave none out."""

from pathlib import Path

import pytest

from tools import readme, syllabus
from tools.notebooks import Chapter
from tools.syllabus import WEEKS


def test_the_page_is_in_step_with_the_chapters() -> None:
    text = readme.TEACHING.read_text(encoding="utf-8")
    assert readme.stamped_teaching(text) == text, "run `python -m tools.readme`"


def test_each_chapter_is_in_one_week() -> None:
    planned = [number for week in WEEKS for number in (*week.read, *week.further)]
    assert sorted(planned) == sorted(syllabus.lessons())


def write(folder: Path, number: str, running: str) -> None:
    text = folder / "text"
    text.mkdir(exist_ok=True)
    (text / f"{number}_short.md").write_text(
        "---\nkernelspec: x\n---\n\n# Short\n\n| | |\n|---|---|\n| **Question** | Why? |\n"
        f"| **Running time** | {running} |\n| **Reading time** | 9 minutes, code aside |\n\n"
        "**1. Bold, but no question.**\n\n## Check yourself\n\n**1. One?**\n\n**2. Two?**\n\n"
        "## Exercises\n\n**Exercise 3.1** (warm-up). A.\n\n**Exercise 3.2.** B.\n\n"
        "**Exercise 3.3** (open). C.\n",
        encoding="utf-8",
    )


def chapter(folder: Path, number: str) -> Chapter:
    return Chapter(
        f"{number}_short", folder / f"{number}_short.ipynb", folder / "text" / f"{number}_short.md"
    )


def test_times_questions_and_exercises_are_read_off_a_chapter(tmp_path: Path) -> None:
    write(tmp_path, "03", "about 70 s on two CPU cores, with or without a GPU")
    found = syllabus.lesson(chapter(tmp_path, "03"))
    assert (found.title, found.minutes, found.seconds, found.questions) == ("Short", 9, 70, 2)
    assert (found.exercises, found.open) == (["3.1", "3.2"], ["3.3"])
    (row,) = [
        line for line in syllabus._week(syllabus.Week([3], []), {3: found}) if "Short" in line
    ]
    assert row == (
        "| 3. [Short](03_short.ipynb) | 9 min | 70 s | [2](03_short.ipynb#check-yourself)"
        " | [3.1–3.2](03_short.ipynb#exercises) | [3.3](03_short.ipynb#exercises) |"
    )
    assert syllabus._times([found, found]) == "18 min | 2 min"


def test_a_chapter_without_a_time_is_named(tmp_path: Path) -> None:
    write(tmp_path, "04", "not measured yet")
    with pytest.raises(ValueError, match=r"04_short\.md: its contract must say"):
        syllabus.lesson(chapter(tmp_path, "04"))
