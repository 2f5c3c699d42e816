"""YAML files that strangers wrote: plain data only, bounded, every fault a ValueError."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from fcn_tutorial.files import require

MAX_BYTES = 1 << 20


def read_yaml(path: Path, expected: str) -> Mapping[Any, Any]:
    """The mapping that a YAML file holds; `expected` says what its lines should be.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for what is no mapping, for a key given twice, for tags of objects, and for
            files above 1 MiB.
    """
    import yaml  # needed by few

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Refuses the second of two equal keys, which YAML would let win in silence."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key.value, str)]
            key, times = Counter(keys).most_common(1)[0] if keys else ("", 0)
            if times > 1:
                raise ValueError(f"{short(key)} is given twice")
            found: dict[Hashable, Any] = super().construct_mapping(node, deep)
            return found

    text = read_text(path)
    try:
        content = yaml.load(text, Loader)  # a SafeLoader
    except Exception as error:  # tags such as `!!bool x` raise almost anything
        reason = " ".join(str(error).split()) or repr(error)
        raise ValueError(f"{path}: not a readable YAML file ({reason})") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected {expected}")
    return content


def read_text(path: Path) -> str:
    """A small UTF-8 file.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for a damaged file and one above 1 MiB.
    """
    require(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable text file ({error})") from error


class _Brief(reprlib.Repr):
    """Aliases let a YAML file of a few hundred bytes hold what `repr` writes in gigabytes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 2, 60, 60

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if abs(x) < 10**60 else "a number of many digits"


def short(value: Any) -> str:
    """`repr`, cut to what a message can show."""
    return _Brief().repr(value)
