"""Sphinx extension of this book: MathJax from disk, numbered equations, a bibliography a page.

It also makes two parts of the book that are not written: the reference of the package
(tools/api_pages.py, into book/api, which git ignores) and the table of what is proved
(tools/proofs.py).

MathJax comes from the installed distribution `sphinx-mathjax-offline`; only the one bundle the
pages load and its fonts are copied, 1.6 MB instead of the 24 MB that the distribution holds.
"""

import re
import shutil
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import ConfigError
from sphinx.ext import autodoc
from sphinx.ext.autodoc.mock import _MockObject, mock
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools import api_pages, proofs
from tools.chapter_form import listed_files
from tools.notebooks import relative_links
from tools.project import ROOT, read_project

DISTRIBUTION = "sphinx-mathjax-offline"
BUNDLE = "tex-mml-chtml.js"
WANTED = (BUNDLE, "output/chtml/fonts/woff-v2/", "input/tex/extensions/")
PROOFS = "book/what_this_book_proves"
REFERENCE = "book/api"


def copy_mathjax(target: Path) -> None:
    """Copy the MathJax files that the pages load into the folder `target`."""
    try:
        listed = files(DISTRIBUTION) or []
    except PackageNotFoundError as error:
        raise ConfigError(f"{DISTRIBUTION} is not installed; run `make venv`") from error
    marker = "/static/mathjax/"
    copied = set()
    for entry in listed:
        _, found, inside = entry.as_posix().partition(marker)
        if found and inside.startswith(WANTED):
            destination = target / inside
            if not destination.exists():
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(entry.locate()), destination)
            copied.add(inside)
    if BUNDLE not in copied:
        raise ConfigError(f"{DISTRIBUTION} holds no {BUNDLE}; pin the version in constraints.txt")


def configure(app: Sphinx, config: Config) -> None:
    """Point the pages at the local MathJax and at the repository."""
    config["mathjax_path"] = f"mathjax/{BUNDLE}"
    options = config["html_theme_options"]
    options["repository_url"] = read_project().url
    options["use_repository_button"] = True
    options["navbar_persistent"] = []  # the second search field of pydata-sphinx-theme 0.17


def copy_assets(app: Sphinx) -> None:
    """Put MathJax beside the pages' other static files."""
    if app.builder.format == "html":
        copy_mathjax(Path(app.outdir) / "_static" / "mathjax")


def _listed(app: Sphinx) -> set[str]:
    """The pages of the table of contents, without suffix."""
    path = Path(app.srcdir) / "_toc.yml"
    contents = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {re.sub(r"\.(md|ipynb|rst)$", "", name) for name in listed_files(contents)}


def write_reference(app: Sphinx, config: Config) -> None:
    """Write the pages about the package that the table of contents asks for."""
    if f"{REFERENCE}/index" in _listed(app):
        with mock(config["autodoc_mock_imports"]):
            api_pages.write(Path(app.srcdir) / REFERENCE, api_pages.pages(ROOT / api_pages.PACKAGE))


