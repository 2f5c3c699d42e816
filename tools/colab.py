"""The set-up cell as Colab runs it: the package is not there, all that it needs is.

`environment` makes a virtual environment that reports the versions of Colab's image, and in which
the installed libraries stand for them. There the chapters run with a stub `google.colab`, without
network, and with the wheel in place of the repository.
"""

import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

from tools.notebooks import setup_cell
from tools.project import Project, read_project

#: Versions in Colab's image of what the package asks for. Source: pip-freeze.txt of
#: github.com/googlecolab/backend-info, 19 August 2026, commit a724079, Python 3.13.
IMAGE = {
    "h5py": "3.16.0",
    "ipywidgets": "7.7.1",
    "matplotlib": "3.10.0",
    "numpy": "2.1.3",
    "pillow": "11.3.0",
    "protobuf": "5.29.6",
    "PyYAML": "6.0.3",
    "safetensors": "0.8.0",
    "scikit-learn": "1.6.1",
    "scipy": "1.16.3",
    "torch": "2.11.0+cpu",
    "torchvision": "0.26.0+cpu",
    "tqdm": "4.67.3",
}
PROVIDER = "provider"


def cell_for(wheel: Path, project: Project) -> str:
    """The set-up cell with the address of a wheel for the repository's, and nothing else changed.

    Raises ValueError where the cell does not name the repository once.
    """
    cell, address = setup_cell(project), f'"git+{project.url}"'
    if cell.count(address) != 1:
        raise ValueError(f"the set-up cell must name {address} once")
    return cell.replace(address, f'"{wheel.resolve().as_uri()}"')


def environment(folder: Path, image: dict[str, str]) -> tuple[Path, Path]:
    """Virtual environment with `image` as the versions that are reported; no package of ours.

    Behind it stand the installed libraries, as links, without the checkout. Returns its Python and
    the folder that pip installs into.
    """
    python, site = bare_environment(folder)
    own = read_project().name.replace("-", "_")
    provider = folder / PROVIDER
    provider.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if own not in entry.name and entry.suffix != ".pth":
            (provider / entry.name).symlink_to(entry)
    (site / f"{PROVIDER}.pth").write_text(f"{provider}\n", encoding="utf-8")
    for name, version in image.items():
        info = site / f"{re.sub('[-.]+', '_', name)}-{version}.dist-info"
        info.mkdir()
        said = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        (info / "METADATA").write_text(said, encoding="utf-8")
        (info / "INSTALLER").write_text("pip\n", encoding="utf-8")
    return python, site


def bare_environment(folder: Path) -> tuple[Path, Path]:
    """A virtual environment without pip: its Python, and the folder that it imports from."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    return folder / "bin" / "python", site


def write_stub(folder: Path) -> Path:
    """A folder for PYTHONPATH that holds a `google.colab` to import."""
    package = folder / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()  # not google/ itself: a namespace, with google.protobuf
    return folder


def versions(site: Path) -> dict[str, str]:
    """Version by name of what an environment's own folder holds."""
    return {found.name: found.version for found in distributions(path=[str(site)])}


def offline() -> dict[str, str]:
    """Environment variables in which pip asks nobody and reads no settings of the machine."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "FCN_"))}
    return {**kept, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
