"""Advice about a folder in the words of the command line.

`Folder` and what it stands on name arguments of Python: `names=Names(mask_suffix='_gt')`. Somebody
who types commands needs settings: `--set data.mask_suffix=_gt`.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Mapping

from fcn_tutorial.datasets.own.colours import as_text, read_colours

_QUOTED = r"'[^']*'|\"[^\"]*\""
_NAMES = re.compile(rf"names=Names\(((?:\w+=(?:{_QUOTED})(?:, )?)+)\)")
_ARGUMENT = re.compile(rf"\b(colours|classes)=({_QUOTED}|\{{[^}}]*\}}|\[[^\]]*\])")
_SPLIT = "and pass it as split"
_LISTS = "--set data.train_list=FILE, with another for --set data.val_list=FILE"


def as_settings(message: str) -> str:
    """The message with `--set` in place of Python's arguments."""
    message = _NAMES.sub(lambda found: _settings(found[1]), message)
    message = _ARGUMENT.sub(lambda found: _setting(found[1], found[2]), message)
    return message.replace(_SPLIT, f"and name it: {_LISTS}")


def _settings(arguments: str) -> str:
    pairs = re.findall(rf"(\w+)=({_QUOTED})", arguments)
    return " ".join(_setting(name, value) for name, value in pairs)


def _setting(name: str, literal: str) -> str:
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError):  # {'name': (r, g, b), …}
        return f"--set data.{name}=FILE"
    if isinstance(value, Mapping):
        value = as_text(read_colours(value))
    elif isinstance(value, list):
        value = ",".join(map(str, value))
    return f"--set {shlex.quote(f'data.{name}={value}')}"
