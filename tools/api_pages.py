"""The API reference: docstrings as pages, and links between them and the chapters.

Docstrings are plain text in the package's own form; `as_rst` turns one into reStructuredText that
cannot be misread. `uses` finds out which public names a chapter uses, from its code.
"""

import argparse
import ast
import json
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

PACKAGE = "fcn_tutorial"

# `name: what it is`, several names, a quoted value, or a heading such as Raises.
ITEM = re.compile(
    r"(?![A-Z][a-z])((?:\*{0,2}[\w.]+|\"[^\"]+\"|`[^`]+`)(?:(?:, | and | / )[\w.`\"]+)*): +(\S.*)$"
)
OPENS = re.compile(r"((?:\*{0,2}[\w.]+|\"[^\"]+\"|`[^`]+`)(?:(?:, | and | / )[\w.`\"]+)*):$")
BULLET = re.compile(r"[-*] +(\S.*)$")


def escape(text: str) -> str:
    """Running text for reStructuredText: code stays code, nothing else is markup."""
    parts = re.split(r"(`+[^`]+`+)", text)
    for index, part in enumerate(parts):
        if index % 2:  # a literal must not touch a letter
            before = "\\ " if re.search(r"\w$", parts[index - 1]) else ""
            after = "\\ " if re.match(r"[\w(]", parts[index + 1]) else ""
            parts[index] = f"{before}``{part.strip('`')}``{after}"
        else:
            parts[index] = re.sub(r"([\\*`|])|(?<=\w)(_)(?!\w)", r"\\\1\2", part)
    return "".join(parts)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def as_rst(lines: Iterable[str]) -> list[str]:
    """A docstring, without its own indentation, as reStructuredText.

    An indented block after an empty line is shown as it stands: a formula or an example. Lines
    `name: what it is` become a list, nested as they are indented. All else is paragraphs.
    """
    out: list[str] = []
    blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    for block in blocks:
        rows = block.rstrip().split("\n")
        opened = bool(out) and out[-1] == "\0open"
        if opened:
            out.pop()
        if rows[0] in ("Args:", "Attributes:"):  # the list says by itself what it is
            rows = textwrap.dedent("\n".join(rows[1:])).split("\n")
        if _indent(rows[0]) >= 4 and not opened and not BULLET.match(rows[0].strip()):
            out += ["::", "", *(f"    {row}" for row in rows), ""]
            continue
        out += _rows(rows)
    return [line for line in out if line != "\0open"]


def _unfinished(text: str) -> bool:
    return text != "" and not re.search(r"[.!?:][)\"'`]*$", text)


def _rows(rows: list[str]) -> list[str]:
    """Lines of one block: each entry of a list on one line, the rest joined to what it goes on."""
    entries: list[tuple[int, str, str]] = []  # depth in spaces, name, text
    kinds: list[bool] = []  # whether the entry is one of a list
    for index, row in enumerate(rows):
        depth, text = _indent(row), row.strip()
        bullet, item, opens = BULLET.match(text), ITEM.match(text), OPENS.match(text)
        deeper = index + 1 < len(rows) and _indent(rows[index + 1]) > depth
        goes_on = bool(entries) and depth > entries[-1][0] and not kinds[-1]
        inside = bool(entries) and depth > entries[-1][0] and kinds[-1] and entries[-1][2] != ""
        # "… changes no" / "value: the stages …": the middle of a sentence opens no list.
        if entries and not kinds[-1] and _unfinished(entries[-1][2]):
            item = opens = None
        if bullet:
            entries.append((depth, "", bullet[1]))
            kinds.append(True)
        elif opens and deeper and not goes_on:
            entries.append((depth, opens[1], ""))
            kinds.append(True)
        elif item and not goes_on and (not inside or deeper or item[1].startswith('"')):
            entries.append((depth, item[1], item[2]))
            kinds.append(True)
        elif entries and (depth > entries[-1][0] or not kinds[-1] or _unfinished(entries[-1][2])):
            at, name, before = entries[-1]
            entries[-1] = (at, name, f"{before} {text}".strip())
        else:
            entries.append((depth, "", text))
            kinds.append(False)
    out: list[str] = []
    levels: list[int] = []
    for (depth, name, text), listed in zip(entries, kinds, strict=True):
        levels = [level for level in levels if level < depth]
        left = "  " * len(levels)
        words = escape(text)
        if listed:
            levels.append(depth)
            label = f"**{escape(name)}**" if name and "`" not in name else escape(name)
            words = f"* {label}: {words}".rstrip() if name else f"* {words}"
        out += [left + words, ""]
    if kinds and kinds[-1] and entries[-1][2] == "":
        out.append("\0open")
    return out


