"""Pages whose text is there soon: less style to read, and no script before the first words.

The theme brings all of Bootstrap's rules and every icon twice, as a font and as a script of 1.5 MB
that draws the same icons as SVG. Of the rules, those stay that a page or a script can reach; of the
icons, the font. Scripts of the head wait until the text is there.
"""

import re
import zlib
from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path

import tinycss2
from tinycss2.ast import AtRule, Node, QualifiedRule

#: The theme's sheets, of whose rules most pages need a few.
SHEETS = ("styles/pydata-sphinx-theme.css", "mystnb.*.css")
#: An inline script of the head writes into what this one makes.
AT_ONCE = "documentation_options"
_MARK = "/* without the rules that no page and no script can reach */\n"
_ICONS = re.compile(r"\s*<script[^>]*\bfontawesome\.js[^>]*></script>")
_SCRIPT = re.compile(r"<script (?=[^>]*\bsrc=)(?![^>]*\b(?:defer|async)\b)([^>]*)>")
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
    versions = {}
    kept.mkdir(exist_ok=True)
    for sheet in (path for pattern in SHEETS for path in sorted(static.glob(pattern))):
        css = sheet.read_text(encoding="utf-8")
        whole = kept / sheet.name
        if not css.startswith(_MARK):
            whole.write_text(css, encoding="utf-8")
        css = _MARK + prune(whole.read_text(encoding="utf-8"), known)
        sheet.write_text(css, encoding="utf-8")
        versions[sheet.name] = f"{zlib.crc32(css.encode()):08x}"
    for path, page in pages.items():
        changed = wait_for_text(page)
        for name, version in versions.items():  # no reader keeps the sheet of another build
            changed = re.sub(rf"{re.escape(name)}(?:\?\w+=\w+)?", f"{name}?v={version}", changed)
        if changed != page:
            path.write_text(changed, encoding="utf-8")


def wait_for_text(page: str) -> str:
    """The page without the script of icons, the others of its head run when its text is read.

    They run in the order in which they stand, as before.
    """
    head, end, body = page.partition("</head>")
    head = _SCRIPT.sub(
        lambda tag: tag[0] if AT_ONCE in tag[0] else f"<script defer {tag[1]}>",
        _ICONS.sub("", head),
    )
    return head + end + body


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
