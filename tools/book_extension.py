"""Sphinx extension of this book: MathJax from disk, numbered equations, a bibliography a page.

It also makes three parts of the book that are not written: the reference of the package
(tools/api_pages.py, into book/api, which git ignores), the table of what is proved
(tools/proofs.py), and the slides (tools/slides.py), where the page for teachers leads to them.

MathJax comes from the installed distribution `sphinx-mathjax-offline`; only the one bundle the
pages load and its fonts are copied, 1.6 MB instead of the 24 MB that the distribution holds.
"""

import re
import shutil
import sys
from functools import cache
from html import escape
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import ConfigError
from sphinx.ext import autodoc
from sphinx.ext.autodoc.mock import _MockObject, mock
from sphinx.util.nodes import make_refnode, traverse_parent
from sphinx.util.typing import ExtensionMetadata

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools import api_pages, lighten, number_tables, proofs, slides
from tools.chapter_form import TITLED, listed_pages
from tools.notebooks import relative_links
from tools.project import ROOT, read_project

DISTRIBUTION = "sphinx-mathjax-offline"
BUNDLE = "tex-mml-chtml.js"
WANTED = (BUNDLE, "output/chtml/fonts/woff-v2/", "input/tex/extensions/")
PROOFS = "book/what_this_book_proves"
REFERENCE = "book/api"
TEACHING = "book/teaching"


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
    return set(listed_pages(Path(app.srcdir)))


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


def readable_types(
    app: Sphinx, what: str, name: str, obj: object, options: object, arguments: str, returned: str
) -> tuple[str | None, str | None]:
    """Signatures with arrays as they are written; see `NAMED_BADLY`."""
    return renamed(arguments), renamed(returned)


def rename_types(app: Sphinx, doctree: nodes.document) -> None:
    """The same for the types of attributes."""
    for text in [*doctree.findall(nodes.Text)]:
        if "numpy.typing.NDArray." in text:
            text.parent.replace(text, nodes.Text(renamed(text.astext()) or ""))


def renamed(text: str | None) -> str | None:
    """The text with arrays of numbers as they are written."""
    for pattern, written in NAMED_BADLY:
        text = text and re.sub(pattern, written, text)
    return text


#: What autodoc makes of `NDArray[np.float64]` and `NDArray[Any]` where NumPy is not imported.
NAMED_BADLY = (
    (r"~?numpy\.typing\.NDArray\.<class 'numpy\.(\w+)'>", r"NDArray[\1]"),
    (r"~?numpy\.typing\.NDArray\.typing\.Any", "NDArray[Any]"),
)


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
        if full is None or any(traverse_parent(literal, (nodes.reference, nodes.title))):
            continue
        at = entries[full]
        link = make_refnode(app.builder, docname, at.docname, at.node_id, [], full)
        literal.replace_self(link)
        link += literal


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
    """Label a folded cell with its own `# @title`, as Colab does; a check with what it claims."""
    for cell in doctree.findall(nodes.container):
        source = cell.astext()
        title = re.match(r"# @title (.+)", source)
        if title and cell.get("hide_mode"):
            label = title[1]
            if any(name.startswith("tag_proves-") for name in cell["classes"]):
                code = cell.children[0].astext()
                claim = proofs.claim(code).replace("`", "")
                held = proofs.whole(proofs.holds(code))
                label = f"{label}: {continued(claim[:-1])} ({held})"
                cell["classes"].append("check")
            cell["prompt_show"] = cell["prompt_hide"] = label


def continued(sentence: str) -> str:
    """The sentence as it goes on behind a colon: a name such as FCN-8s keeps its capital."""
    if re.match(r"\S+?[A-Z\d]", sentence):
        return sentence
    return sentence[0].lower() + sentence[1:]


def chapter_number(docname: str) -> int | None:
    """The number that a chapter's file begins with, None for other pages."""
    match = re.match(r"book/(\d\d)_", docname)
    return int(match[1]) if match else None


