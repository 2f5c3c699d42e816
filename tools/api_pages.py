"""The reference of the package: a page a module, and links between them and the chapters.

Sphinx writes the entries from the docstrings (autodoc, with the libraries that the package stands
on mocked, so that none of them is needed). Here are the pages that ask it to, one for each module
that the package's `__all__` names, and what Sphinx does not know: which chapter uses which name.
"""

import argparse
import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path

PACKAGE = "fcn_tutorial"
_WIDTH = 70  # columns of a help text


def public_modules(package: Path, name: str = "") -> list[str]:
    """Every module that an `__all__` names, from the package's own down, as paths below `package`.

    Read without importing. Raises ValueError for a name in the package's own that is no module.
    """
    file = package.joinpath(*name.split("."), "__init__.py")
    if not file.is_file():
        return []
    tree = ast.parse(file.read_text(encoding="utf-8"))
    # Below a folder a name can be a function that is called like its file, or the file itself.
    inside = f"{package.name}.{name}"
    modules = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == inside
        for alias in node.names
    }
    found = []
    for public in _all_of(tree):
        path = f"{name}.{public}".strip(".")
        if not name and not _is_module(package, path):
            raise ValueError(f"{package.name}.__all__ names {public}, which has no file")
        if not name or public in modules:
            found += [path, *public_modules(package, path)]
    return sorted(found)


def _all_of(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []


def _is_module(package: Path, name: str) -> bool:
    path = package.joinpath(*name.split("."))
    return (path / "__init__.py").is_file() or path.with_suffix(".py").is_file()


def module_page(name: str) -> str:
    """The page of one module, to be filled by autodoc."""
    above, _, last = f"{PACKAGE}.{name}".rpartition(".")
    lines = [name, "=" * len(name), "", "::", "", f"    from {above} import {last}", ""]
    return "\n".join([*lines, f".. automodule:: {PACKAGE}.{name}", "   :members:", ""])


def index_page(names: Iterable[str]) -> str:
    """The list of modules, each with the first line of its docstring."""
    lines = ["The package, name by name", "=========================", ""]
    lines += [
        "Made from the docstrings when the book is built. Each entry says which chapters use the "
        "name in their code; a name in a chapter's text leads back here. Shapes are written as "
        "in the :doc:`notation </book/notation>`.",
        "",
        ".. autosummary::",
        "",
        *(f"   {PACKAGE}.{name}" for name in names),
        "",
        ":doc:`The command line <command_line>`",
        "    One verb for each thing a person does: train, evaluate, predict, data, ….",
        "",
    ]
    return "\n".join(lines)


def uses(sources: Iterable[str]) -> set[str]:
    """Names of the package that code cells use, such as `geometry.receptive_field`.

    A module that is imported and a name that is taken from one both count, by their public path.
    """
    trees = []
    for source in sources:
        try:
            trees.append(ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source)))
        except SyntaxError:
            continue
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = dict(pair for node in nodes for pair in _imported(node))
    found = {path for path in modules.values() if path}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
            found.add(str(node.module).removeprefix(f"{PACKAGE}."))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            dotted = ast.unparse(node)
            first, _, rest = dotted.partition(".")
            if first in modules and re.fullmatch(r"[\w.]+", dotted):
                found.add(f"{modules[first]}.{rest}".strip("."))
    return found


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """(local name, path below the package) of what an import statement takes from it."""
    if isinstance(node, ast.ImportFrom) and not node.level:
        for alias in node.names:
            root, _, path = f"{node.module}.{alias.name}".partition(".")
            if root == PACKAGE:
                yield alias.asname or alias.name, path
    elif isinstance(node, ast.Import):
        for alias in node.names:
            root, _, path = alias.name.partition(".")
            if root == PACKAGE:
                yield (alias.asname, path) if alias.asname else (PACKAGE, "")


def chapter_uses(notebook: Path) -> set[str]:
    """The names that one chapter uses."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return uses("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


class Usage:
    """Which chapters use a name; each notebook is read once."""

    def __init__(self, notebooks: Iterable[Path]) -> None:
        self.by_chapter = {path.stem: chapter_uses(path) for path in sorted(notebooks)}

    def chapters(self, name: str) -> list[str]:
        """Stems of the chapters that use `name`, a path below the package, or what is in it."""
        return [
            stem
            for stem, names in self.by_chapter.items()
            if any(used == name or used.startswith(name + ".") for used in names)
        ]


def chapter_links(stems: Iterable[str]) -> str:
    """`In the book: chapters 2, 4.` in reStructuredText."""
    links = [f":doc:`{int(stem[:2])} </book/{stem}>`" for stem in stems]
    many = "chapters" if len(links) > 1 else "chapter"
    return f"*In the book:* {many} {', '.join(links)}." if links else ""


def dotted_names(objects: Iterable[str]) -> Mapping[str, str]:
    """From what prose calls a name to its full one: `geometry.Layer`, `FCN.from_coarser`.

    At least one dot is asked for, and an ending that two objects share means neither.
    """
    full: dict[str, set[str]] = {}
    for name in objects:
        parts = name.split(".")
        for start in range(len(parts) - 1):
            full.setdefault(".".join(parts[start:]), set()).add(name)
    short = {name.removeprefix(PACKAGE + "."): {name} for name in objects if name.count(".") > 1}
    return {ending: min(names) for ending, names in {**full, **short}.items() if len(names) == 1}


@cache
def _trimmed(code: str) -> str:
    return re.sub(r"\(.*\)$", "", code.strip(), flags=re.S)


def resolve(code: str, names: Mapping[str, str]) -> str | None:
    """The full name that a piece of inline code means, with or without arguments."""
    return names.get(_trimmed(code))


def command_line_page() -> str:
    """Help of every verb of `fcn-tutorial`, as the program prints it."""
    from fcn_tutorial.cli import _parser

    title = "The command line"
    lines = [title, "=" * len(title), ""]
    lines += [
        "``python -m fcn_tutorial`` is the same. Exit status: 0 done, 1 a clear error, 2 "
        "wrong usage, 130 stopped by the user.",
        "",
    ]
    for command, text in _helps(_parser()):
        if command.count(" "):
            lines += [command, "-" * len(command), ""]
        lines += [".. code-block:: text", "", *(f"    {t}".rstrip() for t in text.split("\n")), ""]
    return "\n".join(lines).rstrip() + "\n"


def _helps(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    parser.formatter_class = partial(argparse.HelpFormatter, width=_WIDTH)
    yield parser.prog, parser.format_help().strip()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _helps(below)


def pages(package: Path) -> dict[str, str]:
    """Every page of the reference: file name without suffix, and text."""
    names = public_modules(package)
    found = {f"{PACKAGE}.{name}": module_page(name) for name in names}
    return {"index": index_page(names), **found, "command_line": command_line_page()}


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the pages, leave equal ones alone so that they are not built again, drop old ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        path = folder / f"{name}.rst"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.glob("*.rst"):
        if path.stem not in texts:
            path.unlink()
