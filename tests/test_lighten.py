"""What the finished pages are made of: one sheet, whose addresses hold, and late scripts."""

import json
import re
from pathlib import Path

import pytest

from tools import lighten

HEAD = """<head>
<link rel="preload" as="script" href="../_static/late.js" />
<link href="../_static/styles/theme.css?v=1" rel="stylesheet" />
  <link rel="stylesheet" type="text/css" href="../_static/own.css?v=2" />
<script src="../_static/documentation_options.js?v=3"></script>
<script defer src="../_static/doctools.js"></script>
<script defer="defer" src="../_static/math/late.js?v=4"></script>
<script defer src="../searchindex.js"></script>
<script>const inline = 1;</script>
</head><body class="shown">{body}<script defer src="../_static/last.js"></script></body>
"""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    static = tmp_path / "html" / "_static"
    (static / "styles").mkdir(parents=True)
    (static / "styles" / "theme.css").write_text('@import "../basic.css";\n.shown{color:red}')
    (static / "basic.css").write_text('.a{background:url(file.png)} .b{background:url("data:x")}')
    (static / "own.css").write_text("""@font-face{src:url('fonts/f.woff2'), url(https://h/f)}""")
    book = tmp_path / "html" / "book"
    book.mkdir()
    (book / "one.html").write_text(HEAD.replace("{body}", "words"))
    (book / "search.html").write_text(HEAD.replace("{body}", '<div id="search-results"></div>'))
    (book / "bare.html").write_text("<link rel='stylesheet' href='x.css'><p>slides")
    lighten.lighten(tmp_path / "html", tmp_path / "whole")
    return tmp_path / "html"


def sources(page: str) -> list[str]:
    (found,) = re.findall(r"const sources = (\[.*\]);", page)
    return list(json.loads(found))


def test_the_sheets_are_one_and_its_addresses_hold(built: Path) -> None:
    css = (built / "_static" / lighten.BUNDLE).read_text()
    assert css.splitlines()[0] == "/* styles/theme.css own.css */"
    assert "@import" not in css and css.index("file.png") < css.index(".shown") < css.index(
        "f.woff2"
    )
    assert "url(../file.png)" in css and "url('../fonts/f.woff2')" in css
    assert 'url("data:x")' in css and "url(https://h/f)" in css
    page = (built / "book" / "one.html").read_text()
    (link,) = re.findall(r"<link[^>]*>", page)
    assert re.fullmatch(
        r'<link rel="stylesheet" href="\.\./_static/styles/all\.css\?v=[0-9a-f]{8}" />', link
    )


def test_scripts_are_asked_for_in_their_order_and_the_index_where_it_is_searched(
    built: Path,
) -> None:
    page = (built / "book" / "one.html").read_text()
    at_once = ["../_static/documentation_options.js?v=3"]
    later = ["../_static/doctools.js", "../_static/math/late.js?v=4", "../_static/last.js"]
    assert re.findall(r'<script[^>]*src="([^"]*)"', page) == at_once
    assert sources(page) == later and "const inline = 1;" in page
    assert sources((built / "book" / "search.html").read_text()) == [
        *later[:2], "../searchindex.js", later[2],
    ]  # fmt: skip
    assert "sources" not in (built / "book" / "bare.html").read_text()


def test_a_second_build_without_new_pages_takes_up_new_rules(built: Path) -> None:
    page = built / "book" / "one.html"
    before = page.read_text()
    lighten.lighten(built, built.parent / "whole")
    assert page.read_text() == before
    (built / "_static" / "own.css").write_text(".shown{color:blue}")
    lighten.lighten(built, built.parent / "whole")
    assert "color:blue" in (built / "_static" / lighten.BUNDLE).read_text()
    after = page.read_text()
    version = r"all\.css\?v=\w+"
    assert re.sub(version, "", after) == re.sub(version, "", before) and after != before
