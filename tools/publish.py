"""What must be true before a release, and what a maintainer must claim: `make publish-check`.

python -m tools.publish DIST    build wheel and source archive into DIST and check all there is
"""

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools.chapter_form import MAX_BYTES, older
from tools.notebooks import chapters, colab_link, stamp_page
from tools.project import ROOT, Project, read_project
from tools.rerun import missing_assets

PATIENCE = 10  # seconds for an answer of the index
PAGES = ("README.md", "CONTRIBUTING.md", "data/README.md", "SECURITY.md")


@dataclass(frozen=True)
class Check:
    """One line of the list: what was looked at, and what is wrong; nothing where all is well."""

    name: str
    problems: tuple[str, ...] = ()
    note: str = ""


def build(dist: Path) -> tuple[Path, Path]:
    """Wheel and source archive, built into `dist` from the checkout."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, source


def twine(files: tuple[Path, ...]) -> Iterator[str]:
    """What the index would refuse."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        yield run.stdout.strip() or run.stderr.strip()


def wheel_problems(wheel: Path, project: Project) -> Iterator[str]:
    """What the wheel lacks."""
    names = zipfile.ZipFile(wheel).namelist()
    yield from (f"does not carry {name}" for name in missing_assets(wheel))
    for licence in ("LICENSE", "LICENSE-TEXT"):
        if not any(name.endswith(f"licenses/{licence}") for name in names):
            yield f"does not carry {licence}"
    if not wheel.name.startswith(f"{project.name.replace('-', '_')}-{project.version}-"):
        yield f"{wheel.name} is not {project.name} {project.version}"


def dead_links(root: Path = ROOT) -> Iterator[str]:
    """Links of pages outside the book that lead to files that are not there."""
    for name in PAGES:
        page = root / name
        if not page.is_file():
            continue
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:|#", target):
                path = (page.parent / target.partition("#")[0]).resolve()
                if not path.exists():
                    yield f"{name} links to {target}, which is not there"


def outside_links(root: Path = ROOT) -> list[str]:
    """Addresses outside that pages and chapters lead to, each once, for a person to try."""
    pages = [root / name for name in PAGES]
    pages += sorted((root / "book").rglob("*.md"))
    found = set()
    for page in pages:
        if page.is_file():
            text = page.read_text(encoding="utf-8")
            found |= set(re.findall(r"https?://[^\s)>\"'`\]]+", text))
    return sorted(address.rstrip(".,;") for address in found)


def citation_problems(project: Project, root: Path = ROOT) -> Iterator[str]:
    """What CITATION.cff lacks, or says otherwise than pyproject.toml."""
    path = root / "CITATION.cff"
    if not path.is_file():
        yield "there is no CITATION.cff"
        return
    cited = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in ("cff-version", "message", "title", "authors", "license"):
        if not cited.get(key):
            yield f"CITATION.cff has no {key}"
    for key, value in (("version", project.version), ("repository-code", project.url)):
        if cited.get(key) != value:
            yield f"CITATION.cff: {key} is {cited.get(key)}, pyproject.toml has {value}"


def chapter_problems(project: Project, root: Path = ROOT) -> Iterator[str]:
    """Chapters that are too heavy, lead Colab elsewhere, or whose outputs may be old."""
    every = [c for c in chapters(root / "book") if c.notebook.is_file()]
    for chapter in every:
        size = chapter.notebook.stat().st_size
        if size > MAX_BYTES:
            yield f"{chapter.stem} has {size / 1e6:.1f} MB, {MAX_BYTES / 1e6} are allowed"
        if colab_link(project, chapter.stem) not in chapter.notebook.read_text(encoding="utf-8"):
            yield f"{chapter.stem}: its badge leads elsewhere than {project.slug}"
    yield from (f"{sentence}; run `make stamp`" for sentence in older(every))


def address_problems(project: Project, root: Path = ROOT) -> Iterator[str]:
    """Pages that name the repository or the version otherwise than pyproject.toml."""
    for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff"):
        text = (root / name).read_text(encoding="utf-8")
        if stamp_page(text, project) != text:
            yield f"{name} names another address or version: run `make notebooks`"


def name_check(name: str, ask: Callable[[str], str] | None = None) -> Check:
    """Whether the index that pip asks has that name; without a network, nobody knows."""
    title = f"the name {name}"
    said = (ask or _ask)(name)
    if "Available versions:" in said:
        return Check(
            title, note="is taken on the index: is that yours? If not, choose another name"
        )
    # After attempts that failed pip says the same as of a name that nobody has.
    if "No matching distribution" in said and "Retrying" not in said:
        return Check(title, note="is free: the first upload claims it")
    return Check(title, note="not checked: the index does not answer")


def _ask(name: str) -> str:
    """What pip says of the versions of a package."""
    command = [sys.executable, "-m", "pip", "--timeout", str(PATIENCE), "--retries", "1"]
    done = subprocess.run([*command, "index", "versions", name], capture_output=True, text=True)
    return done.stdout + done.stderr


def claims(project: Project) -> list[str]:
    """What nobody but a maintainer can do, in order."""
    owner, _, repository = project.slug.partition("/")
    return [
        f"make the repository {project.url} and push `main`; Colab's links lead there",
        "in its settings choose Pages from GitHub Actions; the workflow `book` publishes to "
        f"https://{owner}.github.io/{repository}/",
        f"claim {project.name} on the package index, with a trusted publisher or a token",
        f"tag v{project.version}, and upload what `make release` built: twine upload dist/*",
        "for a DOI, link the repository with an archive, and add it to CITATION.cff",
    ]


def checks(dist: Path) -> Iterator[Check]:
    """Everything, in the order of the list."""
    project = read_project()
    files = build(dist)
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.2f} MB" for path in files)
    yield Check("wheel", tuple(wheel_problems(files[0], project)), sizes)
    yield Check("twine check", tuple(twine(files)))
    yield Check("links to files", tuple(dead_links()))
    yield Check("addresses and version", tuple(address_problems(project)))
    yield Check("citation", tuple(citation_problems(project)))
    yield Check("chapters", tuple(chapter_problems(project)))
    yield name_check(project.name)


def main(arguments: list[str]) -> int:
    """Print the list; 1 where something must be mended first."""
    dist = Path(arguments[0])
    dist.mkdir(parents=True, exist_ok=True)
    for old in (*dist.glob("*.whl"), *dist.glob("*.tar.gz")):
        old.unlink()
    failed = False
    for check in checks(dist):
        failed |= bool(check.problems)
        print(f"{'MEND' if check.problems else 'ok  '} {check.name}  {check.note}".rstrip())
        for problem in check.problems:
            print(f"       {problem}")
    print("\nfor a maintainer:")
    for number, claim in enumerate(claims(read_project()), 1):
        print(f"{number}. {claim}")
    links = outside_links()
    print(f"\naddresses outside, to be tried by a person or a link checker: {len(links)}")
    for address in links:
        print(f"  {address}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
