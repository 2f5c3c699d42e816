"""What the book's extension does to numbers in tables and to printed lines."""

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from tools.book_extension import begun, continued, hold_stops, in_columns, renamed
from tools.number_tables import MINUS, of_numbers, typeset


def table(*rows: str) -> nodes.table:
    """A table of docutils whose rows are written as `a | b`; the first is the heading."""
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    rule = " ".join("=" * 20 for _ in cells[0])
    lines = [" ".join(f"{cell:20}" for cell in row) for row in cells]
    text = "\n".join([rule, lines[0], rule, *lines[1:], rule])
    return next(iter(publish_doctree(text).findall(nodes.table)))


@pytest.mark.parametrize(
    ("written", "set_as"),
    [
        ("-1.0", "−1.0"), ("(-.5)", "(−.5)"), ("from -3 to 4", "from −3 to 4"),
        ("+1.0 / -2", "+1.0 / −2"), ("FCN-8s", "FCN-8s"), ("2-3", "2-3"), ("1e-12", "1e-12"),
        ("2012-07-01", "2012-07-01"), ("–", "–"), ("VGG-16", "VGG-16"),
    ],
)  # fmt: skip
def test_a_hyphen_before_a_number_is_a_minus(written: str, set_as: str) -> None:
    assert MINUS.sub("−", written) == set_as


@pytest.mark.parametrize(
    ("column", "right"),
    [
        (["5.5", "36.0", "1,612.4"], True), (["−1.5%", "+204.9%"], True), (["", "9"], True),
        (["62.8 ± 0.4", "–"], True), (["1e-12", "0.71 G"], True), (["2.5×", "48.4 to 49.5"], True),
        (["64 min", "85 s"], True),
        (["FCN-8s", "9"], False), (["–", ""], False),
        (["3×3", "5×5"], False), (["1 of 3", "2 of 3"], False), ([], False),
    ],
)  # fmt: skip
def test_a_column_of_numbers_is_known(column: list[str], right: bool) -> None:
    assert of_numbers(column) is right


def test_a_table_is_set_without_a_change_to_words() -> None:
    made = table("net | change | of", "FCN-8s | -1.5 | 3 x", "FCN-16s | 22.0 | 4 x")
    typeset(made)
    rows = [[entry.astext() for entry in row] for row in made.findall(nodes.row)]
    assert rows[1] == ["FCN-8s", "−1.5", "3 x"]
    sides = [[*entry["classes"]] for row in made.findall(nodes.row) for entry in row]
    number = ["text-right", "fcn-whole"]
    assert sides == [[], ["text-right"], [], [], number, [], [], number, []]


def test_columns_of_printed_lines_are_told_from_sentences() -> None:
    assert in_columns("loops   3 ms\nmatrix  4 ms")
    assert not in_columns("one line with  a gap")
    assert not in_columns("the first.\n  the second, indented.\nthe third.")


@pytest.mark.parametrize(
    ("claim", "behind_a_colon"),
    [
        ("The softmax is one", "the softmax is one"), ("A 3×3 box", "a 3×3 box"),
        ("FCN-32s has its crop", "FCN-32s has its crop"), ("SciPy agrees", "SciPy agrees"),
        ("1×1 layers agree", "1×1 layers agree"), ("U-Net is U-shaped", "U-Net is U-shaped"),
    ],
)  # fmt: skip
def test_a_claim_behind_a_colon_keeps_the_capital_of_a_name(
    claim: str, behind_a_colon: str
) -> None:
    assert continued(claim) == behind_a_colon


def test_a_comma_stays_with_its_formula() -> None:
    paragraph = nodes.paragraph(
        "", "", nodes.Text("with "), nodes.math("", "r"), nodes.Text(", so")
    )
    document = publish_doctree("")
    document += paragraph
    hold_stops(None, document, "page")
    assert [type(node) for node in paragraph] == [nodes.Text, nodes.inline, nodes.Text]
    assert paragraph[1].astext() == "r," and paragraph[1]["classes"] == ["fcn-held"]
    assert paragraph.astext() == "with r, so"


def test_a_caption_begins_with_a_capital_and_no_symbol_is_changed() -> None:
    assert [begun(words) for words in ("two ways", "α-expansion", "")] == [
        "Two ways",
        "α-expansion",
        "",
    ]


def test_types_of_arrays_are_shown_as_they_are_written() -> None:
    mocked = "(a: numpy.typing.NDArray.<class 'numpy.uint8'>, b: numpy.typing.NDArray.typing.Any)"
    assert renamed(mocked) == "(a: NDArray[uint8], b: NDArray[Any])"
    assert renamed(None) is None
