"""Whoever names a file may name it as a string: every path that the package takes in public."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fcn_tutorial
from fcn_tutorial import models, training

#: What other modules call with paths that they have made, and people do not.
INTERNAL = ("__main__", "cli", "files", "datasets.formats", "datasets.source", "datasets.download")


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions, constructors and class methods that a package, or a module of its own, offers."""
    for info in pkgutil.walk_packages(fcn_tutorial.__path__, "fcn_tutorial."):
        name = info.name.removeprefix("fcn_tutorial.")
        if name.startswith(INTERNAL):
            continue
        module = importlib.import_module(info.name)
        own = [n for n, o in vars(module).items() if getattr(o, "__module__", "") == info.name]
        offered = getattr(module, "__all__", own if "." not in name else ())
        for item in (getattr(module, n) for n in offered if not n.startswith("_")):
            if inspect.isfunction(item):
                yield f"{name}.{item.__name__}", item
            elif inspect.isclass(item):
                made = [v.__func__ for v in vars(item).values() if isinstance(v, classmethod)]
                for function in (item.__init__, *made):
                    if inspect.isfunction(function):
                        yield f"{name}.{function.__qualname__}", function


def test_every_path_may_be_a_string() -> None:
    found = dict(public())
    assert {"models.load", "predict.Predictor.load", "training.train"} <= set(found)
    refused = [
        f"{name}({parameter.name})"
        for name, function in found.items()
        for parameter in inspect.signature(function).parameters.values()
        if "Path" in (taken := str(parameter.annotation))
        and not re.search(r"\bstr\b|PathLike|Files", taken)
    ]
    assert refused == []


def test_a_run_is_made_read_and_started_from_with_strings(tmp_path: Path) -> None:
    recipe = training.smoke(training.get("scenes-fcn8s"))
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    training.train(recipe, first)
    models.load(f"{first}/best.safetensors")
    record = training.train(recipe, second, weights=first)
    assert record["train"]["weights"]["files"][0]["name"] == "best.safetensors"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        training.open_split(training.get("camvid-fcn8s"), "train", str(tmp_path / "nowhere"))
