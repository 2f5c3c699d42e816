"""What the book proves: each cell tagged `proves-N.M` with its claim and its tolerance.

Both are read from the cell: the claim from its first line, `# Claim: …`, the tolerance from the
literals in its assertions. The page book/what_this_book_proves.md is filled with them when the
book is built.
"""

import ast
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import nbformat

from tools.notebooks import Notebook, chapters

MARKER = "<!-- the table is made by tools/proofs.py -->"

# Keywords that say how far off is close enough, and what they are where they are not given.
ABSOLUTE = ("atol", "abs_tol", "abs")
RELATIVE = ("rtol", "rel_tol", "rel")
CLOSE = {  # function: (absolute, relative) by default
    "allclose": (1e-8, 1e-5),
    "isclose": (1e-8, 1e-5),
    "assert_allclose": (0.0, 1e-7),
    "assert_close": (None, None),  # torch.testing: by the dtype
    "approx": (1e-12, 1e-6),
}
SMALL = 1e-3  # `gap < 1e-9` states a tolerance, `loss < 0.5` a bound


@dataclass(frozen=True)
class Proof:
    """One asserted equation of one chapter."""

    stem: str
    number: str
    claim: str
    holds: str


def claim(source: str) -> str:
    """The sentence after `# Claim:`, over all the comment lines that it takes.

    Raises ValueError if the first line of the cell, its title aside, is not one.
    """
    lines = [line for line in source.splitlines() if not line.startswith("# @title ")]
    start = re.match(r"# Claim: (\S+ \S.*)", lines[0]) if lines else None
    if start is None:
        raise ValueError("its first line is not `# Claim: …`, a sentence that says what is equal")
    words = [start[1]]
    for line in lines[1:]:
        if not line.startswith("# "):
            break
        words.append(line[2:].strip())
    sentence = " ".join(words).strip()
    return sentence if sentence.endswith((".", "!", "?")) else sentence + "."