def uses(sources: Iterable[str]) -> set[str]:
    """Names of the package that code cells use, such as `geometry.receptive_field`.

    A module that is imported and a name that is taken from one both count, by their public path.
    """
    found: set[str] = set()
    modules: dict[str, str] = {}  # local name -> path below the package
    trees = []
    for source in sources:
        try:
            trees.append(ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source)))
        except SyntaxError:
            continue
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            root, _, below = node.module.partition(".")
            if root == PACKAGE:
                for alias in node.names:
                    path = f"{below}.{alias.name}".strip(".")
                    modules[alias.asname or alias.name] = path
                    found.update([path, *([below] if below else [])])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                root, _, below = alias.name.partition(".")
                if root == PACKAGE and below and alias.asname:
                    modules[alias.asname] = below
                    found.add(below)
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            dotted = ast.unparse(node)
            first, _, rest = dotted.partition(".")
            if first in modules and re.fullmatch(r"[\w.]+", dotted):
                found.add(f"{modules[first]}.{rest}")
            elif first == PACKAGE:
                found.add(rest)
    return found


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


def chapter_links(stems: Iterable[str]) -> str:
    """`In the book: chapters 2, 4.` in reStructuredText."""
    links = [f":doc:`{int(stem[:2])} </book/{stem}>`" for stem in stems]
    many = "chapters" if len(links) > 1 else "chapter"
    return f"*In the book:* {many} {', '.join(links)}." if links else ""


def public_modules(init: Path) -> Iterator[str]:
    """The modules that the package's `__all__` names, read without importing it."""
    yield from _all_of(_parsed(init)) or ()


# --- What the package offers, read from its source ----------------------------------------------

# Modules below a public one that readers use by name; all else is reached from above.
BELOW = ("datasets.hha", "datasets.writers", "models.backbones", "models.inference")


@dataclass(frozen=True)
class Entry:
    """One public object: what it is called, where it is defined, and what its source says."""

    kind: str  # the directive of Sphinx's Python domain
    name: str
    signature: str
    doc: str
    members: tuple["Entry", ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Module:
    """One module with its public objects; `name` is its path below the package."""

    name: str
    doc: str
    entries: tuple[Entry, ...]


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8").splitlines())


def _all_of(tree: ast.Module) -> list[str] | None:
    """The names in `__all__`, None where there is none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def module_file(package: Path, name: str) -> Path:
    """The file of a module; raises ValueError where there is none."""
    path = package.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    raise ValueError(f"{package.name}.{name} has no file")


def _assigned(node: ast.stmt) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return target.id if isinstance(target, ast.Name) else ""


def _definition(package: Path, file: Path, name: str) -> tuple[Path, ast.stmt] | None:
    """Where a module's name is defined, followed through imports inside the package."""
    for node in _parsed(file).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return file, node
        if isinstance(node, ast.Assign | ast.AnnAssign) and _assigned(node) == name:
            return file, node
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package.name):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    below = (node.module or "").partition(".")[2]
                    try:
                        source = module_file(package, below) if below else package / "__init__.py"
                    except ValueError:
                        return None
                    return None if source == file else _definition(package, source, alias.name)
    return None


def _arguments(node: ast.FunctionDef, bound: bool) -> str:
    arguments = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(arguments, ast.FunctionDef)
    if bound:
        places = arguments.args.posonlyargs or arguments.args.args
        del places[0]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(arguments.args)}){returns}"


