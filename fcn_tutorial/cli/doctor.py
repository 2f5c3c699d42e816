"""The verb `doctor`: what is installed, on which devices, which data are found, what to do next."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Any

from fcn_tutorial import __version__
from fcn_tutorial.files import fcn_data, number_of

if TYPE_CHECKING:
    from fcn_tutorial.datasets.source import Source

_NAME = "fcn-tutorial"
#: The extras that commands and modules ask for, and what for.
_EXTRAS = {
    "export": "`export --to onnx`",
    "prior": "the superpixels of `fcn_tutorial.prior`",
    "train": "`train --tensorboard`",
    "completion": "commands and names completed by the shell",
}


@dataclass(frozen=True)
class Finding:
    """What is known of one requirement: its line, and whether all is well."""

    name: str
    told: str
    well: bool = True


def add_to(verbs: Any) -> None:
    """Add the verb to a parser's subparsers."""
    verb = verbs.add_parser(
        "doctor", help="what is installed, devices, data sets found, and what to do next"
    )
    verb.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    processors = os.cpu_count()
    print(f"{_NAME} {__version__}, Python {platform.python_version()}")
    print(f"{platform.platform()}, {processors} processors, in {sys.prefix}")
    needed = requirements()
    _tell("needed", needed)
    extras = {name: requirements(name) for name in _EXTRAS}
    for name, findings in extras.items():
        _tell(f"extra `{name}`, for {_EXTRAS[name]}", findings)
    steps = [f"pip install '{f.name}'   # {f.told}" for f in needed if not f.well]
    if not steps:
        try:
            _tell("devices", devices())
        except (ImportError, RuntimeError, OSError) as error:
            # A torchvision of another torch ends so.
            print(f"\ntorch and torchvision do not work together: {error}")
            steps.append("pip install --force-reinstall torch torchvision   # one pair")
    ready = not steps
    if ready:
        _tell(f"data (FCN_DATA={fcn_data() or 'not set'})", found := data_sets())
        steps += next_steps(found, extras)
    print("\nnext")
    for step in steps:
        print(f"  {step}")
    return 0 if ready else 1


def requirements(extra: str = "") -> list[Finding]:
    """What the installed package declares that it needs, or needs for an extra.

    Nothing where it was never installed.
    """
    try:
        declared = requires(_NAME) or []
    except PackageNotFoundError:
        return []
    marker = re.compile(rf"""extra\s*==\s*["']{extra}["']""") if extra else None
    lines = [
        line.partition(";")[0].strip()
        for line in declared
        if (marker.search(line) if marker else "extra" not in line)
    ]
    return [_required(line) for line in sorted(lines)]


def _required(line: str) -> Finding:
    """One requirement such as `torch>=2.4` beside what is installed."""
    name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
    lowest = re.search(r">=\s*([\w.]+)", line)
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(line, "not installed", False)
    if lowest and _numbers(installed) < _numbers(lowest[1]):
        return Finding(line, f"{installed} is too old", False)
    return Finding(line, installed)


def _numbers(text: str) -> list[int]:
    """The release of a version, which compares as it should: 2.13.0+cpu is [2, 13, 0]."""
    return [int(part) for part in re.match(r"[\d.]*", text)[0].split(".") if part]  # type: ignore[index]


def devices() -> list[Finding]:
    """Where networks can run here.

    Raises:
        ImportError, RuntimeError, OSError: where torch does not work.
    """
    import torch

    from fcn_tutorial import vision  # noqa: F401  (torchvision works beside this torch)

    found = [Finding("cpu", number_of(torch.get_num_threads(), "thread"))]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        memory = f"{properties.total_memory / 1e9:.0f} GB"
        found.append(Finding(f"cuda:{number}", f"{properties.name}, {memory}"))
    if len(found) == 1:
        built = torch.version.cuda
        reason = f"torch is built for CUDA {built}, no device answers" if built else "a CPU torch"
        found.append(Finding("cuda", f"none ({reason})"))
    if torch.backends.mps.is_available():
        found.append(Finding("mps", "there, not tested: name it with --device mps"))
    return found


def data_sets() -> list[Finding]:
    """The data sets that have a folder below the one that FCN_DATA names, found or not."""
    from fcn_tutorial.datasets import sources

    return [_data_set(source) for source in sources.SOURCES.values() if source.folder]


def _data_set(source: Source) -> Finding:
    """Found where its reader opens the splits that a download brings."""
    root = fcn_data()
    if root is None or not (root / source.folder).is_dir():
        return Finding(source.name, f"{source.folder}/ not there", False)
    try:
        for part in source.parts:
            source.read(source.settings(), part, None)
    except (OSError, ValueError) as error:
        return Finding(source.name, f"{source.folder}/ is incomplete: {error}", False)
    return Finding(source.name, f"{source.folder}/ found")


def next_steps(data: list[Finding], extras: dict[str, list[Finding]]) -> Iterator[str]:
    """Commands that make sense now."""
    found, root = [f.name for f in data if f.well], fcn_data()
    if root is not None and root.exists() and not root.is_dir():
        yield f"export FCN_DATA=DIR                  # {root} is a file; name a folder"
    elif root is not None and not root.is_dir():
        yield f"mkdir -p {shlex.quote(str(root))}   # FCN_DATA names it, and it is not there"
    yield f"{_NAME} train scenes-fcn8s    # needs no data: two minutes on two processors"
    for name in found:
        yield f"{_NAME} data check {name}"
    if root is None:
        yield "export FCN_DATA=DIR                  # a folder for all data sets"
    if not found:
        yield f"{_NAME} data list               # what there is; `data download NAME` fetches"
    missing = [name for name, parts in extras.items() if any(not f.well for f in parts)]
    for name in missing:
        yield f"pip install '{_NAME}[{name}]'   # for {_EXTRAS[name]}"


def _tell(title: str, findings: list[Finding]) -> None:
    if not findings:
        return  # of an installed version that declares nothing of the kind
    print(f"\n{title}")
    width = max((len(f.name) for f in findings), default=0)
    for finding in findings:
        print(f"  {finding.name:{width}}  {finding.told}")
