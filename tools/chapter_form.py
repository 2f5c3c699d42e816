"""The form every chapter keeps, as checks that name what is wrong and how to put it right.

`complaints(chapter, project)` returns sentences, none if the chapter is in form.
`unlisted_pages(root)` compares the pages on disk with the table of contents.
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import nbformat
import yaml

from tools import fingerprint, glossary, proofs
from tools.notebooks import (
    SETUP_TAGS,
    WIDGET_VIEW,
    Chapter,
    Notebook,
    chapters,
    colab_link,
    from_text,
    setup_cell,
    to_text,
)
from tools.project import ROOT, Project, project_table, read_project

MAX_BYTES = 1_500_000
MAX_CELL_BYTES = 700_000  # of one cell's outputs, and of a picture that it names
AT_MOST = f"at most {MAX_CELL_BYTES / 1e6}"
CODE_COLUMNS = 79
MADE = "book/api/"  # pages that the build makes from the docstrings
CONTRACT = ("Question", "You will be able to", "Builds on", "Running time")
# Tags that would let a failing or skipped cell pass as a good one.
FORBIDDEN_TAGS = {"raises-exception", "nbval-raises-exception", "nbval-skip", "skip-execution"}


def tags(cell: Notebook) -> list[str]:
    """Tags of a cell, none if it has none."""
    return list(cell.metadata.get("tags", []))


def of_type(notebook: Notebook, kind: str) -> Iterator[tuple[int, Notebook]]:
    """Cells of one type with their positions from 1."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == kind:
            yield number, cell


def twin_complaints(chapter: Chapter, notebook: Notebook, project: Project) -> Iterator[str]:
    """Where the notebook and its text differ, or the text is not in canonical form."""
    remedy = f"edit {chapter.text.name} and run `make notebooks CHAPTER={chapter.stem}`"
    text = chapter.text.read_text(encoding="utf-8")
    wanted = from_text(text, chapter.stem, project)
    theirs = [(c.cell_type, c.source, c.metadata) for c in wanted.cells]
    ours = [(c.cell_type, c.source, c.metadata) for c in notebook.cells]
    if len(ours) != len(theirs):
        yield f"out of step: {len(ours)} cells, its text has {len(theirs)}; {remedy}"
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        if one != other:
            what = ("type", "source", "metadata")
            differs = ", ".join(w for w, a, b in zip(what, one, other, strict=True) if a != b)
            yield f"out of step: cell {number} differs from its text in {differs}; {remedy}"
            break
    if to_text(wanted) != text:
        yield f"the text is not in canonical form; {remedy}"


def output_complaints(notebook: Notebook) -> Iterator[str]:
    """What is wrong with the stored outputs."""
    if "widgets" in notebook.metadata:
        yield "stores widget state; a figure of the page is HTML that needs no kernel"
    counts = [cell.execution_count for _, cell in of_type(notebook, "code")]
    if counts != list(range(1, len(counts) + 1)):
        yield "was not executed from top to bottom in a fresh kernel"
    for number, cell in of_type(notebook, "code"):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {number} stores an error: {output.ename}: {output.evalue}"
            if output.output_type == "stream" and output.name == "stderr":
                yield f"cell {number} stores text on stderr: {output.text.strip()[:60]!r}"
            if WIDGET_VIEW in output.get("data", {}):
                yield f"cell {number} stores a live widget, which is dead in the page"


