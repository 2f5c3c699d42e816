"""Break what the chapters prove, one small change at a time, and see that the cells notice.

A chapter's cells run once, in this process. At each cell tagged `proves-N.M` the process is forked,
and each copy makes one change (a sign, a number one too large, an operator, a comparison) in the
cell or in a function of the package that it calls, and runs the cell. An exception catches the
change, silence lets it survive. Some survivors change nothing that matters, such as a picture's
size: the list is to be read. `make mutants` runs all chapters, `-m tools.book_mutants 07` one.
"""

import argparse
import ast
import contextlib
import inspect
import os
import re
import signal
import textwrap
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any

import matplotlib
import nbformat

from tools.notebooks import BATCH, Chapter, chapters
from tools.project import ROOT

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
}  # fmt: skip
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
}  # fmt: skip
#: In an assertion these only bound something: a wider bound is no fault of what is bounded.
BOUNDS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
#: Calls that make data or words, and settings of a comparison: a change there proves nothing.
DATA = {"print", "range", "product", "normal", "randn", "rand", "randint", "randn_like", "uniform",
        "integers", "manual_seed", "default_rng", "figure", "Scenes", "len", "rtol", "atol", "size",
        "generator", "seed", "dtype", "strict"}  # fmt: skip


class _Change(ast.NodeTransformer):
    """The change with number `wanted`, in the order of the source; `what` says what it was."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.seen, self.what = wanted, -1, ""
        self.asserted = False

    def visit(self, node: ast.AST) -> Any:
        function = getattr(node, "func", None)
        name = getattr(function, "attr", getattr(function, "id", getattr(node, "arg", "")))
        checks = isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)
        if name in DATA or checks or isinstance(node, ast.JoinedStr):
            return node
        if isinstance(node, ast.Assert):
            self.asserted = True
            self.generic_visit(node)
            self.asserted = False
            return node
        if self.asserted and isinstance(node, ast.Compare) and isinstance(node.ops[0], BOUNDS):
            node.left, *node.comparators = (
                side if isinstance(side, ast.Constant) else self.visit(side)
                for side in (node.left, *node.comparators)
            )
            return node
        if isinstance(node, ast.For):  # the settings that are tried are data
            node.body = [self.visit(part) for part in node.body]
            return node
        self.generic_visit(node)
        new = _changed(node)
        self.seen += new is not None
        if new is None or self.seen != self.wanted or self.what:
            return node
        self.what = f"line {getattr(node, 'lineno', 0)}: {ast.unparse(node)} → {ast.unparse(new)}"
        return ast.copy_location(new, node)


def _changed(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        return ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        ops = [COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
        return ast.Compare(node.left, ops, node.comparators)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return node.operand
    number = node.value if isinstance(node, ast.Constant) else None
    if isinstance(number, bool) or not isinstance(number, int | float) or 0 < number <= 1e-3:
        return None
    return ast.Constant(number + 1)


def changes(source: str) -> Iterator[tuple[str, Any]]:
    """Every changed form of a piece of source, with what was changed."""
    for wanted in range(10_000):
        change = _Change(wanted)
        tree = ast.fix_missing_locations(change.visit(ast.parse(source)))
        if not change.what:
            return
        yield change.what, tree


def called(source: str, names: dict[str, Any]) -> dict[str, FunctionType]:
    """The package's plain functions that a cell names, as `f` or as `module.f`."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        value = names.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            value = getattr(names.get(node.value.id), node.attr, None)
        if isinstance(value, FunctionType) and value.__module__.startswith("fcn_tutorial"):
            found[f"{value.__module__}.{value.__name__}"] = value
    return found


def mutants(source: str, names: dict[str, Any]) -> Iterator[tuple[str, Callable[[], None]]]:
    """What to try on a cell: its own changes, then those of the functions that it calls."""

    def run(tree: Any, function: FunctionType | None = None) -> None:
        if function is not None:
            scope = dict(function.__globals__)
            exec(compile(tree, "package", "exec"), scope)
            made = scope[function.__name__]
            function.__code__, function.__defaults__ = made.__code__, made.__defaults__
            function.__kwdefaults__ = made.__kwdefaults__
        exec(source if function else compile(tree, "cell", "exec"), names)

    for what, tree in changes(source):
        yield f"cell, {what}", lambda tree=tree: run(tree)  # type: ignore[misc]
    for name, function in called(source, names).items():
        text = textwrap.dedent(inspect.getsource(function))
        for what, tree in changes(text[text.index("def ") :]):
            yield f"{name}, {what}", lambda t=tree, f=function: run(t, f)  # type: ignore[misc]


def survives(run: Callable[[], None]) -> bool:
    """Whether `run` ends without an exception, in a forked copy of this process."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a change that never ends is caught
        code = 1
        with contextlib.suppress(BaseException), _silence():
            run()
            code = 0
        os._exit(code)
    return os.waitpid(child, 0)[1] == 0


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def try_chapter(chapter: Chapter, most: int) -> tuple[int, int]:
    """Run a chapter, try at most `most` changes on each proof; returns (tried, survived)."""
    names: dict[str, Any] = {"display": print, "__name__": "__main__"}
    tried = survived = 0
    for cell in nbformat.read(chapter.notebook, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and "colab-setup" not in tags:
            source = re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", cell.source)
            every = list(mutants(source, names)) if str(tags).count("proves-") else []
            for what, run in every[:: -(-len(every) // most) or 1]:
                tried += 1
                if survives(run):
                    survived += 1
                    print(f"{cell.metadata.tags[0]} SURVIVES {what}", flush=True)
            with _silence():
                exec(compile(source, chapter.stem, "exec"), names)
    return tried, survived


def main(arguments: Sequence[str] | None = None) -> None:
    """Try the chapters whose names start with the given text."""
    parser = argparse.ArgumentParser(prog="tools.book_mutants", description=__doc__)
    parser.add_argument("chapter", nargs="?", default="")
    parser.add_argument("--most", type=int, default=24, help="changes tried on a cell")
    options = parser.parse_args(arguments)
    os.environ[BATCH] = "1"
    matplotlib.use("Agg")
    for chapter in chapters(ROOT / "book", options.chapter):
        tried, survived = try_chapter(chapter, options.most)
        print(f"{chapter.stem}: {tried - survived} of {tried} changes are caught", flush=True)


if __name__ == "__main__":
    main()
