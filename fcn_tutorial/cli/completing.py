"""Completion by the shell: which names the arguments of the verbs may have.

It is asked for by `eval "$(register-python-argcomplete fcn-tutorial)"` in the shell, and needs the
extra `completion`. Names are read from the registries, as the verbs read them.
"""

from __future__ import annotations

import argparse
import os
from typing import Any


def recipes(prefix: str, **line: Any) -> list[str]:
    """The names of recipes that begin so."""
    from fcn_tutorial import training

    return [name for name in (*training.RECIPES, *training.ALIASES) if name.startswith(prefix)]


def data_sets(prefix: str, **line: Any) -> list[str]:
    """The names of data sets that begin so."""
    from fcn_tutorial.datasets import sources

    return [name for name in sources.SOURCES if name.startswith(prefix)]


def by(argument: argparse.Action, completer: Any) -> None:
    """Have an argument's values completed by a function of their beginning."""
    argument.completer = completer  # type: ignore[attr-defined]


def answer(parser: argparse.ArgumentParser) -> None:
    """Tell the shell what completes its line, where it asks, and end; otherwise do nothing."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