def _number(node: ast.expr, constants: dict[str, float]) -> float | None:
    """The value of a literal, or of a name that the cell sets to one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    return None


def _called(node: ast.Call) -> str:
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _tolerance(call: ast.Call, constants: dict[str, float]) -> str:
    """`1e-12`, or `1e-8, 1e-5 relative`; raises ValueError where a value is not a literal."""
    found = list(CLOSE[_called(call)])
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ValueError("a tolerance passed by ** cannot be read off")
        for place, names in enumerate((ABSOLUTE, RELATIVE)):
            if keyword.arg in names:
                found[place] = _number(keyword.value, constants)
                if found[place] is None:
                    raise ValueError(f"{keyword.arg} is not a number that can be read off")
    absolute, relative = found
    parts = [f"{absolute:.0e}"] if absolute else []
    parts += [f"{relative:.0e} relative"] if relative else []
    text = ", ".join(re.sub(r"e-0?", "e-", part) for part in parts)
    if text:
        return f"to {text}"
    return "exactly" if found == [0.0, 0.0] else "to the dtype's own tolerance"


def _asserted(node: ast.expr, constants: dict[str, float]) -> Iterator[str]:
    """How each comparison inside an asserted expression holds; one that is denied states none."""
    known = False
    denied = {
        id(part)
        for negation in ast.walk(node)
        if isinstance(negation, ast.UnaryOp) and isinstance(negation.op, ast.Not)
        for part in ast.walk(negation.operand)
    }
    for part in ast.walk(node):
        if id(part) in denied:
            if isinstance(part, ast.Compare) or (
                isinstance(part, ast.Call) and _called(part) in CLOSE
            ):
                known = True
                yield "as an inequality"
        elif isinstance(part, ast.Call) and _called(part) in CLOSE:
            known = True
            yield _tolerance(part, constants)
        elif isinstance(part, ast.Compare):
            sides = [part.left, *part.comparators]
            for operator, one, other in zip(part.ops, sides, sides[1:], strict=False):
                if any(isinstance(s, ast.Call) and _called(s) in CLOSE for s in (one, other)):
                    continue
                known = True
                if isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
                    ends = [_number(side, constants) for side in (one, other)]
                    small = [e for e in ends if e is not None and 0 < e <= SMALL]
                    less = isinstance(operator, ast.Lt | ast.LtE)
                    if small and (ends[1] == small[0]) == less:
                        yield "to " + re.sub(r"e-0?", "e-", f"{small[0]:.0e}")
                    else:
                        yield "as an inequality"
                else:
                    yield "exactly"
    if not known:  # torch.equal, all(…), not … any()
        yield "exactly"


def holds(source: str) -> str:
    """How the assertions of a cell hold: exactly, or to the loosest of their tolerances.

    Raises ValueError for a tolerance that is not written as a number.
    """
    # A line of IPython's own is not Python.
    tree = ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source))
    constants = {
        target.id: float(node.value.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, int | float)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.update(_asserted(node.test, constants))
        elif isinstance(node, ast.Call) and _called(node) in ("assert_close", "assert_allclose"):
            found.add(_tolerance(node, constants))

    # A tolerance speaks for the cell: beside it, exact comparisons are of shapes and counts.
    tolerances = [text for text in found if text.startswith("to ")]
    if tolerances:
        return max(tolerances, key=_looseness)
    return " and ".join(sorted(found, reverse=True))


def _looseness(text: str) -> float:
    """The largest number in a tolerance; one that depends on the dtype counts as loosest."""
    return max(map(float, re.findall(r"\d+e-\d+", text)), default=1.0)


def proofs(notebook: Notebook, stem: str) -> Iterator[Proof]:
    """The proofs of one chapter; raises ValueError, naming the cell, for one out of form."""
    for number, cell in enumerate(notebook.cells, start=1):
        for tag in cell.metadata.get("tags", []):
            if tag.startswith("proves-"):
                try:
                    yield Proof(
                        stem, tag.removeprefix("proves-"), claim(cell.source), holds(cell.source)
                    )
                except (ValueError, SyntaxError) as error:
                    raise ValueError(f"{stem}: cell {number}, tagged {tag}: {error}") from error


def title(notebook: Notebook) -> str:
    """The heading at the top of a chapter."""
    return str(notebook.cells[0].source.splitlines()[0].removeprefix("# "))


def anchor(kind: str, number: str) -> str:
    """Identifier of an equation or of the cell that proves it, in its page."""
    return f"{kind}-{number.replace('.', '-')}"


def whole(tolerance: str) -> str:
    """A tolerance such as 1e-12, in words that do not break at its hyphen."""
    return tolerance.replace("e-", "e\N{NON-BREAKING HYPHEN}")


def _row(proof: Proof) -> str:
    # Backticks are the only Markdown in a claim.
    named = re.match(r"\w+[._]\w", proof.claim)  # a name of code keeps its small letter
    sentence = proof.claim if named else proof.claim[0].upper() + proof.claim[1:]
    words = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(sentence, quote=False))
    words = words.replace("|", "&#124;").replace("*", "&#42;").replace("_", "&#95;")
    words = words.replace("$", "&#36;")
    held = whole(proof.holds)
    # The pages make a link of the number themselves.
    address = f"{proof.stem}.html#{anchor('proves', proof.number)}"
    return f'| ({proof.number}) | {words} | <a href="{address}">{held}</a> |'


def table(book: Path, stems: Container[str] | None = None) -> str:
    """Markdown of all chapters' proofs, or of those in `stems`, with a sentence that counts them.

    Raises ValueError for a cell whose claim or tolerance cannot be read.
    """
    blocks = []
    everything: list[Proof] = []
    for chapter in chapters(book):
        if not chapter.notebook.is_file() or not (stems is None or chapter.stem in stems):
            continue
        notebook = nbformat.read(chapter.notebook, as_version=4)
        found = [*proofs(notebook, chapter.stem)]
        if found:
            everything += found
            heading = f"## {int(chapter.stem[:2])}. [{title(notebook)}]({chapter.stem}.ipynb)"
            head = "| equation | claim | holds |\n|---|---|---|"
            blocks.append("\n".join([heading, "", head, *map(_row, found)]))
    exact = sum(proof.holds == "exactly" for proof in everything)
    count = (
        f"So far {len(everything)} equations are asserted, in {len(blocks)} "
        f"chapter{'s' * (len(blocks) != 1)}; {exact} of them hold exactly."
    )
    return "\n\n".join([count, *blocks])