def picture_complaints(notebook: Notebook) -> Iterator[str]:
    """Pictures that not everybody sees: nameless, from elsewhere, missing, or too heavy."""
    for number, cell in enumerate(notebook.cells, start=1):
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        shown = "".join(data.get("text/html", "") for data in outputs)
        if any(kind.startswith("image/") for data in outputs for kind in data):
            yield f"cell {number} shows a picture without alt text; use `visualize.figure`"
        prose = cell.source if cell.cell_type == "markdown" else ""
        for drawing in re.findall(r"(?is)<svg\b.*?</svg>", shown + prose):
            if not re.search(r"(?i)<title>|aria-label|aria-hidden", drawing):
                yield f"cell {number} shows a drawing without <title> or aria-label"
        for alt, source in [*_images(shown), *_images(prose), *re.findall(MARKDOWN_IMAGE, prose)]:
            if not alt.strip():
                yield f"cell {number} shows a picture without alt text: {source[:40]}"
            if re.match(r"(https?:)?//", source):
                yield f"cell {number} loads a picture from outside: {source[:60]}"
            elif (size := _size_of(source)) > MAX_CELL_BYTES:
                yield f"cell {number} shows {source}, {size / 1e6:.1f} MB, {AT_MOST}"
        weight = sum(len(str(content)) for data in outputs for content in data.values())
        if weight > MAX_CELL_BYTES:
            yield f"cell {number} stores {weight / 1e6:.1f} MB, {AT_MOST}"


@cache
def scripts() -> dict[str, str]:
    """What each thing to move runs, by the function of `playground` that makes it."""
    folder = ROOT / "fcn_tutorial" / "playground"
    return {
        path.stem: path.read_text(encoding="utf-8").strip().rstrip(";")
        for path in folder.glob("*.js")
    }


def figure_complaints(notebook: Notebook) -> Iterator[str]:
    """Figures without a picture, and things to move that do not, or by a script of another age."""
    for number, cell in of_type(notebook, "code"):
        shown = "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
        for figure in re.findall(r'(?s)<figure class="fcn-slider".*?</figure>', shown):
            if figure.count("<img") < 2 or 'type="range"' not in figure or "oninput" not in figure:
                yield f"cell {number} has a slider that moves nothing"
        if _draws(cell) and 'src="data:image/' not in shown:
            yield f"cell {number} draws a figure, of which its output holds no picture"
        asked = re.search(r"(?m)^playground\.(\w+)\((?:.|\n)*\Z", cell.source)
        for name in ("common", asked[1]) if asked else ():
            if scripts()[name] not in shown:
                yield (
                    f"cell {number} makes a thing to move, of which its output does not hold "
                    f"{name}.js as it stands in the package; run the chapter again"
                )


MARKDOWN_IMAGE = r"!\[([^\]]*)\]\(([^\s)]+)"


def _images(html: str) -> Iterator[tuple[str, str]]:
    """Alternative text and address of each image in HTML."""
    for tag in re.findall(r"(?i)<img\b[^>]*>", html):
        pairs = re.findall(r"(?i)\b(alt|src)=[\"']([^\"']*)", tag)
        named = {name.lower(): value for name, value in pairs}
        yield named.get("alt", ""), named.get("src", "")


def _size_of(source: str) -> int:
    """Bytes of a picture that a page names, 0 for one that it holds or that is not there."""
    linked = ROOT / "book" / source[:200]
    return linked.stat().st_size if linked.is_file() else 0


def _draws(cell: Notebook) -> bool:
    """Whether the last line of a cell shows a figure."""
    last = re.search(r"(?m)^(?:visualize\.figure|widgets\.interact)\((?:.|\n)*\Z", cell.source)
    return cell.cell_type == "code" and last is not None


#: What names a table of the text, in a line before it.
TITLED = re.compile(r"\*\*Table: (\S.*)\*\*")


def table_complaints(notebook: Notebook) -> Iterator[str]:
    """Tables that do not say what they list."""
    for number, cell in of_type(notebook, "code"):
        shown = "".join(output.get("data", {}).get("text/markdown", "") for output in cell.outputs)
        if re.search(r"(?m)^\|[-:]", shown) and not re.search(
            r"(?m)^# (?:@title )?Table: \S", cell.source
        ):
            yield f"cell {number} shows a table without a title: `# @title Table: what it lists`"
    for number, cell in of_type(notebook, "markdown"):
        for before, heads in re.findall(r"(?m)^(.*)\n+(\|.*)\n\|[-:]", cell.source):
            if re.search(r"\w", heads) and not TITLED.fullmatch(before):
                yield f"cell {number} has a table without `**Table: what it lists**` before it"


