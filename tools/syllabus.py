"""The weeks of book/teaching.md: times, questions and exercises, read from the chapters.

tools/readme.py stamps them between their markers.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.notebooks import Chapter, chapters
from tools.project import ROOT


@dataclass(frozen=True)
class Week:
    """What a class reads in a week, and what is there for those who go on; chapters' numbers."""

    read: Sequence[int]
    further: Sequence[int]


WEEKS = (
    Week(read=(0, 1, 2, 4), further=(3,)),
    Week(read=(6, 7, 8), further=(5,)),
    Week(read=(9, 10, 11), further=(14,)),
    Week(read=(12, 13, 17), further=(15, 16, 18)),
)


@dataclass(frozen=True)
class Lesson:
    """What a chapter offers a class.

    Attributes:
        minutes: to read it.
        seconds: to run it on two CPU cores.
        questions: how many it asks for a check.
        exercises: their numbers, in order, those that are open aside.
        open: numbers of the exercises without one answer.
    """

    stem: str
    title: str
    minutes: int
    seconds: int
    questions: int
    exercises: Sequence[str]
    open: Sequence[str]


def lesson(chapter: Chapter) -> Lesson:
    """Read off a chapter's text. Raises ValueError where its contract lacks a time."""
    text = chapter.text.read_text(encoding="utf-8")
    title = re.search(r"(?m)^# (.+)$", text.partition("| **Question**")[0])
    minutes = re.search(r"\*\*Reading time\*\* \| (\d+) minutes", text)
    seconds = re.search(r"\*\*Running time\*\* \| about (\d+) s on two CPU cores", text)
    if title is None or minutes is None or seconds is None:
        raise ValueError(
            f"{chapter.text}: its contract must say `about N s on two CPU cores` in the row "
            "Running time and `N minutes` in the row Reading time, below a title"
        )
    questions = text.partition("## Check yourself")[2].partition("\n## ")[0]
    exercises = re.findall(r"(?m)^\*\*Exercise (\d+\.\d+)\.?\*\*(?: \((open)\))?", text)
    return Lesson(
        chapter.stem, title[1], int(minutes[1]), int(seconds[1]),
        len(re.findall(r"(?m)^\*\*\d+\. ", questions)),
        [number for number, is_open in exercises if not is_open],
        [number for number, is_open in exercises if is_open],
    )  # fmt: skip


def lessons(root: Path = ROOT) -> dict[int, Lesson]:
    """All chapters by their numbers."""
    return {int(chapter.stem[:2]): lesson(chapter) for chapter in chapters(root / "book")}


def blocks(root: Path = ROOT) -> dict[str, str]:
    """The tables of the page, by the names of their markers: one a week, and one of all."""
    known = lessons(root)
    tables = {f"week {n}": "\n".join(_week(week, known)) for n, week in enumerate(WEEKS, 1)}
    return {"weeks": "\n".join(_weeks(known)), **tables}


def _weeks(known: dict[int, Lesson]) -> Iterator[str]:
    yield "| week | chapters | reading | running | further |"
    yield "|---|---|---|---|---|"
    for n, week in enumerate(WEEKS, 1):
        read, further = ([known[i] for i in numbers] for numbers in (week.read, week.further))
        more = f"{_numbers(week.further)}: {sum(one.minutes for one in further)} min"
        yield f"| {n} | {_numbers(week.read)} | {_times(read)} | {more} |"


def _week(week: Week, known: dict[int, Lesson]) -> Iterator[str]:
    yield "| chapter | reading | running | questions | exercises | open |"
    yield "|---|---|---|---|---|---|"
    for number in (*week.read, *week.further):
        one = known[number]
        page = f"{one.stem}.ipynb"
        name = f"{number}. [{one.title}]({page})"
        if number in week.further:
            name = f"*further:* {name}"
        asked = f"[{one.questions}]({page}#check-yourself)" if one.questions else ""
        # Chapters without a heading for them have them at the end.
        place = f"{page}#exercises" if one.questions else page
        cells = (_range(numbers, place) for numbers in (one.exercises, one.open))
        yield f"| {name} | {_times([one])} | {asked} | {' | '.join(cells)} |"


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _times(several: Sequence[Lesson]) -> str:
    """Two cells: minutes to read, and seconds to run or, from two minutes on, minutes."""
    seconds = sum(one.seconds for one in several)
    running = f"{seconds} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"{sum(one.minutes for one in several)} min | {running}"


def _range(numbers: Sequence[str], place: str) -> str:
    """A link to exercises, by the first and the last of them."""
    if not numbers:
        return ""
    ends = dict.fromkeys((numbers[0], numbers[-1]))
    return f"[{'–'.join(ends)}]({place})"
