"""Pages whose text is there soon: less style to read, and no script before the first words.

The theme brings all of Bootstrap's rules and every icon twice, as a font and as a script of 1.5 MB
that draws the same icons as SVG. Of the rules, those stay that a page or a script can reach; of the
icons, the font. The nine sheets that every page asks for are one, the index of all words is loaded
by the page that searches it, and scripts are asked for when the text is there: each file that a
page waits for costs a slow processor some 20 ms.
"""

import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import tinycss2
from tinycss2.ast import AtRule, Node, QualifiedRule

#: The theme's sheets, of whose rules most pages need a few.
SHEETS = ("styles/pydata-sphinx-theme.css", "mystnb.*.css")
#: The sheet that is all of a page's sheets, in their order.
BUNDLE = "styles/all.css"
#: An inline script of the head writes into what this one makes.
AT_ONCE = "documentation_options"
#: What only the page with the results of a search has, and what only that page needs.
RESULTS = 'id="search-results"'
SEARCH = ("searchtools.js", "language_data.js", "searchindex.js")
#: Asks for the scripts, which run in their order: after the first frame that is drawn, or, where
#: the page is read before that, at once. So they have run when the page says that it is loaded.
LATER = """<script>(() => {{
  const sources = {sources};
  const ask = () => {{
    for (const source of sources.splice(0))
      document.head.append(Object.assign(
        document.createElement("script"), {{ async: false, src: source }}));
  }};
  requestAnimationFrame(() => setTimeout(ask));
  document.addEventListener("DOMContentLoaded", ask);
}})();</script>
"""
_MARK = "/* without the rules that no page and no script can reach */\n"
_ICONS = re.compile(r"\s*<script[^>]*\bfontawesome\.js[^>]*></script>")
_PRELOAD = re.compile(r"\s*<link rel=\"preload\" as=\"script\"[^>]*>")
_SCRIPT = re.compile(r"[ ]*<script\b[^>]*\bsrc=\"([^\"]+)\"[^>]*></script>\n?")
_SHEET = re.compile(r"[ ]*<link\b[^>]*\bhref=\"((?:\.\./)*)_static/([^\"?]+\.css)[^\"]*\"[^>]*>\n?")
_IMPORT = re.compile(r"@import \"([^\"]+\.css)\";")
_ADDRESS = re.compile(r"url\(([\"']?)(?!data:|[a-z]+:|/|#|[\"'])([^)]+)")
_WORD = re.compile(r"[A-Za-z_-][\w-]*")


def lighten(folder: Path, kept: Path) -> None:
    """Change the pages and sheets below `folder`, a build of the book, in place.

    The whole sheets are kept in the folder `kept`: the next build, which may need other rules,
    copies them again only where a page of it is new.
    """
    static = folder / "_static"
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.html"))}
    known = {name for page in pages.values() for name in classes(page)}
    for script in static.rglob("*.js"):
        if script.name != "fontawesome.js" and "mathjax" not in script.parts:
            known |= set(_WORD.findall(script.read_text(encoding="utf-8")))
    kept.mkdir(exist_ok=True)
    for sheet in (path for pattern in SHEETS for path in sorted(static.glob(pattern))):
        css = sheet.read_text(encoding="utf-8")
        whole = kept / sheet.name
        if not css.startswith(_MARK):
            whole.write_text(css, encoding="utf-8")
        css = _MARK + prune(whole.read_text(encoding="utf-8"), known)
        sheet.write_text(css, encoding="utf-8")
    names, version = bundle(static, pages.values())
    for path, page in pages.items():
        changed = ask_later(one_sheet(page, names, version)) if AT_ONCE in page else page
        if changed != page:
            path.write_text(changed, encoding="utf-8")