#: Calls that draw labels in their colours, and what says which colour is which.
COLOURS, LEGENDS = {"colourise", "overlay"}, {"class_legend", "legend", "show_segmentation"}
NAMED = "# colours: "  # begins the comment of a cell whose figure names its colours otherwise


def legend_complaints(notebook: Notebook) -> Iterator[str]:
    """Maps of classes whose colours nothing names."""
    within: dict[str, set[str]] = {}  # what each function of the chapter calls
    for number, cell in of_type(notebook, "code"):
        tree = _tree(cell)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                within[node.name] = _called(node)
        # Whatever of the chapter's functions it names, as an argument too.
        named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        calls = _called(tree).union(*(within.get(name, set()) for name in named))
        for name in calls & within.keys():
            calls = calls | within[name]
        if _draws(cell) and calls & COLOURS and not calls & LEGENDS and NAMED not in cell.source:
            yield (
                f"cell {number} shows labels in colours that nothing names; call "
                f"`visualize.class_legend`, or say in a comment `{NAMED}…` where they are named"
            )


def _called(tree: ast.AST) -> set[str]:
    """Names of the functions and methods that are called."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {getattr(call, "attr", getattr(call, "id", "")) for call in calls}


def _tree(cell: Notebook) -> ast.Module:
    """A cell without its lines for Jupyter."""
    return ast.parse(re.sub(r"(?m)^(\s*)[%!].*", r"\1pass", cell.source))


def language_complaints(notebook: Notebook) -> Iterator[str]:
    """Cells that are not Python, apart from lines for Jupyter; nothing else can be asked then."""
    for number, cell in of_type(notebook, "code"):
        try:
            _tree(cell)
        except SyntaxError as error:
            yield f"cell {number} is not Python in line {error.lineno}: {error.msg}"


def import_complaints(notebook: Notebook) -> Iterator[str]:
    """Libraries that a chapter takes for granted and the package does not bring."""
    code = fingerprint.code_cells(notebook)
    # What a chapter looks for, it does not take for granted.
    asked = {name for c in code if "find_spec" in c for name in re.findall(r"[\"'](\w+)[\"']", c)}
    for number, cell in of_type(notebook, "code"):
        if SETUP_TAGS[0] in tags(cell):
            continue
        tree = _tree(cell)
        # In a `try` whose `except` names it, a library may be missing.
        optional = {
            node
            for tried in ast.walk(tree)
            if isinstance(tried, ast.Try)
            and any("Import" in ast.unparse(h.type) for h in tried.handlers if h.type)
            for part in tried.body
            for node in ast.walk(part)
        }
        for node in ast.walk(tree):
            for name in set() if node in optional else _imported(node):
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names | declared() | asked:
                    yield f"cell {number} imports {top}, which pyproject.toml does not declare"


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {node.module or ""}
    if isinstance(node, ast.Call):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in ("import_module", "__import__") and node.args:
            name = getattr(node.args[0], "value", None)
            return {name} if isinstance(name, str) else set()
    return set()


@cache
def declared(root: Path = ROOT) -> frozenset[str]:
    """What may be imported where the package alone is installed, its extras aside."""
    project = project_table(root)
    needed = [re.split("[<>=!~ ]", line)[0] for line in project["dependencies"]]
    wanted = {re.sub("[-_.]+", "-", name).lower() for name in [project["name"], *needed]}
    found = {
        module
        for module, owners in packages_distributions().items()
        if wanted & {re.sub("[-_.]+", "-", owner).lower() for owner in owners}
    }
    own = project["name"].replace("-", "_")
    return frozenset(found | {own, "IPython"})  # ipywidgets brings IPython


def code_complaints(notebook: Notebook) -> Iterator[str]:
    """Width of the code, and tags that would hide a failure."""
    for number, cell in of_type(notebook, "code"):
        wide = [line for line in cell.source.splitlines() if len(line) > CODE_COLUMNS]
        if wide:
            yield f"cell {number} is wider than {CODE_COLUMNS} columns: {wide[0][:60]}…"
        for tag in sorted(FORBIDDEN_TAGS & set(tags(cell))):
            yield f"cell {number} carries the tag {tag}, which lets a failure pass"


def equation_complaints(notebook: Notebook) -> Iterator[str]:
    r"""Pair every `\tag{x}` with the cells tagged `proves-x`."""
    stated: dict[str, int] = {}
    for number, cell in of_type(notebook, "markdown"):
        for name in re.findall(r"\\tag\{([^}]*)\}", cell.source):
            if name in stated:
                yield f"equation ({name}) is stated twice, in cells {stated[name]} and {number}"
            stated[name] = number
    proved = set()
    for number, cell in of_type(notebook, "code"):
        for tag in tags(cell):
            if tag.startswith("proves-"):
                proved.add(name := tag.removeprefix("proves-"))
                for what in _proof_complaints(cell, number, name, stated):
                    yield f"cell {number} is tagged {tag}, but {what}"
    for name in sorted(set(stated) - proved):
        yield f"equation ({name}) has no cell tagged proves-{name} that asserts it"


def _proof_complaints(
    cell: Notebook, number: int, name: str, stated: dict[str, int]
) -> Iterator[str]:
    if name not in stated:
        yield f"no equation has \\tag{{{name}}}"
    elif number < stated[name]:
        yield f"stands before equation ({name})"
    if not re.search(r"^\s*(assert\b|(np|torch)\.testing\.assert_)", cell.source, re.M):
        yield "asserts nothing"
    if "nbval-ignore-output" in tags(cell):
        yield "its output may not be ignored"
    for read in (proofs.claim, proofs.holds):
        try:
            read(cell.source)
        except (ValueError, SyntaxError) as error:
            yield str(error)


def head_complaints(chapter: Chapter, notebook: Notebook, project: Project) -> Iterator[str]:
    """Title, Colab link, contract and set-up cell."""
    head = "\n\n".join(cell.source for _, cell in list(of_type(notebook, "markdown"))[:2])
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        yield "does not begin with its title"
    if f"[Open in Colab]({colab_link(project, chapter.stem)})" not in head:
        yield "has no Colab link below its title"
    for row in CONTRACT:
        if not re.search(rf"^\|\s*\**{row}", head, re.M | re.I):
            yield f"has no row {row!r} in the contract at its head"
    code = [cell for _, cell in of_type(notebook, "code")]
    if not code or code[0].source != setup_cell(project) or tags(code[0]) != SETUP_TAGS:
        yield "does not begin its code with the set-up cell (tag colab-setup)"


def exercise_complaints(notebook: Notebook) -> Iterator[str]:
    """Solutions are folded in the page and in Colab, and belong to an exercise."""
    prose = "\n".join(cell.source for _, cell in of_type(notebook, "markdown"))
    exercises = set(re.findall(r"Exercise (\d+\.\d+)", prose))
    for number, cell in of_type(notebook, "code"):
        if "solution" not in tags(cell):
            continue
        title = re.match(r"# @title Solution (\d+\.\d+)", cell.source)
        if title is None:
            yield f"cell {number} is a solution without a first line `# @title Solution N.M`"
        elif title[1] not in exercises:
            yield f"cell {number} solves exercise {title[1]}, which is not stated"
        if "hide-cell" not in tags(cell) or cell.metadata.get("cellView") != "form":
            yield f"cell {number} is a solution without the tag hide-cell and `cellView: form`"


def prose_complaints(notebook: Notebook) -> Iterator[str]:
    """Markdown that would not read in Colab; a citation without its list."""
    prose = [(number, cell.source) for number, cell in of_type(notebook, "markdown")]
    for number, source in prose:
        for name in re.findall(r"^(?:```|:::)+\{([\w-]+)\}", source, re.M):
            if name != "bibliography":
                yield f"cell {number} uses the directive {name}, which Colab does not render"
    everything = "\n".join(source for _, source in prose)
    if "{cite" in everything and "```{bibliography}" not in prose[-1][1]:
        yield "cites, but its last cell holds no {bibliography}"


def complaints(chapter: Chapter, project: Project) -> list[str]:
    """Everything that is out of form in one chapter, as sentences that start with its name."""
    if not chapter.text.is_file():
        return [f"{chapter.stem}: has no text twin text/{chapter.text.name}"]
    if not chapter.notebook.is_file():
        return [f"{chapter.stem}: has no notebook; run `make notebooks CHAPTER={chapter.stem}`"]
    notebook = nbformat.read(chapter.notebook, as_version=4)
    if foreign := list(language_complaints(notebook)):
        return [f"{chapter.stem}: {sentence}" for sentence in foreign]
    found: list[str] = []
    if chapter.notebook.stat().st_size > MAX_BYTES:
        found.append(f"is larger than {MAX_BYTES / 1e6} MB")
    found += twin_complaints(chapter, notebook, project)
    found += output_complaints(notebook)
    found += fingerprint.faults(notebook)
    found += picture_complaints(notebook)
    found += figure_complaints(notebook)
    found += legend_complaints(notebook)
    found += table_complaints(notebook)
    found += import_complaints(notebook)
    found += code_complaints(notebook)
    found += equation_complaints(notebook)
    found += head_complaints(chapter, notebook, project)
    found += exercise_complaints(notebook)
    found += prose_complaints(notebook)
    terms = glossary.read_terms(chapter.notebook.parent / "glossary.md")
    found += glossary.complaints(chapter.text.read_text(encoding="utf-8"), terms)
    return [f"{chapter.stem}: {sentence}" for sentence in found]


def listed_files(node: Any) -> Iterator[str]:
    """Every page that a table of contents names."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield value
            else:
                yield from listed_files(value)
    elif isinstance(node, list):
        for item in node:
            yield from listed_files(item)


