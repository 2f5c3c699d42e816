"""Where the small files that travel with the package are: weights, records, benchmarks."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
#: What travels, and where a checkout has it.
_FOLDERS = {
    "weights": "data/weights",
    "results": "data/results",
    "benchmarks": "benchmarks/results",
}


def root() -> Path:
    """Folder that holds `weights/` and `results/`.

    An installed wheel carries it inside the package; a checkout has it as `data/`.

    ::

        >>> (root() / "weights" / "scene-fcn8s.safetensors").is_file()
        True
    """
    carried = _PACKAGE / "assets"
    return carried if carried.is_dir() else _PACKAGE.parent / "data"


def path(name: str) -> Path:
    """Path of a file that travels with the package.

    Args:
        name: relative, with forward slashes, below `weights/`, `results/` or `benchmarks/`.

    Returns:
        In the folder of an installed package, or in the checkout.

    Raises:
        ValueError: for a `name` that does not start so.
        FileNotFoundError: where there is no such file.

    ::

        >>> path("weights/scene-fcn8s.safetensors").is_file()
        True
        >>> path("/etc/weights")
        Traceback (most recent call last):
        ValueError: name='/etc/weights': expected a relative path under one of weights/, ...
    """
    kind, *below = name.split("/")
    if kind not in _FOLDERS or not below or ".." in below or "\\" in name:
        under = ", ".join(f"{folder}/" for folder in _FOLDERS)
        raise ValueError(f"name={name!r}: expected a relative path under one of {under}")
    carried = _PACKAGE / "assets"
    folder = carried / kind if carried.is_dir() else _PACKAGE.parent / _FOLDERS[kind]
    found = folder.joinpath(*below)
    if not found.is_file():
        there = sorted(
            f"{kind}/{p.relative_to(folder).as_posix()}" for p in folder.rglob("*") if p.is_file()
        )
        raise FileNotFoundError(
            f"name={name!r}: no such file travels with fcn_tutorial; "
            f"{kind}/ holds {', '.join(there) or 'nothing'}"
        )
    return found