def bundle(static: Path, pages: Iterable[str]) -> tuple[list[str], str]:
    """Write the sheets that most pages ask for as one; their names, and the version of its rules.

    Its first line names them, for a build in which all pages are of an earlier one.
    """
    target = static / BUNDLE
    asked = Counter(tuple(name for _, name in _SHEET.findall(page)) for page in pages)
    del asked[()], asked[(BUNDLE,)]
    if asked:
        names = list(asked.most_common(1)[0][0])
    elif target.exists():
        names = target.read_text(encoding="utf-8").splitlines()[0].split()[1:-1]
    else:
        return [], ""
    css = "\n".join(_imported(static / name, target.parent) for name in names)
    target.write_text(f"/* {' '.join(names)} */\n{css}", encoding="utf-8")
    return names, f"{zlib.crc32(css.encode()):08x}"


def _imported(sheet: Path, folder: Path) -> str:
    """The rules of a sheet and of those it imports, for a sheet that stands in `folder`."""
    css = _IMPORT.sub(
        lambda asked: _imported(sheet.parent / asked[1], sheet.parent),
        sheet.read_text(encoding="utf-8"),
    )
    way = os.path.relpath(sheet.parent, folder)
    return css if way == "." else _ADDRESS.sub(rf"url(\g<1>{way}/\g<2>", css)


def one_sheet(page: str, names: Sequence[str], version: str) -> str:
    """The page with one link to the one sheet, where it has those with these names, or an older."""
    found = list(_SHEET.finditer(page))
    if [link[2] for link in found] not in (list(names), [BUNDLE]):
        return page
    # A reader keeps the sheet for long: one with other rules has another address.
    link = f'<link rel="stylesheet" href="{found[0][1]}_static/{BUNDLE}?v={version}" />\n'
    (before, *between, after) = _SHEET.sub("\0", page).split("\0")
    return before + link + "".join(between) + after


def ask_later(page: str) -> str:
    """The page without the script of icons, that asks for the others once its first text is drawn.

    They run in the order in which they stood.
    """
    page = _PRELOAD.sub("", _ICONS.sub("", page))
    scripts = [tag for tag in _SCRIPT.finditer(page) if AT_ONCE not in tag[1]]
    if not scripts:
        return page
    for tag in scripts:
        page = page.replace(tag[0], "", 1)
    sources = [tag[1] for tag in scripts if RESULTS in page or not _is_for_search(tag[1])]
    loader = LATER.format(sources=json.dumps(sources))
    return page.replace("</head>", f"{loader}</head>", 1)


def _is_for_search(source: str) -> bool:
    return PurePosixPath(source.partition("?")[0]).name in SEARCH


def classes(page: str) -> set[str]:
    """The names in all `class` attributes of a page."""
    return {name for value in re.findall(r'\bclass="([^"]*)"', page) for name in value.split()}


def prune(css: str, known: Collection[str]) -> str:
    """A style sheet without the rules that ask for a class that is not among the `known` ones."""
    rules = tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)
    return "".join(_kept(rules, known))


def _kept(rules: Iterable[Node], known: Collection[str]) -> Iterable[str]:
    for rule in rules:
        if isinstance(rule, QualifiedRule):
            selectors = [s for s in _selectors(rule.prelude) if _reachable(s, known)]
            if selectors:
                body = tinycss2.serialize(rule.content)
                yield f"{','.join(map(tinycss2.serialize, selectors))}{{{body}}}"
        elif isinstance(rule, AtRule) and rule.lower_at_keyword in ("media", "supports"):
            inner = tinycss2.parse_rule_list(rule.content or [], True, True)
            inside = "".join(_kept(inner, known))
            if inside:
                yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inside}}}"
        else:
            yield rule.serialize()


def _selectors(prelude: Iterable[Node]) -> list[list[Node]]:
    """The parts between the commas; those inside brackets stand in one node."""
    parts: list[list[Node]] = [[]]
    for node in prelude:
        if node == ",":
            parts.append([])
        else:
            parts[-1].append(node)
    return parts


def _reachable(selector: list[Node], known: Collection[str]) -> bool:
    """Whether every class it names outside brackets, which may say "not", is known."""
    pairs = pairwise(selector)
    return all(name.value in known for dot, name in pairs if dot == "." and name.type == "ident")
