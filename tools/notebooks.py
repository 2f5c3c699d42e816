"""Chapters from their text: stamp, format, execute, normalise, and write the pair of files.

A chapter is `book/NN_name.ipynb`, committed with its outputs, and its text twin
`book/text/NN_name.md`, which is what people edit. `make notebooks` runs this module.
"""

import argparse
import ast
import copy
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tools import fingerprint
from tools.project import ROOT, Project, read_project

Notebook = Any  # nbformat.NotebookNode, which has no types

SECONDS_PER_CELL = 300
SECONDS_PER_CHAPTER = 60  # on two CPU cores; more is reported, not refused
BATCH = "FCN_TUTORIAL_BATCH"  # tells a chapter that nobody sits at its live figures
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}
SETUP_TAGS = ["colab-setup", "hide-input", "nbval-ignore-output"]
SETUP_CELL = """\
# @title In Colab only: add the package, keep all that is there
import importlib.util
from importlib.metadata import distributions

try:
    import google.colab  # noqa: F401

    in_colab = True
except ImportError:
    in_colab = False


def installed():
    \"\"\"Version of each package by its name.\"\"\"
    found = reversed([*distributions()])  # of two, the first is imported
    return {{d.name: d.version for d in found if d.name}}


if in_colab and importlib.util.find_spec("{module}") is None:
    before = installed()
    source = "git+{url}"
    there = [n for n in ("torch", "torchvision", "numpy") if n in before]
    keep = " ".join(f"{{n}}=={{before[n]}}" for n in there)
    %pip install -q {{keep}} "{name} @ {{source}}"
    importlib.invalidate_caches()
    if importlib.util.find_spec("{module}") is None:
        raise RuntimeError(
            f"pip could not install {name} from {{source}}; why, it says "
            "above. The chapter can be read without: its outputs are stored"
        )
    after = installed()
    added = sorted(after.keys() - before.keys())
    moved = sorted(n for n in before if after.get(n) != before[n])
    replaced = ", ".join(moved) or "nothing"
    print(f"Added: {{', '.join(added)}}. Replaced: {{replaced}}.")"""


# A cell that begins with a title is folded to it, in the page and in Colab. What is not the
# argument is given one, unless its tags say that it is: the calls that tell its kind, its title.
TITLE = "# @title "
OPEN = "argument"
LIVE = "Any value, with a running kernel"
TITLES = (
    ({"live"}, LIVE),
    ({"figure", "interact"}, "Draw the figure below"),
    ({"Markdown"}, "Make the table below"),
)
IMPORTS = "Imports and settings"
WORDS_PER_MINUTE = 200
SETTINGS = {"use_style", "manual_seed", "set_num_threads", "environ"}


@dataclass(frozen=True)
class Chapter:
    """The two files of a chapter; either may be missing on disk."""

    stem: str
    notebook: Path
    text: Path


def chapters(book: Path, only: str = "") -> list[Chapter]:
    """All chapters of the folder `book`, or those whose stem starts with `only`."""
    stems = {p.stem for p in book.glob("*.ipynb")} | {p.stem for p in (book / "text").glob("*.md")}
    return [
        Chapter(stem, book / f"{stem}.ipynb", book / "text" / f"{stem}.md")
        for stem in sorted(stems)
        if stem.startswith(only)
    ]


def setup_cell(project: Project) -> str:
    """Source of the first code cell of every chapter."""
    return SETUP_CELL.format(
        module=project.name.replace("-", "_"), name=project.name, url=project.url
    )


def colab_link(project: Project, stem: str) -> str:
    """Address that opens the chapter `stem` in Colab."""
    return f"https://colab.research.google.com/github/{project.slug}/blob/main/book/{stem}.ipynb"


def absolute_links(source: str, project: Project) -> str:
    """Links to other pages of the book, as Colab needs them.

    A chapter opens in Colab; every other page opens where the repository shows it.
    """
    source = re.sub(
        r"\]\((\d\d_\w+)\.ipynb((?:#[\w.-]*)?)\)",
        lambda match: f"]({colab_link(project, match[1])}{match[2]})",
        source,
    )
    pages = f"{project.url}/blob/main/book/"
    return re.sub(r"\]\((\w+\.md(?:#[\w.-]*)?)\)", rf"]({pages}\1)", source)


