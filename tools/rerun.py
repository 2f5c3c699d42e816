"""Run every chapter again where only the wheel is installed, and compare its outputs.

The wheel is built and put into a virtual environment of its own, which borrows the installed
dependencies but not the checkout. There nbval runs copies of the chapters, in a folder that holds
nothing else and without network, and compares each output with the stored one. The first chapter
runs a second time as in Colab (tools/colab.py), where its set-up cell installs the wheel: that
cell, the only one that asks, is the same in all. Two chapters run at a time, that one beside them.

python -m tools.rerun [options of pytest]   for instance --nbval-lax: compare tagged cells only
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

from tools import colab
from tools.notebooks import SECONDS_PER_CELL, Chapter, chapters
from tools.project import ROOT, read_project

WORK = ROOT / "_build" / "wheel"
AT_A_TIME = 2

# Imported by Python itself at start, before the kernel and the chapter.
NO_NETWORK = '''\
"""Refuse connections to any host but this one."""
import socket

_connect = socket.socket.connect


def connect(self, address):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a chapter asked for the network: {address}")
    return _connect(self, address)


socket.socket.connect = connect
'''

# A chapter of the check's own, run beside the others: is it the wheel that is imported, and does
# the kernel do without ports, as book/conftest.py has it?
WHERE = """\
import os
import fcn_tutorial
from ipykernel.kernelapp import IPKernelApp
assert {site!r} in fcn_tutorial.__file__, fcn_tutorial.__file__
assert os.name != "posix" or IPKernelApp.instance().transport == "ipc\""""


def build_wheel() -> Path:
    """Build the wheel into the work folder; returns its path."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(WORK), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = WORK.glob("*.whl")
    return wheel


def missing_assets(wheel: Path) -> list[str]:
    """Small files of the checkout that the wheel does not carry."""
    carried = set(zipfile.ZipFile(wheel).namelist())
    wanted = [
        (kind, path.relative_to(ROOT / folder).as_posix())
        for kind, folder, pattern in (
            ("weights", "data/weights", "*.safetensors"),
            ("results", "data/results", "*.json"),
            ("benchmarks", "benchmarks/results", "*.json"),
        )
        for path in (ROOT / folder).rglob(pattern)
    ]
    return sorted({f"fcn_tutorial/assets/{kind}/{name}" for kind, name in wanted} - carried)


def make_environment(wheel: Path) -> tuple[Path, Path]:
    """Virtual environment with the wheel and, behind it, the installed dependencies.

    Returns its Python and the folder it imports from. A line in a `.pth` file adds the folder of
    the dependencies without reading the `.pth` files in it, which is where the editable install of
    the checkout is named.
    """
    python, site = colab.bare_environment(WORK / "venv")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python, site


def refuse_network() -> Path:
    """Folder for PYTHONPATH in which Python finds what refuses the network."""
    offline = WORK / "offline"
    offline.mkdir()
    (offline / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    return offline


def copies(site: Path, every: list[Chapter]) -> Path:
    """A folder with the chapters, what `book` tells pytest, and a chapter that looks for itself."""
    folder = WORK / "book"
    folder.mkdir()
    for chapter in every:
        shutil.copy(chapter.notebook, folder)
    shutil.copy(ROOT / "book" / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    where = nbformat.v4.new_code_cell(WHERE.format(site=str(site)))
    nbformat.write(nbformat.v4.new_notebook(cells=[where]), folder / "where.ipynb")
    return folder


def run(python: Path, folder: Path, names: list[str], path: list[Path], options: list[str]) -> bool:
    """Run notebooks with nbval; returns whether all passed."""
    environment = colab.offline() | {"OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    command = [str(python), "-m", "pytest", "-q", "-n", str(AT_A_TIME), "--dist", "loadscope"]
    command += [*(options or ["--nbval"]), f"--nbval-cell-timeout={SECONDS_PER_CELL}", *names]
    if len(names) > 1:
        return subprocess.run(command, env=environment, cwd=folder, check=False).returncode == 0
    done = subprocess.run(
        command, env=environment, cwd=folder, check=False, text=True, capture_output=True
    )
    print(done.stdout + done.stderr, end="")  # in one piece, as others print meanwhile
    return done.returncode == 0


def run_as_in_colab(wheel: Path, folder: Path, name: str, path: Path, options: list[str]) -> bool:
    """Run a copy of a notebook whose set-up cell finds no package and installs the wheel.

    Returns whether all cells passed, the package was added, and nothing replaced.
    """
    project = read_project()
    python, site = colab.environment(WORK / "colab", colab.IMAGE)
    notebook = nbformat.read(folder / name, as_version=4)
    setup = next(c for c in notebook.cells if "colab-setup" in c.metadata.get("tags", []))
    setup.source = colab.cell_for(wheel, project)
    nbformat.write(notebook, folder / "as_in_colab.ipynb")
    stub = colab.write_stub(WORK / "stub")
    passed = run(python, folder, ["as_in_colab.ipynb"], [path, stub], options)
    return passed and colab.versions(site) == {**colab.IMAGE, project.name: project.version}


def main(options: list[str]) -> int:
    """Build, install, run."""
    wheel = build_wheel()
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
    problems = [f"the wheel does not carry {name}" for name in missing_assets(wheel)]
    python, site = make_environment(wheel)
    offline = refuse_network()
    every = [chapter for chapter in chapters(ROOT / "book") if chapter.notebook.is_file()]
    folder = copies(site, every)
    names = ["where.ipynb", *(chapter.notebook.name for chapter in every)]
    with ThreadPoolExecutor(1) as beside:
        colab_too = beside.submit(run_as_in_colab, wheel, folder, names[1], offline, options)
        if not run(python, folder, names, [offline], options):
            problems.append("chapters do not repeat their outputs (see above)")
    if not colab_too.result():
        problems.append(f"{names[1]} fails as in Colab, or pip replaced something (see above)")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