def _decorators(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    return {ast.unparse(d).split("(")[0].split(".")[-1] for d in node.decorator_list}


def _function(node: ast.FunctionDef, method: bool = False) -> Entry:
    marks = _decorators(node)
    doc = ast.get_docstring(node) or ""
    if method and marks & {"property", "cached_property"}:
        of = (f":type: {ast.unparse(node.returns)}",) if node.returns else ()
        return Entry("property", node.name, "", doc, options=of)
    options = tuple(f":{mark}:" for mark in ("classmethod", "staticmethod") if mark in marks)
    signature = _arguments(node, method and "staticmethod" not in marks)
    return Entry("method" if method else "function", node.name, signature, doc, options=options)


def _fields(node: ast.ClassDef) -> str:
    """The arguments of a class that its annotated fields make, as dataclasses do."""
    parts = []
    for item in _annotated_fields(node):
        default = f" = {ast.unparse(item.value)}" if item.value else ""
        if "field(" in default:
            default = " = ..."
        parts.append(f"{ast.unparse(item.target)}: {_annotation(item)[0]}{default}")
    return f"({', '.join(parts)})"


def _annotated_fields(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and "ClassVar" not in ast.unparse(item.annotation):
            yield item


def _annotation(field: ast.AnnAssign) -> tuple[str, str]:
    """A field's type, and what `Annotated` says of it."""
    of = field.annotation
    if isinstance(of, ast.Subscript) and ast.unparse(of.value) == "Annotated":
        assert isinstance(of.slice, ast.Tuple)
        kind, *notes = of.slice.elts
        return ast.unparse(kind), "; ".join(str(ast.literal_eval(note)) for note in notes)
    return ast.unparse(of), ""


def _class(node: ast.ClassDef) -> Entry:
    methods = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    made = [item for item in methods if item.name == "__init__"]
    bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
    if made:
        signature = _arguments(made[0], bound=True).removesuffix(" -> None")
    else:
        plain = "dataclass" in _decorators(node) or "NamedTuple" in bases
        signature = _fields(node) if plain else ""
    members = [
        _function(item, method=True)
        for item in methods
        if not item.name.startswith("_") and ast.get_docstring(item)
    ]
    doc = ast.get_docstring(node) or ""
    notes = [(ast.unparse(f.target), _annotation(f)[1]) for f in _annotated_fields(node)]
    if not made and any(note for _, note in notes):
        doc += "\n\n" + "\n".join(f"{name}: {note}" for name, note in notes if note)
    return Entry("class", node.name, signature, doc, tuple(members))


def _data(node: ast.Assign | ast.AnnAssign, file: Path) -> Entry:
    """A constant or an alias of a type, with the comment beside or above it."""
    lines = _lines(file)
    value = ast.unparse(node.value) if node.value else ""
    options = (f":value: {value}",) if 0 < len(value) <= 60 else ()
    beside = re.search(r"  # (.+)$", lines[node.lineno - 1])
    words = [beside[1]] if beside and not beside[1].startswith(("type:", "noqa")) else []
    above = node.lineno - 2
    while not beside and above >= 0 and lines[above].startswith("#:"):
        words.insert(0, lines[above].removeprefix("#:").strip())
        above -= 1
    sentence = " ".join(words)
    doc = sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith((".", "!")) else ".")
    return Entry("data", _assigned(node), "", doc if words else "", options=options)


def _entry(file: Path, node: ast.stmt) -> Entry:
    if isinstance(node, ast.FunctionDef):
        return _function(node)
    if isinstance(node, ast.ClassDef):
        return _class(node)
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    return _data(node, file)


def read_module(package: Path, name: str) -> Module:
    """A module's public objects: those of `__all__`, or those with a docstring and no underscore.

    Raises ValueError for a name in `__all__` that is defined nowhere.
    """
    file = module_file(package, name)
    tree = _parsed(file)
    names = _all_of(tree)
    if names is None:
        names = [
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and ast.get_docstring(node)
        ]
    entries = []
    for public in names:
        found = _definition(package, file, public)
        if found is None:
            if file.name == "__init__.py" and _is_module(package, f"{name}.{public}"):
                continue
            raise ValueError(f"{package.name}.{name}.__all__ names {public}, defined nowhere")
        entries.append(replace(_entry(*found), name=public))
    return Module(name, ast.get_docstring(tree) or "", tuple(entries))


def _is_module(package: Path, name: str) -> bool:
    try:
        return bool(module_file(package, name))
    except ValueError:
        return False


def read_package(package: Path) -> list[Module]:
    """All modules of the reference, in alphabetical order."""
    names = [*public_modules(package / "__init__.py")]
    for name in [*names]:
        file = module_file(package, name)
        listed = (_all_of(_parsed(file)) or []) if file.name == "__init__.py" else []
        names += [
            f"{name}.{n}"
            for n in listed
            if _definition(package, file, n) is None and _is_module(package, f"{name}.{n}")
        ]
    names += [name for name in BELOW if name not in names and _is_module(package, name)]
    return [read_module(package, name) for name in sorted(names)]


def object_names(modules: Iterable[Module]) -> list[str]:
    """Full names of everything that has an entry."""
    found = []
    for module in modules:
        for entry in module.entries:
            path = f"{PACKAGE}.{module.name}.{entry.name}"
            found += [path, *(f"{path}.{member.name}" for member in entry.members)]
    return found


# --- Pages ---------------------------------------------------------------------------------------


def _listed(entry: Entry) -> list[str]:
    """The docstring's lines, where a line describes several arguments one line for each."""
    names = re.findall(r"[(,] ?\*{0,2}(\w+)(?=[:=,)])", entry.signature)
    if not names:
        return entry.doc.split("\n")
    start = re.compile(rf"( *)(?:{'|'.join(names)}): ")
    inside = re.compile(rf"(?<=[.;)]) (?=(?:{'|'.join(names)}): )")
    lines = []
    for line in entry.doc.split("\n"):
        match = start.match(line)
        lines += inside.sub(f"\n{match[1]}", line).split("\n") if match else [line]
    return lines


def _described(entry: Entry, path: str, usage: "Usage | None", depth: int = 0) -> list[str]:
    left = "   " * depth
    body = as_rst(_listed(entry)) if entry.doc else []
    if usage is not None and depth == 0:
        body += [chapter_links(usage.chapters(path)), ""]
    lines = [f"{left}.. py:{entry.kind}:: {entry.name}{entry.signature}"]
    lines += [f"{left}   {option}" for option in entry.options]
    lines += ["", *(f"{left}   {line}".rstrip() for line in body), ""]
    for member in entry.members:
        lines += _described(member, f"{path}.{member.name}", usage, depth + 1)
    return lines


def module_page(module: Module, usage: "Usage | None" = None) -> str:
    """One module as reStructuredText."""
    above, _, last = module.name.rpartition(".")
    imported = f"from {PACKAGE}{'.' if above else ''}{above} import {last}"
    lines = [module.name, "=" * len(module.name), "", f".. py:module:: {PACKAGE}.{module.name}", ""]
    lines += ["::", "", f"    {imported}", "", *as_rst(module.doc.split("\n")), ""]
    for entry in module.entries:
        lines += _described(entry, f"{module.name}.{entry.name}", usage)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def index_page(modules: Iterable[Module]) -> str:
    """The list of modules, each with the first sentence of its docstring."""
    lines = ["The package, name by name", "=========================", ""]
    lines += [
        "Made from the docstrings when the book is built. Each entry says which chapters use the "
        "name in their code; a name in a chapter's text leads back here. Shapes are written as "
        "in the :doc:`notation </book/notation>`.",
        "",
    ]
    for module in modules:
        first = " ".join(module.doc.split("\n\n")[0].split())
        lines += [f":doc:`{module.name} <{module.name}>`", f"    {escape(first)}", ""]
    lines += [":doc:`The command line <command_line>`"]
    lines += ["    One verb for each thing a person does: train, evaluate, predict, data, ….", ""]
    return "\n".join(lines)


def command_line_page() -> str:
    """Help of every verb of `fcn-tutorial`, as the program prints it."""
    from fcn_tutorial.cli import _parser

    title = "The command line"
    lines = [title, "=" * len(title), ""]
    lines += ["``python -m fcn_tutorial`` is the same. Exit status: 0 done, 1 a clear error, 2 "]
    lines[-1] += "wrong usage, 130 stopped by the user."
    lines.append("")
    for command, text in _helps(_parser()):
        if command.count(" "):
            lines += [command, "-" * len(command), ""]
        lines += [".. code-block:: text", "", *(f"    {t}".rstrip() for t in text.split("\n")), ""]
    return "\n".join(lines).rstrip() + "\n"


def _helps(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "72"
    try:
        text = parser.format_help().strip()
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    yield parser.prog, text
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _helps(below)


def pages(package: Path, notebooks: Iterable[Path] = ()) -> dict[str, str]:
    """Every page of the reference: file name without suffix, and text."""
    modules = read_package(package)
    usage = Usage(notebooks)
    found = {module.name: module_page(module, usage) for module in modules}
    return {"index": index_page(modules), **found, "command_line": command_line_page()}


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
