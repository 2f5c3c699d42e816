"""What stored outputs were made by: the chapter's code, the package's code it reaches, versions.

Code is compared as it runs: comments, docstrings, blank lines and line breaks make no difference.
A chapter reaches the modules of the package that it imports, those that they import, inside
functions too, and the files of the package and the weights that the code names; where it puts a
name together before a suffix, all files of that kind beside it. That is more than it runs, never
less, apart from other names that are put together at run time. `tools.notebooks` writes the
fingerprint.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

from tools.project import ROOT

PACKAGE = ROOT / "fcn_tutorial"
WEIGHTS = ROOT / "data" / "weights"
KEY = "fcn_tutorial"  # in a notebook's metadata
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "matplotlib", "scikit-learn", "pillow")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def bare(source: str) -> str:
    """Python source as it runs, as text: without comments, docstrings and places."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return _plain(tree)


def _plain(node: Any) -> str:
    """A tree as text; unlike `ast.dump` the same in every version of Python that knows its nodes.

    Fields that hold nothing are left out: newer versions have more of them.
    """
    if isinstance(node, ast.AST):
        fields = ((name, getattr(node, name, None)) for name in node._fields)
        parts = (f"{name}={_plain(value)}" for name, value in fields if value not in (None, []))
        return f"{type(node).__name__}({', '.join(parts)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_plain, node))}]"
    return repr(node)


@cache
def imports(source: str, here: str = "", is_package: bool = False) -> frozenset[str]:
    """Dotted names that a source imports, at any depth; each may be a module or a name in one."""
    parts = here.split(".") if here else []
    inside = parts if is_package else parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


@cache
def modules(package: Path = PACKAGE) -> Mapping[str, Path]:
    """{dotted name: file} of every module of a package."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def reached(sources: Iterable[str], package: Path = PACKAGE) -> set[str]:
    """The modules of the package that sources import, and those that they import in turn."""
    known = modules(package)
    pending = [name for source in sources for name in imports(source)]
    found: set[str] = set()
    while pending:
        name = pending.pop()
        # Of a dotted name, every package on the way is run too.
        for part in accumulate(name.split("."), "{}.{}".format):
            if part in known and part not in found:
                found.add(part)
                path = known[part]
                source = path.read_text(encoding="utf-8")
                pending += imports(source, part, path.name == "__init__.py")
    return found


@cache
def _digest_of(path: Path, package: Path) -> str:
    """Of a module's code, and of the files of the package that its code names."""
    code = bare(path.read_text(encoding="utf-8"))
    beside = [
        other.read_bytes()
        for other in sorted(package.rglob("*"))
        if other.suffix not in ("", ".py", ".pyc")
        and other.is_file()
        and (
            f"{other.name!r}" in code
            or (other.parent == path.parent and f"{other.suffix!r}" in code)
        )
    ]
    return digest([code.encode(), *beside])


def weights_named(sources: Iterable[str], folder: Path = WEIGHTS) -> list[Path]:
    """The shipped weights whose file name stands in a source."""
    text = "\n".join(sources)
    return [path for path in sorted(folder.glob("*.safetensors")) if path.name in text]


def digest(parts: Iterable[bytes]) -> str:
    """Twelve hexadecimal digits of SHA-256, over the parts and where they end."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:12]


def code_cells(notebook: Any) -> list[str]:
    """Sources of the code cells, without the set-up cell, which is stamped."""
    return [
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and "colab-setup" not in cell.metadata.get("tags", [])
    ]


def of_code(notebook: Any) -> str:
    """Of a chapter's own code."""
    return digest(bare(source).encode() for source in code_cells(notebook))


def of_package(notebook: Any, package: Path = PACKAGE) -> str:
    """Of the code of the package that a chapter reaches, and of the weights that it names."""
    cells = code_cells(notebook)
    names, known = sorted(reached(cells, package)), modules(package)
    code = [f"{name} {_digest_of(known[name], package)}".encode() for name in names]
    return digest([*code, *(path.read_bytes() for path in weights_named(cells))])


def fingerprint(notebook: Any) -> dict[str, Any]:
    """What the outputs of a chapter that was run now are made by."""
    return {
        "code": of_code(notebook),
        "package": of_package(notebook),
        "versions": {name: version(name).partition("+")[0] for name in LIBRARIES},
    }


def faults(notebook: Any) -> Iterator[str]:
    """Why stored outputs cannot be those of the code above them."""
    stored = notebook.metadata.get(KEY)
    if stored is not None and stored["code"] != of_code(notebook):
        yield "its outputs are of other code than it shows"


def remarks(notebook: Any, package: Path = PACKAGE) -> Iterator[str]:
    """Why stored outputs may be out of date; whether they are, running the chapter tells."""
    stored = notebook.metadata.get(KEY)
    if stored is None:
        yield "its outputs do not say what made them"
    elif stored["package"] != of_package(notebook, package):
        yield "its outputs are older than the code of the package that it reaches"