def number_titles(app: Sphinx, doctree: nodes.document) -> None:
    """Put a chapter's number before its title: in the page, in the sidebar and in links."""
    number = chapter_number(app.env.docname)
    title = next(iter(doctree.findall(nodes.title)), None)
    if number is not None and title is not None:
        title.insert(0, nodes.inline("", f"{number}. ", classes=["chapter-number"]))


def note_equations(app: Sphinx, doctree: nodes.document) -> None:
    """Remember in which chapter each numbered equation stands, for links to it."""
    places = {
        name.removeprefix("equation-").replace("-", "."): app.env.docname
        for node in doctree.findall(nodes.math_block)
        for name in node["ids"]
        if name.startswith("equation-")
    }
    _equations(app)[app.env.docname] = places


def forget_equations(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Drop those of a page that is read again or gone."""
    _equations(app).pop(docname, None)


def _equations(app: Sphinx) -> dict[str, dict[str, str]]:
    """{page: {number: page}}; kept with the environment from one build to the next."""
    if not hasattr(app.env, "equations_of_pages"):
        app.env.equations_of_pages = {}  # type: ignore[attr-defined]
    kept: dict[str, dict[str, str]] = app.env.equations_of_pages  # type: ignore[attr-defined]
    return kept


def link_numbers(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Lead "(4.3)", "chapter 4" and "figure 4.3" in the prose to what they name."""
    equations = {n: page for places in _equations(app).values() for n, page in places.items()}
    chapters = {chapter_number(name): name for name in sorted(app.env.found_docs)}
    figures = {name for node in doctree.findall(nodes.Element) for name in node.get("ids", [])}

    def target(match: re.Match[str]) -> tuple[str, str] | None:
        if match["equation"]:
            page = equations.get(match["equation"])
            return (page, proofs.anchor("equation", match["equation"])) if page else None
        if match["figure"]:
            place = proofs.anchor(match["kind"].lower(), match["figure"])
            return (docname, place) if place in figures else None
        page = chapters.get(int(match["chapter"]))
        return (page, "") if page and page != docname else None

    pattern = re.compile(
        r"\((?P<equation>\d+\.\d+)\)|\b[Cc]hapter (?P<chapter>\d+)\b(?!\.\d)"
        r"|(?P<kind>[Ff]igure|[Tt]able) (?P<figure>\d+\.\d+)"
    )
    for text in [*doctree.findall(nodes.Text)]:
        if any(traverse_parent(text, _NOT_PROSE)) or not pattern.search(text):
            continue
        above = text.parent.parent
        if isinstance(above, nodes.paragraph) and "fcn-caption" in above["classes"]:
            continue  # the number that a caption begins with would lead to itself
        parts: list[nodes.Node] = []
        end = 0
        for match in pattern.finditer(text):
            place = target(match)
            if place is None:
                continue
            page, anchor = place
            label = nodes.Text(match[0])
            parts.append(nodes.Text(text[end : match.start()]))
            if page == docname:
                parts.append(nodes.reference("", "", label, refid=anchor, internal=True))
            else:
                parts.append(make_refnode(app.builder, docname, page, anchor, [label]))
            end = match.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])


_NOT_PROSE = (
    nodes.reference, nodes.title, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block,
    nodes.raw, nodes.comment, nodes.citation,
)  # fmt: skip
#: CSS pixels; a wider figure is not shrunk to a phone's width, where its words could not be read.
NARROWEST = 500
PICTURE = re.compile(
    r'<img class="fcn-figure".*?>|<figure class="fcn-(?:slider|playground)".*?</figure>', re.S
)


