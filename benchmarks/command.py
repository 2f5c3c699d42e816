"""What the commands of this folder share: arguments, a line of progress, the file they leave."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from benchmarks.timing import ROOT
from fcn_tutorial.files import write_atomically
from fcn_tutorial.training.run import provenance

RESULTS = ROOT / "benchmarks" / "results"

Material = TypeVar("Material")


class Plan(NamedTuple):
    """Where to run, which parts, and where to write; path is None for a run that is not kept."""

    device: torch.device
    chosen: list[str]
    path: Path | None


def parser(name: str, doc: str | None, parts: Collection[str]) -> argparse.ArgumentParser:
    """Arguments of `python -m benchmarks.NAME`, whose `--only` takes the names of its parts."""
    summary, *_ = (doc or "").splitlines()
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=summary)
    made.add_argument(
        "--only", action="append", choices=list(parts), help="run this part; repeatable"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument(
        "--smoke", action="store_true", help="tiny sizes: shows that it runs, times mean nothing"
    )
    made.add_argument("--threads", type=positive, metavar="N", help="CPU threads of torch")
    return made


def plan(args: argparse.Namespace, name: str, parts: Collection[str]) -> Plan | None:
    """What the arguments ask for; None, and a clear line on stderr, where the device is not there.

    The parts are in the order in which `--only` names them. A complete run that is not a smoke run
    is kept in `benchmarks/results` unless `--json` says
    where. Sets torch's threads, and makes the folder of the file.
    """
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("--device cuda: torch sees no CUDA device; use --device cpu", file=sys.stderr)
        return None
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    chosen = list(dict.fromkeys(args.only or parts))
    path = args.json
    if path is None and len(chosen) == len(parts) and not args.smoke:
        path = RESULTS / f"{name}-{device.type}.json"
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    return Plan(device, chosen, path)


def head(schema: int, device: torch.device, smoke: bool) -> dict[str, Any]:
    """What every record begins with."""
    return {
        "schema": schema,
        **provenance(device),
        "device_kind": device.type,
        "threads": torch.get_num_threads(),
        "smoke": smoke,
    }


def in_parts(
    name: str,
    doc: str | None,
    schema: int,
    parts: Mapping[str, Callable[[Material], Any]],
    prepared: Callable[[bool], tuple[Material, Mapping[str, Any]]],
    arguments: Sequence[str] | None,
) -> int:
    """A command whose parts read one material, each a key of its file; returns the exit status.

    `prepared` takes whether it is a smoke run, and gives the material and the settings that the
    file tells. The file is written after each part, so that what ends the next one loses it alone.
    """
    args = parser(name, doc, parts).parse_args(arguments)
    planned = plan(args, name, parts)
    if planned is None:
        return 1
    material, settings = prepared(args.smoke)
    record = {**head(schema, planned.device, args.smoke), "settings": settings}
    for part in planned.chosen:
        print(part, flush=True)
        record[part] = parts[part](material)
        keep(record, planned.path)
    tell(planned.path)
    return 0


def keep(record: Mapping[str, Any], path: Path | None) -> None:
    """Write the record, whole or not at all."""
    if path is not None:
        write_atomically(path, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def tell(path: Path | None) -> None:
    """Say where the record is, if it was kept."""
    if path is not None:
        print(f"wrote {path}")


class Progress:
    """One line on a terminal, overwritten by the next; silent where nobody watches."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __call__(self, text: str) -> None:
        """Show `text` behind the prefix, in place of what was there."""
        if sys.stderr.isatty():
            print(f"\r\x1b[K{self.prefix}: {text}"[:100], end="", file=sys.stderr, flush=True)

    @staticmethod
    def clear() -> None:
        """Leave the line to what is printed next."""
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def positive(text: str) -> int:
    """A whole number of at least one, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number
