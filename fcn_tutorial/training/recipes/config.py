"""A YAML file that holds a run's settings: what to train on, what to change, where it goes.

```yaml
recipe: folder
out: runs/cats            # the run folder; seed, device and weights likewise
data:                     # or the folder that holds images/ and masks/, as --data takes it
  images: photos
  masks: masks
  colours: {background: [0, 0, 0], cat: [255, 0, 0]}
epochs: 40
optimiser: {lr: 2e-3}
```

Groups and names are those that `recipes NAME` lists. Paths start at the file's own folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_tutorial.datasets.formats.plain_yaml import read_yaml, short
from fcn_tutorial.datasets.own.colours import as_text, is_text, read_colours
from fcn_tutorial.training.recipes import settings
from fcn_tutorial.training.recipes.recipe import Recipe

#: Keys that are no settings of a recipe but options of the commands.
OPTIONS = ("recipe", "out", "seed", "device", "weights")
_FILES = ("images", "masks", "train_list", "val_list", "test_list")  # of `data`


@dataclass(frozen=True)
class Config:
    """What a YAML file says.

    Attributes:
        path: the file.
        recipe: the recipe's name.
        settings: "key=value" texts, as `settings.override` takes them.
        data, out, seed, device, weights: what the options of the same names take; None where the
            file does not say.
    """

    path: Path
    recipe: str
    settings: tuple[str, ...]
    data: Path | None = None
    out: Path | None = None
    seed: int | None = None
    device: str | None = None
    weights: Path | None = None

    def override(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]]:
        """The recipe with the file's settings; see that of `settings`.

        Raises:
            ValueError: as that, naming the file and the setting.
        """
        try:
            return settings.override(recipe, self.settings)
        except ValueError as error:
            raise ValueError(str(error).replace("--set ", f"{self.path}: ")) from error


def read_config(path: Path) -> Config:
    """Read the file.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for what the file cannot say.
    """
    content = dict(read_yaml(path, "lines 'setting: value', as in 'epochs: 30'"))
    given = {key: content.pop(key) for key in OPTIONS if key in content}
    for key, value in given.items():
        if not isinstance(value, int if key == "seed" else str) or isinstance(value, bool):
            kind = "a whole number" if key == "seed" else "text"
            raise ValueError(f"{path}: {key}={short(value)}: expected {kind}")
    data = content.pop("data") if isinstance(content.get("data"), str) else None
    here = path.parent
    return Config(
        path,
        given.get("recipe", "folder"),
        tuple(_settings(content, "", path)),
        None if data is None else here / data,
        here / given["out"] if "out" in given else None,
        given.get("seed"),
        given.get("device"),
        here / given["weights"] if "weights" in given else None,
    )


def _settings(node: Mapping[Any, Any], prefix: str, path: Path) -> Iterator[str]:
    for key, value in node.items():
        if not isinstance(key, str):
            raise ValueError(
                f"{path}: {short(key)} is no setting; `fcn-tutorial recipes` lists them"
            )
        name = f"{prefix}{key}"
        if name == "data.colours":
            yield f"{name}={_colours(value, path)}"
        elif name == "data.classes":
            yield f"{name}={_classes(value, path)}"
        elif prefix == "data." and key in _FILES and isinstance(value, str):
            yield f"{name}={path.parent / value if value else value}"
        elif isinstance(value, Mapping):
            if prefix:
                raise ValueError(f"{path}: {name}={short(value)}: expected a value")
            yield from _settings(value, f"{name}.", path)
        else:
            yield f"{name}={_text(value, f'{path}: {name}')}"


def _colours(value: Any, path: Path) -> str:
    if isinstance(value, Mapping):
        return as_text(read_colours(value))
    if not isinstance(value, str):
        raise ValueError(f"{path}: data.colours={short(value)}: expected a map or a file")
    return value if not value or is_text(value) else str(path.parent / value)


def _classes(value: Any, path: Path) -> str:
    if isinstance(value, str):
        return value if not value or "," in value else str(path.parent / value)
    if isinstance(value, Mapping):  # 0: background
        value = [f"{number}: {name}" for number, name in value.items()]
    names = [_text(name, f"{path}: data.classes") for name in value or ()]
    if any("," in name for name in names) or len(names) < 2:
        raise ValueError(
            f"{path}: data.classes={short(value)}: expected two names or more without commas, or a "
            "file with one a line"
        )
    return ",".join(names)


def _text(value: Any, where: str) -> str:
    """A value as the command line would have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) < 10:
        parts = [_text(part, where) for part in value if not isinstance(part, Sequence | Mapping)]
        if len(parts) == len(value):
            return ",".join(parts)
    if not isinstance(value, str | int | float):
        raise ValueError(f"{where}={short(value)}: expected a number, a text or a list of numbers")
    return str(value)