def number_outputs(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Number and caption the figures and tables of a chapter, in the order of the page.

    The caption is the cell's own title where its author gave one, such as "Figure: what is seen",
    or a comment such as "# Table: what it lists"; otherwise, of a figure, its alternative text. Of
    a table in the text it is the line before it, such as "**Table: what it lists**".
    """
    chapter = chapter_number(docname)
    if chapter is None:
        return
    counts = {"figure": 0, "table": 0}

    def number_table(words: str) -> nodes.paragraph:
        counts["table"] += 1
        number = f"{chapter}.{counts['table']}"
        caption = nodes.paragraph("", "", nodes.strong("", f"Table {number}"))
        caption["classes"], caption["ids"] = ["fcn-caption"], [proofs.anchor("table", number)]
        if words:
            caption += nodes.Text(f" {begun(words)}.".replace("..", "."))
        return caption

    for cell in [
        *doctree.findall(lambda node: isinstance(node, (nodes.container, nodes.paragraph)))
    ]:
        titled = TITLED.fullmatch(cell.rawsource) if _before_table(cell) else None
        if titled:
            cell.parent.replace(cell, number_table(titled[1]))
        if not isinstance(cell, nodes.container) or "cell" not in cell["classes"]:
            continue
        written = re.search(r"^# (?:@title )?(?:Figure|Table): (.+)", cell.astext(), re.M)
        own = written[1] if written else ""
        for shown in [*cell.findall(nodes.container)]:
            if "cell_output" not in shown["classes"]:
                continue
            for raw in [*shown.findall(nodes.raw)]:
                picture = PICTURE.search(raw.astext())
                if picture is None or any(traverse_parent(raw, nodes.table)):
                    continue
                counts["figure"] += 1
                alt = re.search(r'alt="([^"]*)"', picture[0])
                # The text of a frame ends in the value that it is drawn for.
                moves = re.search(r"<label><span>(.*?)</span>", picture[0])
                said = alt[1].rsplit(f" {moves[1]}: ", 1)[0] if alt and moves else alt and alt[1]
                words = escape(begun(own)) or said or ""
                raw.parent.replace(raw, _captioned(raw, f"{chapter}.{counts['figure']}", words))
            for table in [*shown.findall(nodes.table)]:
                table.parent.insert(table.parent.index(table), number_table(own))


def _before_table(node: nodes.Node) -> bool:
    following = node.next_node(descend=False, siblings=True)
    return isinstance(node, nodes.paragraph) and isinstance(following, nodes.table)


def begun(words: str) -> str:
    """The words with a capital at their beginning; a Greek letter is a symbol and stays."""
    return words[:1].upper() + words[1:] if words[:1].isascii() else words


def _captioned(raw: nodes.raw, number: str, words: str) -> nodes.Element:
    """A figure with the line below it."""
    ended = words if not words or words.endswith((".", "!", "?")) else f"{words}."
    line = f'<p class="fcn-caption"><strong>Figure {number}</strong> {ended}</p>'
    box = nodes.container(classes=["fcn-numbered"], ids=[proofs.anchor("figure", number)])
    picture = nodes.raw("", raw.astext(), format="html")
    wide = re.search(r'<img class="fcn-figure"[^>]* width="(\d+)"', raw.astext())
    if wide and int(wide[1]) > NARROWEST:
        box += nodes.container("", picture, classes=["fcn-wide"])
    else:
        box += picture
    box += nodes.raw("", line, format="html")
    return box


def hold_stops(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Keep the comma behind a formula on the formula's line."""
    for formula in [*doctree.findall(nodes.math)]:
        after = formula.next_node(descend=False, siblings=True)
        stop = isinstance(after, nodes.Text) and re.match(r"[,.;:!?)]+", after.astext())
        if stop:
            parent, rest = formula.parent, after.astext()[stop.end() :]
            at = parent.index(formula)
            held = nodes.inline("", "", formula, nodes.Text(stop[0]), classes=["fcn-held"])
            parent[at : at + 2] = [held, nodes.Text(rest)]


def wrap_sentences(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Mark what a cell prints as text to be wrapped, where spaces do not make columns of it."""
    for printed in doctree.findall(nodes.literal_block):
        if "stream" in printed["classes"] and not in_columns(printed.astext()):
            printed["classes"].append("fcn-sentences")


def in_columns(printed: str) -> bool:
    """Whether two lines or more are set with spaces."""
    return len(re.findall(r"^.*\S {2,}\S", printed, re.M)) > 1


def typeset_tables(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Set the numbers in tables, written ones and those that cells show."""
    for table in doctree.findall(nodes.table):
        number_tables.typeset(table)


def show_way(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put a strip of all chapters below a chapter's title, with this one marked."""
    if chapter_number(docname) is None:
        return
    stops = []
    for name in sorted(filter(lambda n: chapter_number(n) is not None, app.env.found_docs)):
        title = escape(app.env.titles[name].astext())
        number = chapter_number(name)
        if name == docname:
            stops.append(f'<strong title="{title}" aria-current="page">{number}</strong>')
        else:
            address = app.builder.get_relative_uri(docname, name)
            stops.append(f'<a href="{address}" title="{title}" aria-label="{title}">{number}</a>')
    strip = f'<nav class="fcn-way" aria-label="Chapters">{"".join(stops)}</nav>'
    title = next(iter(doctree.findall(nodes.title)))
    title.parent.insert(title.parent.index(title) + 1, nodes.raw("", strip, format="html"))


def compact_head(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Lead with a chapter's question; fold the rest of its contract; leave out the set-up cell.

    The stored notebook keeps the table and the cell, which Colab shows.
    """
    if chapter_number(docname) is None:
        return
    for cell in [*doctree.findall(nodes.container)]:
        if "tag_colab-setup" in cell["classes"]:
            cell.parent.remove(cell)
    table = next(iter(doctree.findall(nodes.table)), None)
    rows = [*table.findall(nodes.row)] if table is not None else []
    named = {row[0].astext(): row for row in rows if len(row) == 2}
    if table is None or "Question" not in named:
        return
    question = nodes.paragraph("", "", classes=["fcn-question"])
    question += [*named["Question"][1][0].children] if len(named["Question"][1]) else []
    named["Question"].parent.remove(named["Question"])
    times = [
        f"{re.split('[,;]', named[row][1].astext())[0]} to {verb}"
        for row, verb in (("Reading time", "read"), ("Running time", "run"))
        if row in named
    ]
    summary = escape("; ".join(["What it takes and what it gives", *times]))
    head = f'<details class="fcn-contract"><summary>{summary}</summary>'
    parent = table.parent
    at = parent.index(table)
    raw = [nodes.raw("", text, format="html") for text in (head, "</details>")]
    parent[at : at + 1] = [question, raw[0], table, raw[1]]


def write_slides(app: Sphinx, exception: Exception | None) -> None:
    """Put the slides beside the chapters' pages."""
    if exception is None and app.builder.format == "html" and TEACHING in app.env.found_docs:
        text = slides.page(Path(app.srcdir) / "book", app.config.html_title or app.config.project)
        (Path(app.outdir) / "book" / "slides.html").write_text(text, encoding="utf-8")


def lighten_pages(app: Sphinx, exception: Exception | None) -> None:
    """Leave out of the finished pages what delays their first words."""
    if exception is None and app.builder.format == "html":
        lighten.lighten(Path(app.outdir), Path(app.doctreedir) / "whole")


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
    app.connect("autodoc-process-signature", readable_types)
    app.connect("doctree-read", rename_types)
    app.connect("doctree-read", number_titles, priority=400)  # before titles are collected
    app.connect("doctree-read", note_equations, priority=600)
    app.connect("env-purge-doc", forget_equations)
    app.connect("doctree-resolved", compact_head, priority=300)
    app.connect("doctree-resolved", number_outputs, priority=400)
    app.connect("doctree-resolved", typeset_tables, priority=400)
    app.connect("doctree-resolved", wrap_sentences, priority=400)
    app.connect("doctree-resolved", hold_stops, priority=400)
    app.connect("doctree-resolved", link_names)
    app.connect("doctree-resolved", link_numbers, priority=600)
    app.connect("doctree-resolved", show_way, priority=700)
    app.connect("build-finished", write_slides)
    app.connect("build-finished", lighten_pages, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