def relative_links(source: str) -> str:
    """Undo `absolute_links`; the link that opens this very chapter in Colab stays."""
    inside = r"blob/main/book/(\w+\.(?:ipynb|md)(?:#[\w.-]*)?)\)"
    site = r"\]\(https://(?:colab\.research\.google\.com/github|[\w.-]+)/[\w.-]+/[\w.-]+/"
    return re.sub(rf"(?<!\[Open in Colab){site}{inside}", r"](\1)", source)


def reading_minutes(notebook: Notebook) -> int:
    """Minutes that the prose takes, without code, outputs and displayed equations."""
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    bare = re.sub(r"\$\$.*?\$\$|\]\([^)]*\)|<[^>]*>", " ", prose, flags=re.S)
    return -(-len(re.findall(r"[^\W\d_][\w'’-]*", bare)) // WORDS_PER_MINUTE)


def stamp_reading_time(notebook: Notebook) -> None:
    """Write the row about reading into the contract, below the one about running."""
    row = f"| **Reading time** | {reading_minutes(notebook)} minutes, code and outputs aside |"
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "| **Running time**" in cell.source:
            bare = re.sub(r"(?m)^\| \*\*Reading time\*\*.*\n?", "", cell.source).rstrip("\n")
            cell.source = re.sub(
                r"(?m)^(\| \*\*Running time\*\*.*)$", lambda m: f"{m[1]}\n{row}", bare, count=1
            )
            return


def _called(tree: ast.AST) -> set[str]:
    """Last names of all that a cell calls."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {getattr(f, "attr", getattr(f, "id", "")) for f in calls}


def fold_title(source: str, tags: Sequence[str]) -> str:
    """What a cell is folded to where its author gave it no title; empty: it stands open.

    A check of equations, a figure, its live twin, a table and imports are folded; the tag
    `argument` keeps a cell open.
    """
    if OPEN in tags:
        return ""
    proved = [tag.removeprefix("proves-") for tag in tags if tag.startswith("proves-")]
    if proved:
        return "Check of " + ", ".join(f"({number})" for number in proved)
    tree = ast.parse(source)
    called = _called(tree)
    for names, title in TITLES:
        if names & called:
            return title
    imports = [isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body]
    if any(imports) and all(
        found or (isinstance(node, ast.Expr | ast.Assign) and _called(node) <= SETTINGS)
        for found, node in zip(imports, tree.body, strict=True)
    ):
        return IMPORTS
    return ""


def fold(cell: Notebook) -> None:
    """Give a code cell its title, and every titled cell what folds it in the page and in Colab."""
    tags = list(cell.metadata.get("tags", []))
    if not cell.source.startswith(TITLE):
        title = fold_title(cell.source, tags)
        if not title:
            return
        cell.source = f"{TITLE}{title}\n{cell.source}"
    if not {"hide-input", "hide-cell"} & set(tags):
        # Of a live twin the page has nothing to show.
        tags.append("hide-cell" if cell.source.startswith(TITLE + LIVE) else "hide-input")
    cell.metadata = nbformat.from_dict({**cell.metadata, "cellView": "form", "tags": tags})


def stamp(notebook: Notebook, stem: str, project: Project) -> None:
    """Write the generated parts into a chapter: addresses, the set-up cell, titles of folds."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(
                r"(?<=\[Open in Colab\]\()[^)]*(?=\))", colab_link(project, stem), cell.source
            )
            cell.source = absolute_links(relative_links(cell.source), project)
        elif "colab-setup" in cell.metadata.get("tags", []):
            cell.source = setup_cell(project)
            cell.metadata = nbformat.from_dict({"cellView": "form", "tags": list(SETUP_TAGS)})
        elif cell.cell_type == "code" and "solution" not in cell.metadata.get("tags", []):
            fold(cell)
    stamp_reading_time(notebook)