def name_chapters(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Close the entry of a public name with the chapters that use it."""
    if what in ("class", "exception", "function", "data"):
        path = name.removeprefix(f"{api_pages.PACKAGE}.")
        lines += ["", api_pages.chapter_links(_usage(app).chapters(path)), ""]


def skip_aliases(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """Leave out "Alias for field number 0": the entry of a named tuple lists its fields."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def _usage(app: Sphinx) -> api_pages.Usage:
    notebooks = (Path(app.srcdir) / f"{page}.ipynb" for page in _listed(app))
    return _read_usage(tuple(filter(Path.is_file, notebooks)))


@cache
def _read_usage(notebooks: tuple[Path, ...]) -> api_pages.Usage:
    return api_pages.Usage(notebooks)


def link_names(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Lead inline code that names an object of the package to its entry."""
    domain = app.env.domains["py"]
    entries = {name: entry for name, entry in domain.objects.items() if not entry.aliased}
    names = api_pages.dotted_names(entries)
    # In the page of a module its own names need no dot.
    module = docname.removeprefix(f"{REFERENCE}/") if docname.startswith(REFERENCE) else None
    for literal in [*doctree.findall(nodes.literal)]:
        full = api_pages.resolve(literal.astext(), names)
        if full is None and module:
            full = api_pages.resolve(f"{module}.{literal.astext()}", names)
        if full is None or _has_parent(literal, (nodes.reference, nodes.title)):
            continue
        at = entries[full]
        link = make_refnode(app.builder, docname, at.docname, at.node_id, [], full)
        literal.replace_self(link)
        link += literal


def _has_parent(node: nodes.Element, kinds: tuple[type[nodes.Element], ...]) -> bool:
    while node is not None:
        if isinstance(node, kinds):
            return True
        node = node.parent
    return False


def fill_proofs(app: Sphinx, docname: str, content: list[str]) -> None:
    """Put the table of what is proved into its page."""
    if docname == PROOFS:
        stems = {name.rsplit("/", 1)[-1] for name in app.env.found_docs}
        table = proofs.table(Path(app.srcdir) / "book", stems)
        content[0] = content[0].replace(proofs.MARKER, table)


def made_anew(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """The page of proofs is read again whenever a chapter has changed."""
    return [PROOFS] if PROOFS in env.found_docs and (added | changed | removed) else []


def links_inside(app: Sphinx, docname: str, content: list[str]) -> None:
    """Lead the links of a stored notebook, which are made for Colab, to pages of the book.

    A chapter that is not written yet is named without a link. One that is mistyped is not passed
    over: its number is there, so Sphinx looks for its name and warns.
    """
    written = {name.rsplit("/", 1)[-1][:2] for name in app.env.found_docs}

    def link(match: re.Match[str]) -> str:
        return match[0] if match[2] in written else match[1]

    content[0] = re.sub(
        r"\[([^\[\]]*)\]\((\d\d)_\w+\.ipynb(?:#[^)]*)?\)", link, relative_links(content[0])
    )


def own_citations(app: Sphinx, docname: str, content: list[str]) -> None:
    """Give every page citations and a bibliography of its own, by a prefix to its keys.

    sphinxcontrib-bibtex knows a key once in a book; a chapter lists what it cites itself.
    `content` is Markdown or the JSON of a notebook, in which a line ends in backslash and n.
    """
    prefix = docname.rsplit("/", 1)[-1] + "-"

    def prefixed(match: re.Match[str]) -> str:
        keys = ",".join(prefix + key.strip() for key in match[2].split(","))
        return f"{match[1]}`{keys}`"

    text = re.sub(r"(\{cite(?::\w+)?\})`([^`<>]+)`", prefixed, content[0])
    options = rf":keyprefix: {prefix}\g<2>:labelprefix: {prefix[:2]}\g<2>"
    content[0] = re.sub(r"(```\{bibliography\})(\n|\\n)", rf"\g<1>\g<2>{options}", text)


def keep_tags(app: Sphinx, doctree: nodes.document) -> None:
    r"""Hand equations with a `\tag` to MathJax as they are.

    Sphinx wraps an equation that holds `\\` into a `split`, inside which `\tag` is an error.
    """
    for node in doctree.findall(nodes.math_block):
        source = node.astext()
        tag = re.search(r"\\tag\{([\w.]+)\}", source)
        if tag:
            node["ids"].append(proofs.anchor("equation", tag[1]))
        if tag and not node.get("nowrap"):
            node["nowrap"] = True
            node.children = [nodes.Text(f"\\[{source}\\]")]


def name_proofs(app: Sphinx, doctree: nodes.document) -> None:
    """Give each cell that proves an equation an address."""
    for cell in doctree.findall(nodes.container):
        for name in cell["classes"]:
            if name.startswith("tag_proves-"):
                cell["ids"].append(proofs.anchor("proves", name.removeprefix("tag_proves-")))


def name_folds(app: Sphinx, doctree: nodes.document) -> None:
    """Label a folded cell with its own `# @title`, as Colab does."""
    for cell in doctree.findall(nodes.container):
        title = re.match(r"# @title (.+)", cell.astext())
        if title and cell.get("hide_mode"):
            cell["prompt_show"] = cell["prompt_hide"] = title[1]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect the hooks."""
    # Jupyter Book always sets this option of an extension that these pages do without.
    app.add_config_value("comments_config", {}, "html")
    # A mocked class may stand in `Tensor | None`; what is derived from it has its own signature.
    for operator in ("__or__", "__ror__"):
        setattr(_MockObject, operator, lambda self, other: self)
    autodoc._CLASS_NEW_BLACKLIST.append("sphinx.ext.autodoc.mock._MockObject.__new__")
    app.connect("config-inited", write_reference, priority=800)  # before the contents are read
    app.connect("config-inited", configure, priority=900)
    app.connect("builder-inited", copy_assets)
    app.connect("env-get-outdated", made_anew)
    app.connect("source-read", fill_proofs)
    app.connect("source-read", links_inside)
    app.connect("source-read", own_citations)
    app.connect("doctree-read", keep_tags)
    app.connect("doctree-read", name_proofs)
    app.connect("doctree-read", name_folds)
    app.connect("autodoc-process-docstring", name_chapters)
    app.connect("autodoc-skip-member", skip_aliases)
    app.connect("doctree-resolved", link_names)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
