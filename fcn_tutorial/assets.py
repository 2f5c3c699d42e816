"""Where the small files that travel with the package are: trained weights and run records."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_FOLDERS = ("weights", "results")


def root() -> Path:
    """Folder that holds `weights/` and `results/`.

    An installed wheel carries it inside the package; a checkout has it as `data/`.
    """
    carried = _PACKAGE / "assets"
    return carried if carried.is_dir() else _PACKAGE.parent / "data"


def path(name: str) -> Path:
    """Path of a file that travels with the package, such as `"weights/classifier.safetensors"`.

    `name` is relative, with forward slashes, and starts with `weights/` or `results/`.
    Raises ValueError where it does not, FileNotFoundError where there is no such file.
    """
    parts = name.split("/")
    if parts[0] not in _FOLDERS or len(parts) < 2 or ".." in parts or "\\" in name:
        raise ValueError(f"name={name!r}: expected a relative path under weights/ or results/")
    found = root() / name
    if not found.is_file():
        there = sorted(
            p.relative_to(root()).as_posix() for p in (root() / parts[0]).rglob("*") if p.is_file()
        )
        raise FileNotFoundError(
            f"name={name!r}: no such file travels with fcn_tutorial; "
            f"{parts[0]}/ holds {', '.join(there) or 'nothing'}"
        )
    return found
