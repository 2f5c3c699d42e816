"""What the page "What this book proves" says of a cell is what the cell asserts."""

from pathlib import Path

import nbformat
import pytest

from tools import proofs
from tools.notebooks import chapters
from tools.project import ROOT


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("assert a == b", "exactly"),
        ("assert torch.equal(a, b)", "exactly"),
        ("assert torch.allclose(a, b, rtol=0, atol=1e-12)", "to 1e-12"),
        ("assert np.allclose(a, b, rtol=1e-6, atol=0)", "to 1e-6 relative"),
        ("assert np.allclose(a, b)", "to 1e-8, 1e-5 relative"),
        ("assert np.allclose(a, b, rtol=0, atol=0)", "exactly"),
        ("torch.testing.assert_close(a, b)", "to the dtype's own tolerance"),
        ("np.testing.assert_allclose(a, b, rtol=1e-9)", "to 1e-9 relative"),
        ("assert abs(a - b) < 1e-10", "to 1e-10"),
        ("assert 1e-10 > abs(a - b)", "to 1e-10"),
        ("assert abs(a - b) > 1e-3", "as an inequality"),
        ("assert a > b", "as an inequality"),
        # What is denied is no tolerance: it says how far apart two things are at least.
        ("assert not np.allclose(a, b, rtol=0, atol=0.1)", "as an inequality"),
        ("assert not (a == b).all()", "as an inequality"),
        ("assert not a.any()", "exactly"),
        (
            "assert np.allclose(a, b, rtol=0, atol=1e-12)\n"
            "assert not np.allclose(a, c, rtol=0, atol=0.1)",
            "to 1e-12",
        ),
        ("TOLERANCE = 1e-11\nassert np.allclose(a, b, rtol=0, atol=TOLERANCE)", "to 1e-11"),
        # The loosest speaks for the cell; shapes and counts beside it do not.
        (
            "assert a.shape == b.shape\nassert abs(a - b) < 1e-12\nassert abs(c - d) < 1e-9",
            "to 1e-9",
        ),
        ("assert a == b\nassert c < d", "exactly and as an inequality"),
        ("%matplotlib inline\nassert a == b", "exactly"),
    ],
)
def test_the_tolerance_is_read_off_the_assertions(source: str, holds: str) -> None:
    assert proofs.holds(source) == holds


def test_a_tolerance_that_is_no_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="atol is not a number"):
        proofs.holds("assert np.allclose(a, b, rtol=0, atol=eps(a))")
    with pytest.raises(ValueError, match=r"passed by \*\*"):
        proofs.holds("assert np.allclose(a, b, **close)")


def test_a_claim_goes_on_over_lines_and_ends_as_a_sentence() -> None:
    assert proofs.claim("# Claim: one is\n# one\nassert 1 == 1") == "one is one."
    with pytest.raises(ValueError, match="first line is not"):
        proofs.claim("assert 1 == 1")


def test_the_table_links_each_equation_and_its_cell_and_counts_them(tmp_path: Path) -> None:
    cells = [
        nbformat.v4.new_markdown_cell("# A title"),
        nbformat.v4.new_code_cell(
            "# Claim: `a_b` is | and *x*.\nassert 1 == 1", metadata={"tags": ["proves-3.1"]}
        ),
        nbformat.v4.new_code_cell("assert 2 == 2"),
        nbformat.v4.new_code_cell(
            "# Claim: a is nearly zero.\nassert abs(a) < 1e-12", metadata={"tags": ["proves-3.2"]}
        ),
        nbformat.v4.new_code_cell(
            "# Claim: torch.ones has it.\nassert 3 == 3", metadata={"tags": ["proves-3.3"]}
        ),
    ]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "03_short.md").write_text("# A title\n")
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "03_short.ipynb")
    text = proofs.table(tmp_path)
    assert "3 equations are asserted, in 1 chapter; 2 of them hold exactly" in text
    assert "## 3. [A title](03_short.ipynb)" in text
    first, second, third = [line for line in text.splitlines() if line.startswith("| (")]
    assert first.startswith("| (3.1) |")  # the page makes a link of it
    assert 'href="03_short.html#proves-3-1">exactly</a>' in first
    assert "<code>a&#95;b</code> is &#124; and &#42;x&#42;." in first
    assert ">to 1e\N{NON-BREAKING HYPHEN}12</a>" in second and "| A is nearly zero. |" in second
    assert "| torch.ones has it. |" in third  # a name is written as code has it


def test_every_chapter_is_in_the_table_of_the_book() -> None:
    text = proofs.table(ROOT / "book")
    for chapter in chapters(ROOT / "book"):
        assert f"]({chapter.stem}.ipynb)" in text
