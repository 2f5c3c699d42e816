"""Sphinx extension of this book: MathJax from disk, numbered equations, a bibliography a page.

MathJax comes from the installed distribution `sphinx-mathjax-offline`; only the one bundle the
pages load and its fonts are copied, 1.6 MB instead of the 24 MB that the distribution holds.
"""

import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError
from sphinx.util.typing import ExtensionMetadata

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.project import read_project

DISTRIBUTION = "sphinx-mathjax-offline"
BUNDLE = "tex-mml-chtml.js"
WANTED = (BUNDLE, "output/chtml/fonts/woff-v2/", "input/tex/extensions/")


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
    content[0] = re.sub(
        r"(```\{bibliography\})(\n|\\n)", rf"\g<1>\g<2>:keyprefix: {prefix}\g<2>", text
    )


def keep_tags(app: Sphinx, doctree: nodes.document) -> None:
    r"""Hand equations with a `\tag` to MathJax as they are.

    Sphinx wraps an equation that holds `\\` into a `split`, inside which `\tag` is an error.
    """
    for node in doctree.findall(nodes.math_block):
        source = node.astext()
        if r"\tag{" in source and not node.get("nowrap"):
            node["nowrap"] = True
            node.children = [nodes.Text(f"\\[{source}\\]")]


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
    app.connect("config-inited", configure, priority=900)
    app.connect("builder-inited", copy_assets)
    app.connect("source-read", own_citations)
    app.connect("doctree-read", keep_tags)
    app.connect("doctree-read", name_folds)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
