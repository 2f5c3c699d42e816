"""Every page is spelt right and British; what is no word is passed over, what is wrong is named."""

from pathlib import Path

import pytest

from tools import spelling
from tools.project import ROOT

OWN = frozenset({"softmax", "Kohli", "practice"})


@pytest.mark.parametrize("page", spelling.pages(), ids=lambda path: path.stem)
def test_page_is_spelt_right(page: Path) -> None:
    found = spelling.complaints(page.read_text(encoding="utf-8"), spelling.read_list())
    assert not found, f"{page.relative_to(ROOT)}: mend it, or `python -m tools.spelling --add`"


@pytest.mark.parametrize(
    ("prose", "sentence"),
    [
        ("One line.\nThe convlution.", "line 2: convlution is in no dictionary"),
        ("A color.", "line 1: color is American; write colour"),
        ("It normalizes nothing.", "line 1: normalizes is American; write normalises"),
        ("## Neighbors", "line 1: Neighbors is American; write neighbours"),
        ("| the tabel | one |", "line 1: tabel is in no dictionary"),
        ("[a lnk](colour.md)", "line 1: lnk is in no dictionary"),
        ("<summary>Teh</summary>", "line 1: Teh is in no dictionary"),
        ("Kohli's; kohli", "line 1: kohli is in no dictionary"),  # a name has its capital
        ("*Slanted* and grey-lvel", "line 1: lvel is in no dictionary"),
    ],
)
def test_a_wrong_word_is_named_with_its_line(prose: str, sentence: str) -> None:
    assert spelling.complaints(prose, OWN) == [sentence]


def test_a_word_is_named_once() -> None:
    assert len(spelling.complaints("Teh teh\nteh", frozenset())) == 2  # with its capital, without


@pytest.mark.parametrize(
    "text",
    [
        "The colour's neighbour isn’t grey; the net is Kohli's.",
        "Softmax in practice",
        "$color$ and $$\ncolor\n$$, `color`, {cite}`Kolor2015`, {cite:t}`Kolor2015`",
        "```{code-cell} ipython3\ncolor = 'grean'\n```",
        "---\nkernelspec: pythn\n---\n",
        "![a grey scene](_static/scnes.webp), https://exmple.org/colr",
        "upscore2, data/wrds.txt, fcn_tutorial.colr, a <b class='kolor'>bold</b> word",
        "<!-- tabel -->",
    ],
)
def test_what_is_right_or_no_word_passes(text: str) -> None:
    assert spelling.complaints(text, OWN) == []


def test_the_list_is_sorted_and_holds_only_what_the_dictionary_lacks() -> None:
    lines = spelling.LIST.read_text(encoding="utf-8").splitlines()
    own = [line for line in lines if not line.startswith("#")]
    assert own == sorted(set(own), key=lambda word: (word.lower(), word))
    assert not [word for word in own if spelling.complaint(word, frozenset()) is None]


def test_new_words_are_sorted_in(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# Words.\nKohli\nsoftmax\n", encoding="utf-8")
    spelling.add(["logits", "Kohli"], path)
    assert path.read_text(encoding="utf-8") == "# Words.\nKohli\nlogits\nsoftmax\n"
