"""The command line's `data`: what there is, fetch it, check it, look at it, make the like."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the modules themselves are loaded by the verb that needs them
    from fcn_tutorial.datasets.catalogue import Entry

_RESOLUTION = 150  # pixels to the inch of a contact sheet


def add_to(verbs: Any) -> None:
    """Add `data` and its own verbs to the subparsers of the command line."""
    data = verbs.add_parser("data", help="data sets: list, download, check, preview, make")
    actions = data.add_subparsers(required=True, metavar="ACTION")

    verb = actions.add_parser("list", help="the data sets there are, or all about one")
    verb.add_argument("name", nargs="?", metavar="NAME")
    verb.set_defaults(run=_list)

    verb = actions.add_parser("download", help="fetch a data set; a second call goes on")
    verb.add_argument("name", metavar="NAME")
    verb.add_argument("--to", type=Path, metavar="DIR", help="folder for all data sets [FCN_DATA]")
    verb.set_defaults(run=_download)

    verb = actions.add_parser("check", help="counts, labels, unreadable files, splits that leak")
    _add_source(verb)
    verb.set_defaults(run=_check, refuse=verb.error)

    verb = actions.add_parser("preview", help="a sheet of images and their labels")
    _add_source(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="FILE", help="a PNG")
    verb.add_argument("--count", type=int, default=6, metavar="N", help="images on the sheet [6]")
    verb.set_defaults(run=_preview, refuse=verb.error)

    verb = actions.add_parser("make", help="write generated scenes in a data set's layout")
    verb.add_argument("name", metavar="NAME", help="as in `list`; `voc` for both years and sbd")
    verb.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="[FCN_DATA]")
    verb.add_argument("--n", type=int, default=20, metavar="N", help="images in a split [20]")
    verb.add_argument("--size", metavar="HxW", help="rows and columns [those of the data set]")
    verb.add_argument("--seed", type=int, default=0, metavar="S", help="another one, other scenes")
    verb.set_defaults(run=_make, refuse=verb.error)


def _add_source(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", help="`folder` for your own images and masks")
    verb.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="[FCN_DATA]")
    verb.add_argument("--split", metavar="S", help="one split only; for `folder` also a list")
    own = verb.add_argument_group("for `folder`")
    own.add_argument("--images", type=Path, metavar="DIR")
    own.add_argument("--masks", type=Path, metavar="DIR")
    own.add_argument("--classes", metavar="FILE", help="one name a line, or names with commas")
    own.add_argument("--colours", type=Path, metavar="FILE", help="CSV of name,r,g,b, or YAML")
    own.add_argument("--mask-suffix", default="", metavar="TEXT", help="such as _mask")


def _list(options: argparse.Namespace) -> int:
    from fcn_tutorial.datasets import catalogue

    if options.name is not None:
        print(_about(catalogue.get(options.name)))
        return 0
    rows = [("name", "on disk", "classes", "source", "licence")]
    for entry in catalogue.CATALOGUE.values():
        disk = f"{entry.disk:.1f} GB" if entry.disk else "–"
        rows.append((entry.name, disk, str(entry.classes or "–"), entry.source, entry.licence))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    return 0


def _about(entry: Entry) -> str:
    lines = [f"{entry.name}: {entry.title}", f"source: {entry.source}"]
    lines += [f"licence: {entry.licence}"]
    if entry.citation:
        lines.append(f"cite: {entry.citation}")
    if entry.counts:
        counts = (f"{split} {count:,}" for split, count in entry.counts.items())
        lines.append(f"images: {', '.join(counts)}")
    if entry.folder:
        lines.append(f"folder: {entry.folder}, in the one that FCN_DATA names")
    for remote in entry.files:
        size = f"{remote.size:,} bytes" if remote.size else "size not known"
        lines.append(f"file: {remote.urls[0]} ({size}, md5 {remote.md5 or 'not known'})")
    lines += [f"by hand {number}: {step}" for number, step in enumerate(entry.manual, 1)]
    return "\n".join([*lines, *([f"note: {entry.note}"] if entry.note else [])])


def _download(options: argparse.Namespace) -> int:
    from fcn_tutorial.datasets import catalogue, download

    entry = catalogue.get(options.name)
    root = _folder(options.to, "--to DIR")
    if download.download(entry, root):
        print(f"{entry.name} is in {root}; `fcn-tutorial data check {entry.name} {root}` reads it")
    return 0


def _check(options: argparse.Namespace) -> int:
    from fcn_tutorial.datasets import catalogue, checking

    entry = catalogue.get(options.name)
    if entry.name == "scenes":
        raise ValueError("scenes are rendered from a seed: there are no files to check")
    if entry.name == "folder":
        opened = _own_parts(options)
        report = checking.check_splits(opened, list(opened))
    elif options.split is not None:
        root = checking.find_root(entry, _folder(options.folder, "DIR"))
        opened = {options.split: checking.open_split(entry, root, options.split)}
        report = checking.check_splits(opened, list(opened), entry.counts)
    else:
        report = checking.check(entry, _folder(options.folder, "DIR"))
    print(report)
    if report.problems:
        count = len(report.problems)
        noun = "problem" if count == 1 else "problems"
        print(f"fcn-tutorial: {entry.name}: {count} {noun}", file=sys.stderr)
    return 1 if report.problems else 0


def _preview(options: argparse.Namespace) -> int:
    from fcn_tutorial import visualize
    from fcn_tutorial.datasets import catalogue

    entry = catalogue.get(options.name)
    if options.count < 1:
        options.refuse(f"--count {options.count}: at least 1")
    if options.out.suffix.lower() != ".png":
        options.refuse(f"--out {options.out}: the sheet is a PNG")
    dataset = _open_one(entry, options)
    count = min(options.count, len(dataset))
    chosen = [dataset[place * len(dataset) // count] for place in range(count)]
    images, masks = zip(*chosen, strict=True)
    sheet = visualize.show_segmentation(
        images, masks, classes=dataset.classes, palette=dataset.palette
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(options.out, dpi=_RESOLUTION, facecolor="white")
    print(f"{count} of {len(dataset)} images: {options.out}")
    return 0


def _make(options: argparse.Namespace) -> int:
    from fcn_tutorial.datasets import catalogue, writers

    chosen = ("voc2011", "voc2012", "sbd") if options.name == "voc" else (options.name,)
    for name in chosen:
        if catalogue.get(name).name not in writers.WRITERS:
            known = ", ".join(("voc", *writers.WRITERS))
            raise ValueError(f"{name} has no layout to write; there are {known}")
    size = {}
    if options.size is not None:
        if match := re.fullmatch(r"(\d+)[x×](\d+)", options.size):
            size["size"] = (int(match[1]), int(match[2]))
        else:
            options.refuse(f"--size {options.size}: rows and columns, as in 128x160")
    root = _folder(options.folder, "DIR")
    for name in chosen:
        writers.WRITERS[name](root, n=options.n, seed=options.seed, **size)
        print(f"generated {name} is in {root}; `fcn-tutorial data check {name} {root}` reads it")
    return 0


def _open_one(entry: Entry, options: argparse.Namespace) -> Any:
    from fcn_tutorial.datasets import Scenes, checking

    if entry.name == "folder":
        return _own(options, options.split)
    if entry.name == "scenes":
        return Scenes(n=options.count, split=options.split or "train")
    root = checking.find_root(entry, _folder(options.folder, "DIR"))
    return checking.open_split(entry, root, options.split or entry.parts[0])


def _own(options: argparse.Namespace, split: str | None) -> Any:
    """The user's own folders, as the options name them."""
    from fcn_tutorial.datasets import Folder
    from fcn_tutorial.datasets.own.folder import names_or_file
    from fcn_tutorial.datasets.own.pairing import Names

    if options.images is None or options.masks is None:
        options.refuse("folder needs --images DIR and --masks DIR")
    return Folder(
        options.images, options.masks, names_or_file(options.classes or ""), split,
        colours=options.colours, names=Names(mask_suffix=options.mask_suffix),
    )  # fmt: skip


def _own_parts(options: argparse.Namespace) -> Mapping[str, Any]:
    """What to check: the split that is named, or train and val as they are drawn by default."""
    whole = _own(options, options.split)
    if options.split is not None or len(whole) < 2:
        return {options.split or "all": whole}
    return {split: _own(options, split) for split in ("train", "val")}


def _folder(named: Path | None, option: str) -> Path:
    if named is None and "FCN_DATA" in os.environ:
        return Path(os.environ["FCN_DATA"])
    if named is None:
        raise FileNotFoundError(f"name the data folder: give {option}, or set FCN_DATA")
    return named