def stamp_page(text: str, project: Project) -> str:
    """Write name, version and address into README.md, CONTRIBUTING.md or CITATION.cff."""
    rules = (
        (r"https://colab\.research\.google\.com/github/[^/\s]+/[^/\s]+/", None),
        (r"(?<=git clone )\S+?(?=(?:\.git)?[\s`]|$)", project.url),
        (r'(?<=pip install ")[\w-]+ @ git\+[^"]+(?=")', f"{project.name} @ git+{project.url}"),
        (r'(?m)(?<=^repository-code: ")[^"]*(?=")', project.url),
        (r'(?m)(?<=^version: ")[^"]*(?=")', project.version),
    )
    colab = f"https://colab.research.google.com/github/{project.slug}/"
    for pattern, value in rules:
        text = re.sub(pattern, value or colab, text)
    return text


def format_code(notebook: Notebook, root: Path = ROOT) -> Notebook:
    """Format the code cells with ruff at the width of the book."""
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "--no-cache"]
    command += ["--config", str(root / "book" / "ruff.toml"), "--stdin-filename", "page.ipynb", "-"]
    run = subprocess.run(
        command, input=nbformat.writes(notebook), capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise SystemExit(f"ruff format: {run.stderr.strip()}")
    return nbformat.reads(run.stdout, as_version=4)


def normalise(notebook: Notebook) -> None:
    """Remove what differs between two runs of the same chapter, in place.

    Cell ids come from the cells' sources; streams are merged; live widgets, timestamps and the
    metadata of the machine go.
    """
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)


def merge_streams(outputs: Sequence[Notebook]) -> list[Notebook]:
    """Join neighbouring outputs of one stream, and leave out live widgets."""
    merged: list[Notebook] = []
    for output in outputs:
        if WIDGET_VIEW in output.get("data", {}):
            continue
        same = merged and output.output_type == "stream" == merged[-1].output_type
        if same and merged[-1].name == output.name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def from_text(text: str, stem: str, project: Project) -> Notebook:
    """Build the notebook that `text` describes: stamped, formatted, normalised, not executed."""
    notebook = jupytext.reads(text, fmt="md:myst")
    stamp(notebook, stem, project)
    notebook = format_code(notebook)
    normalise(notebook)
    return notebook


def to_text(notebook: Notebook) -> str:
    """Write the text twin: cells and tags, no outputs, no versions of tools."""
    bare = copy.deepcopy(notebook)
    bare.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for cell in bare.cells:
        cell.pop("id", None)
        if cell.cell_type == "markdown":
            cell.source = relative_links(cell.source)
    text: str = jupytext.writes(bare, fmt="md:myst")
    return re.sub(r"(?m)^ +jupytext_version:.*\n", "", text, count=1)


def execute(notebook: Notebook, name: str) -> None:
    """Run every cell in a fresh kernel that starts in an empty folder.

    Raises SystemExit, with the cell's own error, at the first cell that fails.
    """
    os.environ[BATCH] = "1"
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS_PER_CELL,
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            record_timing=False,
            store_widget_state=False,
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute()
        except CellExecutionError as error:
            plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
            raise SystemExit(f"{name}: a cell failed\n{plain}") from None


def keep_outputs(notebook: Notebook, chapter: Chapter) -> None:
    """Take the outputs of the stored notebook; only prose, comments and folds may differ.

    Raises SystemExit if its code, that of the set-up cell aside, is not that of the text.
    """
    stored = nbformat.read(chapter.notebook, as_version=4)
    old, new = ([c for c in n.cells if c.cell_type == "code"] for n in (stored, notebook))
    if [*map(_compared, old)] != [*map(_compared, new)]:
        raise SystemExit(f"{chapter.stem}: code changed too; leave --prose out to execute it")
    for fresh, kept in zip(new, old, strict=True):
        fresh.outputs, fresh.execution_count = kept.outputs, kept.execution_count
    if fingerprint.KEY in stored.metadata:
        notebook.metadata[fingerprint.KEY] = stored.metadata[fingerprint.KEY]


def _compared(cell: Notebook) -> object:
    """What of a cell its outputs follow from; the set-up cell prints nothing and is stamped."""
    return "colab-setup" in cell.metadata.get("tags", []) or ast.dump(ast.parse(cell.source))