def listed_pages(root: Path = ROOT) -> list[str]:
    """The pages that _toc.yml names, in its order, without suffix."""
    contents = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    return [re.sub(r"\.(md|ipynb|rst)$", "", name) for name in listed_files(contents)]


def unlisted_pages(root: Path) -> list[str]:
    """Pages that are on disk or in _toc.yml, but not in both."""
    listed = {name for name in listed_pages(root) if not name.startswith(MADE)}
    pages = {
        path.relative_to(root).with_suffix("").as_posix()
        for pattern in ("*.md", "*.ipynb", "*.rst")
        for path in (root / "book").rglob(pattern)
        if not {"text", "_static", ".ipynb_checkpoints"} & set(path.relative_to(root).parts)
        and not path.relative_to(root).as_posix().startswith(MADE)
    }
    return [f"{page} is not listed in _toc.yml" for page in sorted(pages - listed)] + [
        f"{page} is listed in _toc.yml, but there is no such page"
        for page in sorted(listed - pages)
    ]


def older(every: Sequence[Chapter]) -> list[str]:
    """Chapters whose outputs may be out of date, as sentences that start with their names."""
    return [
        f"{chapter.stem}: {remark}"
        for chapter in every
        if chapter.notebook.is_file()
        for remark in fingerprint.remarks(nbformat.read(chapter.notebook, as_version=4))
    ]


def main() -> int:
    """Print all complaints, and what may be out of date."""
    project = read_project()
    if old := older(chapters(ROOT / "book")):
        print("\n".join(f"note: {sentence}" for sentence in old))
        print("note: nbval tells whether they repeat; `make stamp` then notes that they do")
    found = unlisted_pages(ROOT)
    for chapter in chapters(ROOT / "book"):
        found += complaints(chapter, project)
    print("\n".join(found) or "all chapters are in form and in step with their texts")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
