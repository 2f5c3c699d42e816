"""Docstrings: results and errors stand in sections, in one order, and no error is left out."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fcn_tutorial

PACKAGE = Path(fcn_tutorial.__file__).parent
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
#: {file, name and error that stands in no `Raises:`: why it need not}.
EXEMPT = {
    "datasets/readers/reader.py PairedFiles.read_labels NotImplementedError": "every reader has it",
    "models/backbones.py Backbone.forward NotImplementedError": "every kind of backbone has it",
    "models/network.py Network.training_scores NotImplementedError": "every network has it",
    "surgery/tracing.py ShapeRunner.run_node RuntimeError": "becomes UnfitSizeError within",
}
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
DOCUMENTED = FUNCTION | ast.ClassDef | ast.Module
CONSTRUCTORS = ("__init__", "__new__", "__post_init__")
SECTIONS = {"Attributes": 1, "Args": 1, "Returns": 2, "Yields": 2, "Raises": 3}
FORMULA, EXAMPLE = 0, 4


def docstrings(tree: ast.Module) -> list[str]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, DOCUMENTED))
    return [ast.get_docstring(node) or "" for node in nodes]


def loose(tree: ast.Module) -> list[str]:
    """Sentences on results and errors outside a section."""
    flat = (" ".join(doc.split()) for doc in docstrings(tree))
    return [found for doc in flat for found in re.findall(r"\b(?:Raises|Returns)\b(?!:).*", doc)]


def disordered(tree: ast.Module) -> list[str]:
    """Docstrings in another order than formulas, arguments, results, errors, examples."""

    def ranks(doc: str) -> list[int]:
        parts = re.findall(rf"^(?:({'|'.join(SECTIONS)}):$|::\n\n *(>>>)?)", doc, re.M)
        return [SECTIONS.get(name, EXAMPLE if prompt else FORMULA) for name, prompt in parts]

    return [doc for doc in docstrings(tree) if ranks(doc) != sorted(ranks(doc))]


def public(node: ast.Module | ast.ClassDef, above: str = "") -> Iterator[tuple[str, ast.AST, str]]:
    """(name, function, docstring that tells its errors); a constructor's are told by the class."""
    for inner in node.body:
        if isinstance(inner, ast.ClassDef) and not inner.name.startswith("_"):
            yield from public(inner, f"{above}{inner.name}.")
        elif isinstance(inner, FUNCTION):
            if inner.name in CONSTRUCTORS:
                yield above + inner.name, inner, ast.get_docstring(node) or ""
            elif not inner.name.startswith("_"):
                yield above + inner.name, inner, ast.get_docstring(inner) or ""


def raised(function: ast.AST) -> set[str]:
    """Names of the errors that a body raises; "some" for one that is made elsewhere."""
    errors = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise) and node.exc]
    either = [part for e in errors for part in getattr(e, "values", [e])]  # of `raise a or b`
    called = [e.func if isinstance(e, ast.Call) else e for e in either]
    names = [getattr(e, "attr", getattr(e, "id", "")) for e in called]
    return {name if re.match("_?[A-Z]", name) else "some" for name in names}


def untold(tree: ast.Module) -> list[str]:
    """Each "name error" of a public function that its docstring has not in a `Raises:`."""
    found = []
    for name, function, doc in public(tree):
        section = re.search(r"^Raises:\n((?: {4}.+\n)+)", doc + "\n", re.M)
        entries = re.findall(r"^ {4}(\w[\w, ]*):", section[1] if section else "", re.M)
        told = {error for entry in entries for error in entry.split(", ")}
        missing = raised(function) - told - ({"some"} if told else set())
        found += [f"{name} {error}" for error in sorted(missing)]
    return found


@pytest.mark.parametrize("rule", [loose, disordered])
def test_results_and_errors_stand_in_sections_in_one_order(
    rule: Callable[[ast.Module], list[str]],
) -> None:
    assert {file: faults for file, tree in TREES.items() if (faults := rule(tree))} == {}


def test_every_error_of_a_public_function_is_told() -> None:
    """Verbs of the command line print theirs; a file whose name begins with _ offers nothing."""
    files = [file for file in TREES if not re.match(r"cli/|(.*/)?_(?!_)", file)]
    assert {f"{file} {fault}" for file in files for fault in untold(TREES[file])} == set(EXEMPT)


RIGHT = '''
class A:
    """What it is.

    ::

        a = b

    Args:
        size: in pixels.

    Raises:
        ValueError, TypeError: for other sizes.

    ::

        >>> A(1)
    """

    def __init__(self, size):
        if size < 1:
            raise ValueError(size)
        raise TypeError

    def find(self):
        """The first.

        Returns:
            (H, W).

        Raises:
            KeyError: where there is none.
        """
        raise self.wrong or module.KeyError("none")

    def again(self):
        """The same.

        Raises:
            KeyError: as `find`.
        """
        raise self.error("none")
'''
ARGS, RAISES = "    Args:\n        size: in pixels.\n\n", "            KeyError: as `find`.\n"
EXAMPLE_OF_A, FORMULA_OF_A = "    ::\n\n        >>> A(1)\n", "    ::\n\n        a = b\n\n"


def faults(source: str) -> list[list[str]]:
    return [rule(ast.parse(source)) for rule in (loose, disordered, untold)]


def test_a_right_source_has_no_faults() -> None:
    assert faults(RIGHT) == [[], [], []]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("The first.", "The first. Raises\n        KeyError.", "Raises KeyError."),
        ("The first.", "Returns the first.", "Returns the first."),
        ("for other sizes.", "for other sizes. Returns A.", "Returns A."),
    ],
)
def test_a_sentence_outside_a_section_is_found(old: str, new: str, expected: str) -> None:
    found, order, errors = faults(RIGHT.replace(old, new))
    assert found[0].startswith(expected) and not order and not errors


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("The first.", "The first.\n\n        Raises:\n            KeyError: if none."),
        (ARGS, f"{ARGS}{FORMULA_OF_A}"),
        (ARGS, f"{EXAMPLE_OF_A}\n{ARGS}"),
        (EXAMPLE_OF_A, ARGS),
    ],
)
def test_another_order_is_found(old: str, new: str) -> None:
    found, order, errors = faults(RIGHT.replace(old, new, 1))
    assert len(order) == 1 and not found and not errors


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ValueError, TypeError:", "ValueError:", ["A.__init__ TypeError"]),
        ("KeyError: where", "IndexError: where", ["A.find KeyError"]),
        (f"        Raises:\n{RAISES}", "", ["A.again some"]),
        ('KeyError("none")', 'KeyError("none") from OSError', []),
    ],
)
def test_an_error_that_is_left_out_is_found(old: str, new: str, expected: list[str]) -> None:
    assert faults(RIGHT.replace(old, new)) == [[], [], expected]
