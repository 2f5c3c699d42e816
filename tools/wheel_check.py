"""Run every chapter where only the wheel is installed, without network, in Colab's shape and not.

The wheel is built and put into a virtual environment of its own, which borrows the installed
dependencies but not the checkout. Each chapter then runs from an empty folder in a kernel of that
environment, with a stub `google.colab` that can be imported. The first one also runs without it:
the set-up cell, the only one that asks, is the same in all. Two chapters run at a time.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.notebooks import BATCH, Chapter, chapters
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

RUN_CHAPTER = """\
import sys
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
notebook = nbformat.read(sys.argv[1], as_version=4)
client = NotebookClient(notebook, timeout=300, kernel_name="python3",
                        extra_arguments=["--IPKernelApp.log_level=ERROR"],
                        resources={"metadata": {"path": sys.argv[2]}})
try:
    client.execute()
except CellExecutionError as error:
    sys.exit(str(error))
"""


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
        *(ROOT / "data" / "weights").rglob("*.safetensors"),
        *(ROOT / "data" / "results").rglob("*.json"),
    ]
    names = [f"fcn_tutorial/assets/{p.relative_to(ROOT / 'data').as_posix()}" for p in wanted]
    return sorted(set(names) - carried)


def make_environment(wheel: Path) -> Path:
    """Virtual environment with the wheel and, behind it, the installed dependencies.

    Returns its Python. A line in a `.pth` file adds the folder of the dependencies without
    reading the `.pth` files in it, which is where the editable install of the checkout is named.
    """
    folder = WORK / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def write_stubs() -> tuple[Path, Path]:
    """Folders for PYTHONPATH: one that refuses the network, one that holds `google.colab`."""
    offline, colab = WORK / "offline", WORK / "colab"
    offline.mkdir()
    (offline / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    package = colab / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()  # not google/ itself: a namespace, with google.protobuf
    return offline, colab


def run_chapter(python: Path, chapter: Chapter, path: list[Path]) -> str:
    """Run one chapter from an empty folder; returns the error, empty if there was none."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FCN_"))}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    environment["PIP_NO_INDEX"] = environment[BATCH] = environment["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        command = [str(python), "-c", RUN_CHAPTER, str(chapter.notebook), folder]
        run = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
    return run.stderr.strip() or "failed without a word" if run.returncode else ""


def imported_from(python: Path) -> str:
    """File that `import fcn_tutorial` finds in the environment."""
    command = [str(python), "-c", "import fcn_tutorial; print(fcn_tutorial.__file__)"]
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def main() -> int:
    """Build, install, run."""
    wheel = build_wheel()
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
    problems = [f"the wheel does not carry {name}" for name in missing_assets(wheel)]
    python = make_environment(wheel)
    found = imported_from(python)
    if not found.startswith(str(WORK)):
        problems.append(f"{read_project().name} was imported from {found}, not from the wheel")
    offline, colab = write_stubs()
    every = chapters(ROOT / "book")
    jobs = [(chapter, "google.colab", [offline, colab]) for chapter in every]
    jobs += [(chapter, "plain", [offline]) for chapter in every[:1]]

    def run(job: tuple[Chapter, str, list[Path]]) -> str:
        chapter, label, path = job
        started = time.perf_counter()
        error = run_chapter(python, chapter, path)
        took = time.perf_counter() - started
        print(f"{chapter.stem}, {label}: {'FAILED' if error else 'ok'}, {took:.1f} s", flush=True)
        return error and f"{chapter.stem} ({label}): {error}"

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        problems += filter(None, pool.map(run, jobs))
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