def build(chapter: Chapter, project: Project, prose: bool = False) -> float:
    """Execute a chapter from its text and write both files; returns the seconds it took.

    prose: no code changed, so the stored outputs are kept and nothing is executed.
    """
    text = chapter.text.read_text(encoding="utf-8")
    notebook = from_text(text, chapter.stem, project)
    started = time.perf_counter()
    if prose:
        keep_outputs(notebook, chapter)
    else:
        execute(notebook, chapter.stem)
    seconds = time.perf_counter() - started
    known = notebook.metadata.get(fingerprint.KEY) if prose else fingerprint.fingerprint(notebook)
    normalise(notebook)
    if known is not None:
        notebook.metadata[fingerprint.KEY] = known
    nbformat.validate(notebook)
    twin = to_text(notebook)
    write(notebook, chapter)
    chapter.text.write_text(twin, encoding="utf-8")
    return seconds


def write(notebook: Notebook, chapter: Chapter) -> None:
    """Write the notebook of a chapter."""
    chapter.notebook.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def stamp_outputs(chapter: Chapter, project: Project) -> float:
    """Run a chapter whose outputs are older than the package; where they repeat, say so in it.

    Nothing but its fingerprint changes. What is compared is what nbval compares, and the pictures
    of the other cells. Returns the seconds it took. Raises SystemExit at the first cell that
    differs, or fails.
    """
    stored = nbformat.read(chapter.notebook, as_version=4)
    fresh = from_text(chapter.text.read_text(encoding="utf-8"), chapter.stem, project)
    if fingerprint.of_code(fresh) != fingerprint.of_code(stored):
        raise SystemExit(f"{chapter.stem}: its text has other code; run `make notebooks`")
    started = time.perf_counter()
    execute(fresh, chapter.stem)
    seconds = time.perf_counter() - started
    normalise(fresh)
    for number, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True), 1):
        if old.cell_type == "code" and _shown(old) != _shown(new):
            raise SystemExit(
                f"{chapter.stem}: cell {number} shows something else now; "
                f"run `make notebooks CHAPTER={chapter.stem}` and look at it"
            )
    stored.metadata[fingerprint.KEY] = fingerprint.fingerprint(fresh)
    write(stored, chapter)
    return seconds


def _shown(cell: Notebook) -> list[object]:
    """What a cell shows, of a cell that is not compared its pictures alone."""
    shown: list[object] = []
    ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
    for output in cell.outputs:
        data = {kind: text for kind, text in output.get("data", {}).items() if text}
        if ignored:
            shown += re.findall(r"data:image/[^\"]+", str(data.get("text/html", "")))
        else:
            shown.append((output.get("text"), data))
    return shown


def stamp_pages(root: Path, project: Project) -> None:
    """Stamp the pages outside the book that name the repository."""
    for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff"):
        page = root / name
        if page.is_file():
            old = page.read_text(encoding="utf-8")
            new = stamp_page(old, project)
            if new != old:
                page.write_text(new, encoding="utf-8")
                print(f"{name}: stamped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build all chapters, or one."""
    parser = argparse.ArgumentParser(prog="tools.notebooks", description=__doc__)
    parser.add_argument("--chapter", default="", help="start of a chapter's file name, such as 04")
    parser.add_argument(
        "--prose", action="store_true", help="only prose, comments, folds changed: execute nothing"
    )
    parser.add_argument(
        "--stamp",
        action="store_true",
        help="run the chapters whose outputs are older than the package's code; where they repeat, "
        "only note it",
    )
    options = parser.parse_args(arguments)
    project = read_project()
    stamp_pages(ROOT, project)
    wanted = chapters(ROOT / "book", options.chapter)
    if not wanted:
        print(f"no chapter starts with {options.chapter!r}" if options.chapter else "no chapters")
        return 1 if options.chapter else 0
    for chapter in wanted:
        if not chapter.text.is_file():
            raise SystemExit(
                f"{chapter.notebook.name} has no text twin {chapter.text.relative_to(ROOT)}"
            )
        if options.stamp:
            stored = nbformat.read(chapter.notebook, as_version=4)
            if not list(fingerprint.remarks(stored)):
                continue
            seconds = stamp_outputs(chapter, project)
        else:
            seconds = build(chapter, project, options.prose)
        late = f"  (more than the {SECONDS_PER_CHAPTER} s of a chapter)"
        print(f"{chapter.stem}: {seconds:.1f} s{late if seconds > SECONDS_PER_CHAPTER else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
