"""Links to the glossary: what counts as a use, and each way to get one wrong is caught."""

import re

import pytest

from tools import glossary
from tools.notebooks import absolute_links, chapters, relative_links
from tools.project import ROOT, Project

TERMS = {
    "kernel": "Kernel",
    "receptive-field": "Receptive field",
    "effective-receptive-field": "Effective receptive field",
    "cross-entropy": "Cross-entropy",
    "toeplitz-matrix": "Toeplitz matrix",
    "logits": "Logits",
    "stride": "Stride",
}
PROJECT = Project("fcn-tutorial", "0.1.0", "https://github.com/a/fcn-tutorial")


def first_uses(text: str) -> list[str]:
    return [use.slug for use in glossary.missing(text, TERMS)]


@pytest.mark.parametrize(
    ("prose", "slugs"),
    [
        ("A receptive field.", ["receptive-field"]),
        ("Receptive\nfields are wide.", ["receptive-field"]),
        ("The effective receptive field.", ["effective-receptive-field"]),
        ("Toeplitz matrices and kernels.", ["toeplitz-matrix", "kernel"]),
        ("One logit.", ["logits"]),
        ("The cross entropy of a kernel's stride.", ["cross-entropy", "kernel", "stride"]),
        ("Strides, then a stride again.", ["stride"]),
    ],
)
def test_terms_and_their_plurals_are_found_in_prose(prose: str, slugs: list[str]) -> None:
    assert first_uses(prose) == slugs


@pytest.mark.parametrize(
    "text",
    [
        "## The stride of a kernel",
        "| stride | kernel |",
        "`stride` and {cite}`stride`",
        "$stride$ and $$\nstride\n$$",
        "[the stride](06_transposed_convolution.ipynb)",
        "![a stride](x.png) <b title='stride'>x</b>",
        '<p class="admonition-title">Known mistake: a stride</p>',
        "<summary>The stride</summary>",
        "```{code-cell} ipython3\nstride = 2  # a stride\n```",
        "---\nstride: 1\n---\n",
        "strided, non-stride, stride-like",
    ],
)
def test_a_word_that_is_not_prose_needs_no_link(text: str) -> None:
    assert first_uses(text) == []


def test_the_link_belongs_at_the_first_use() -> None:
    late = "A stride. Then the [stride](glossary.md#stride)."
    (sentence,) = glossary.complaints(late, TERMS)
    assert "line 1 first uses 'stride' without a link" in sentence
    early = "A [stride](glossary.md#stride). Then the stride."
    assert [*glossary.complaints(early, TERMS)] == []


@pytest.mark.parametrize("target", ["glossary.md#strde", "glossary.md"])
def test_a_link_to_no_heading_is_named(target: str) -> None:
    (sentence,) = glossary.complaints(f"A [step]({target}).", TERMS)
    assert "no heading there" in sentence


def test_a_link_to_the_glossary_itself_is_right() -> None:
    assert [*glossary.complaints("Look into the [glossary](glossary.md).", TERMS)] == []


def test_links_are_written_where_they_are_missing_and_only_there() -> None:
    text = "A stride and\nreceptive fields of a stride; `stride`."
    linked = glossary.with_links(text, TERMS)
    assert linked == (
        "A [stride](glossary.md#stride) and\n"
        "[receptive fields](glossary.md#receptive-field) of a stride; `stride`."
    )
    assert glossary.with_links(linked, TERMS) == linked
    assert [*glossary.complaints(linked, TERMS)] == []


def test_slugs_are_those_of_the_rendered_headings() -> None:
    assert glossary.slug("Frequency-weighted IU") == "frequency-weighted-iu"
    assert glossary.slug("ReLU") == "relu"


def test_the_glossary_is_in_alphabetical_order_with_a_definition_each() -> None:
    page = ROOT / "book" / "glossary.md"
    terms = [*glossary.read_terms(page).values()]
    assert terms == sorted(terms, key=str.lower) and len(terms) == len({*map(str.lower, terms)})
    sections = page.read_text(encoding="utf-8").split("\n## ")[1:]
    short = [text.splitlines()[0] for text in sections if len(text.split()) < 12]
    assert not short


def test_chapters_that_the_glossary_names_exist_or_are_not_yet_numbered() -> None:
    """A definition names the chapter that treats it by the chapter's own file name."""
    stems = {chapter.stem[:2]: chapter.stem for chapter in chapters(ROOT / "book")}
    for match in re.finditer(
        r"\]\(((\d\d)_\w+)\.ipynb\)", (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    ):
        assert stems.get(match[2], match[1]) == match[1]


def test_links_are_absolute_in_the_notebook_and_come_back() -> None:
    text = (
        "[Open in Colab](https://colab.research.google.com/github/a/fcn-tutorial/blob/main/book/"
        "04_x.ipynb), [a](glossary.md#stride), [b](08_alignment.ipynb), [c](08_alignment.ipynb#x)"
    )
    absolute = absolute_links(text, PROJECT)
    assert "[a](https://github.com/a/fcn-tutorial/blob/main/book/glossary.md#stride)" in absolute
    colab = "https://colab.research.google.com/github/a/fcn-tutorial/blob/main/book"
    assert f"[b]({colab}/08_alignment.ipynb)" in absolute
    assert f"[c]({colab}/08_alignment.ipynb#x)" in absolute
    assert relative_links(absolute) == text
