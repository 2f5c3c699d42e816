"""The command line's `data`: what there is, fetch it, check it, look at it, make the like."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcn_tutorial import display
from fcn_tutorial.cli import completing, configuring
from fcn_tutorial.files import data_folder, number_of, replacing

if TYPE_CHECKING:  # the modules themselves are loaded by the verb that needs them
    from fcn_tutorial.datasets.source import Source
    from fcn_tutorial.datasets.spec import Data

_RESOLUTION = 150  # pixels to the inch of a contact sheet
#: Settings of `train --set data.…` that are options here: (what follows, what it is).
_SETTINGS = {
    "images": ("DIR", "your photos"),
    "masks": ("DIR", "their masks"),
    "classes": ("FILE", "one name a line, or names with commas"),
    "colours": ("FILE", "CSV of name,r,g,b, or YAML, or name=#rrggbb,…"),
    "mask_suffix": ("TEXT", "such as _mask"),
}


def add_to(verbs: Any) -> None:
    """Add `data` and its own verbs to the subparsers of the command line."""
    data = verbs.add_parser("data", help="data sets: list, download, check, fix, preview, make")
    actions = data.add_subparsers(required=True, metavar="ACTION")

    verb = actions.add_parser("list", help="the data sets there are, or all about one")
    completing.by(verb.add_argument("name", nargs="?", metavar="NAME"), completing.data_sets)
    verb.set_defaults(run=_list)

    verb = actions.add_parser("download", help="fetch a data set; a second call goes on")
    completing.by(verb.add_argument("name", metavar="NAME"), completing.data_sets)
    verb.add_argument("--to", type=Path, metavar="DIR", help="folder for all data sets [FCN_DATA]")
    verb.set_defaults(run=_download)

    verb = actions.add_parser("check", help="counts, labels, unreadable files, splits that leak")
    _add_source(verb)
    verb.set_defaults(run=_check, refuse=verb.error)

    verb = actions.add_parser(
        "fix", help="write a copy of your masks without blur, in palette PNG named as the photos"
    )
    _add_source(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    verb.set_defaults(run=_fix, refuse=verb.error)

    verb = actions.add_parser("preview", help="a sheet of images and their labels")
    _add_source(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="FILE", help="a PNG")
    verb.add_argument("--count", type=int, default=6, metavar="N", help="images on the sheet [6]")
    verb.set_defaults(run=_preview, refuse=verb.error)

    verb = actions.add_parser("make", help="write generated scenes in a data set's layout")
    completing.by(
        verb.add_argument("name", metavar="NAME", help="as in `list`"), completing.data_sets
    )
    verb.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="[FCN_DATA]")
    verb.add_argument("--n", type=int, default=20, metavar="N", help="images in a split [20]")
    verb.add_argument("--size", metavar="HxW", help="rows and columns [those of the data set]")
    verb.add_argument("--seed", type=int, default=0, metavar="S", help="another one, other scenes")
    verb.set_defaults(run=_make, refuse=verb.error)


def _add_source(verb: argparse.ArgumentParser) -> None:
    completing.by(
        verb.add_argument("name", metavar="NAME", help="`folder` for your own images and masks"),
        completing.data_sets,
    )
    verb.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="[FCN_DATA]")
    verb.add_argument("--split", metavar="S", help="one split only; for `folder` also a list")
    own = verb.add_argument_group("settings of a data set that has them, as `folder`")
    for name, (metavar, explained) in _SETTINGS.items():
        own.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=explained)
    own.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as of train"
    )
    configuring.add_config(own)


def _list(options: argparse.Namespace) -> int:
    from fcn_tutorial.datasets import sources

    if options.name is not None:
        print(_about(sources.get(options.name)))
        return 0
    rows = [("name", "on disk", "classes", "source", "licence")]
    for source in sources.SOURCES.values():
        disk = f"{source.disk:.1f} GB" if source.disk else "–"
        rows.append((source.name, disk, str(source.classes or "–"), source.address, source.licence))
    for line in display.aligned(rows, left=len(rows[0])):
        print(line.rstrip())
    return 0


def _about(source: Source) -> str:
    lines = [f"{source.name}: {source.title}", f"source: {source.address}"]
    lines += [f"licence: {source.licence}"]
    if source.citation:
        lines.append(f"cite: {source.citation}")
    if source.counts:
        counts = (f"{split} {count:,}" for split, count in source.counts.items())
        lines.append(f"images: {', '.join(counts)}")
    if source.folder:
        lines.append(f"folder: {source.folder}, in the one that FCN_DATA names")
    for remote in source.files:
        size = f"{remote.size:,} bytes" if remote.size else "size not known"
        lines.append(f"file: {remote.urls[0]} ({size}, md5 {remote.md5 or 'not known'})")
    lines += [f"by hand {number}: {step}" for number, step in enumerate(source.manual, 1)]
    return "\n".join([*lines, *([f"note: {source.note}"] if source.note else [])])


def _download(options: argparse.Namespace) -> int:
    from fcn_tutorial.datasets import download, sources

    source = sources.get(options.name)
    root = data_folder(options.to, "name the data folder: give --to DIR")
    if download.download(source, root):
        print(
            f"{source.name} is in {root}; `fcn-tutorial data check {source.name} {root}` reads it"
        )
    return 0


def _check(options: argparse.Namespace) -> int:
    from fcn_tutorial.datasets import checking, sources
    from fcn_tutorial.datasets.own.wording import as_settings

    source = sources.get(options.name)
    report = checking.check(source, _settings(source, options), options.folder, options.split)
    print(as_settings(str(report)))
    if report.values.form is not None:
        _write_form(*report.values.form)
    if report.problems:
        count = len(report.problems)
        print(f"fcn-tutorial: {source.name}: {number_of(count, 'problem')}", file=sys.stderr)
    return 1 if report.problems else 0


def _write_form(path: Path, text: str) -> None:
    """A file for the user to fill in; one that is there may be filled in already."""
    if path.exists():
        print(f"{path} is there already: name it in the settings, or move it away")
        return
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    print(f"written: {path}; fill in the names, and it will be found there")


def _fix(options: argparse.Namespace) -> int:
    from fcn_tutorial.datasets import sources

    source = sources.get(options.name)
    found = source.mended(_settings(source, options), options.folder, options.out)
    print("\n".join(found.lines))
    if found.form is not None:
        _write_form(*found.form)
    if found.problems:
        raise ValueError(found.problems[0])
    print(f"`fcn-tutorial data check {source.name} {options.out}` reads it")
    return 0


def _preview(options: argparse.Namespace) -> int:
    from fcn_tutorial import visualize
    from fcn_tutorial.datasets import sources

    source = sources.get(options.name)
    if options.count < 1:
        options.refuse(f"--count {options.count}: at least 1")
    if options.out.suffix.lower() != ".png":
        options.refuse(f"--out {options.out}: the sheet is a PNG")
    dataset = source.preview(_settings(source, options), options.split, options.folder)
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
    from fcn_tutorial.datasets import sources

    source = sources.get(options.name)
    if source.writer is None:
        known = ", ".join(other.name for other in sources.SOURCES.values() if other.writer)
        raise ValueError(f"{source.name} has no layout to write; there are {known}")
    size = {}
    if options.size is not None:
        if match := re.fullmatch(r"(\d+)[x×](\d+)", options.size):
            size["size"] = (int(match[1]), int(match[2]))
        else:
            options.refuse(f"--size {options.size}: rows and columns, as in 128x160")
    root = data_folder(options.folder, "name the data folder: give DIR")
    source.writer(root, n=options.n, seed=options.seed, **size)
    name = source.name
    print(f"generated {name} is in {root}; `fcn-tutorial data check {name} {root}` reads it")
    return 0


def _settings(source: Source, options: argparse.Namespace) -> Data:
    """What is read of a data set: what a file of settings says, and then what the options do."""
    config = configuring.read(options)
    if config is not None and options.folder is None:
        options.folder = config.data
    given = {name: value for name in _SETTINGS if (value := getattr(options, name)) is not None}
    spec = source.settings(**given)
    if config is None and not options.set:
        return spec
    from fcn_tutorial import training

    recipe = dataclasses.replace(training.get("folder"), data=source.settings())
    texts = [*(f"data.{name}={value}" for name, value in given.items()), *options.set]
    return configuring.override(recipe, config, texts, options.folder)[0].data
