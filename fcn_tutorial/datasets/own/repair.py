"""Corrected copies of masks where that is mechanical: blur, colours, names, sizes, turned photos.

What a mask means is never guessed: each pixel gets the label that its value is nearest to, or, on
a border, the label of the nearest pixel whose value is certain.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_tutorial.datasets.formats.images import picture, read_painted
from fcn_tutorial.datasets.own import pairing
from fcn_tutorial.datasets.own.classes import VOID, is_void, read_classes
from fcn_tutorial.datasets.own.colours import read_colours
from fcn_tutorial.datasets.own.doubt import doubt
from fcn_tutorial.datasets.own.folder import orientation, turn
from fcn_tutorial.datasets.own.labelling import Unnamed, beside, count_classes
from fcn_tutorial.datasets.own.mask_files import Colour, code, coded, colour
from fcn_tutorial.datasets.own.pairing import LOSSY_SUFFIXES, MASK_SUFFIXES, Names
from fcn_tutorial.datasets.own.survey import Survey, survey_numbers, survey_picture
from fcn_tutorial.datasets.readers.pascal import palette
from fcn_tutorial.files import first_few, replacing

_AROUND = 7  # pixels, across, in which a pixel's label is looked for
_SURE = 16  # levels by which each channel may be off for a value to count as a label's


@dataclass(frozen=True)
class Repair:
    """What was written.

    Attributes:
        masks: how many masks there are now.
        classes: their names, by label.
        moved: masks of which pixels were given the label of their neighbourhood, and how many
            pixels of all.
        turned, resized: masks that were turned as their photo's EXIF says, or brought to its size.
    """

    masks: int
    classes: tuple[str, ...]
    moved: tuple[int, int]
    turned: int
    resized: int


@dataclass(frozen=True)
class _Meaning:
    """Labels by the value they have in the files."""

    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    labels: Mapping[int, int]
    coloured: bool


def repair(
    images: Path,
    masks: Path,
    out: Path,
    classes: Sequence[str] | str | Path | None = None,
    colours: Mapping[str, Any] | str | Path | None = None,
    names: Names | None = None,
) -> Repair:
    """Write `out/images`, `out/masks` and `out/classes.txt`, which `Folder` takes as they are.

    Photos are copied, masks become palette PNG files of their names. JPEG masks are read too.
    Arguments are those of `Folder`; `classes` and `colours` are looked for beside the masks as
    there. Names of blurred grey masks go to their levels in ascending order; clean numbers without
    names are those of `Folder`, class 0 to the highest.

    Raises:
        ValueError, FileNotFoundError: where it is not plain what a value means, where sizes do
            not fit, and where `out` is not empty or lies among the photos or masks.
    """
    found = pairing.find(images, masks, names or Names(), MASK_SUFFIXES + LOSSY_SUFFIXES)
    pairing.check_partners(found)
    _check_out(out, found.folders)
    if colours is None and classes is None:
        colours = beside(found.folders[1], "colours.csv")
        classes = beside(found.folders[1], "classes.txt")
    files = [found.masks[key] for key in found.images]
    meaning = _meaning(files, found.folders[1], classes, colours)
    moved = pixels = turned = resized = 0
    for key, image in found.images.items():
        labels, off = _labels(found.masks[key], meaning)
        moved, pixels = moved + bool(off), pixels + off
        fitted = _fit(labels, image, found.masks[key])
        turned += fitted.shape != labels.shape and fitted.shape == labels.shape[::-1]
        resized += fitted.shape not in (labels.shape, labels.shape[::-1])
        below = Path(key).parent / image.name
        _write((out / "masks" / below).with_suffix(".png"), fitted, meaning.colours)
        copy = out / "images" / below
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, copy)
    with replacing(out / "classes.txt") as partial:
        partial.write_text("".join(f"{name}\n" for name in meaning.classes), encoding="utf-8")
    return Repair(len(files), meaning.classes, (moved, pixels), turned, resized)


def _check_out(out: Path, folders: tuple[Path, Path]) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: is not empty; name a new folder")
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"--out {out}: lies in {folder}; name a folder outside of it")


def _meaning(
    masks: Sequence[Path],
    folder: Path,
    classes: Sequence[str] | str | Path | None,
    colours: Mapping[str, Any] | str | Path | None,
) -> _Meaning:
    if colours is not None:
        entries = read_colours(colours)
        names = list(dict.fromkeys(name for name, _ in entries))
        shown = {name: rgb for name, rgb in reversed(entries)}
        values = {code(rgb): name for name, rgb in entries}
        if classes is not None:
            names = [name for name in read_classes(classes) if name in shown]
        _check_named(masks, sorted(values))
        return _numbered(names, values, shown, True)
    found = Survey()
    for path in masks:
        pixels = _read(path, coloured=False)
        grey = bool((pixels == pixels[..., :1]).all())
        found.add(survey_numbers(pixels[..., 0], path) if grey else survey_picture(pixels, path))
    if found.coloured:
        seen = Survey(coloured=True)
        for path in masks:
            painted, clear = read_painted(path)
            part = survey_picture(painted, path)
            part.transparent = clear
            seen.add(part)
        raise Unnamed(folder, seen)
    names = list(read_classes(classes)) if classes is not None else []
    if not names and _are_numbers(found):
        names = list(count_classes(masks))
    levels = _levels(found, names, folder)
    names = names or list(levels.values())
    return _numbered(names, levels, dict(zip(names, palette(len(names)), strict=True)), False)


def _check_named(masks: Sequence[Path], known: Sequence[int]) -> None:
    """Raise ValueError for what was painted, or left unpainted, in a colour that has no name."""
    for path in masks:
        pixels, clear = read_painted(path)
        if clear and 0 not in known:
            raise ValueError(
                f"{path}: {clear:,} pixels are transparent, which counts as black, and colours "
                "names no (0, 0, 0). Add it, under the name 'void' to leave these pixels out"
            )
        if strange := survey_picture(pixels, path).patches(known):
            shown = first_few([str(colour(value)) for value in strange])
            raise ValueError(
                f"{path}: {shown}: painted, not blurred, in a colour that colours does not name. "
                "Add it, under the name 'void' to leave these pixels out"
            )


def _numbered(
    names: Sequence[str], values: Mapping[int, str], shown: Mapping[str, Colour], coloured: bool
) -> _Meaning:
    kept = [name for name in names if not is_void(name)]
    labels = {value: kept.index(name) if name in kept else VOID for value, name in values.items()}
    return _Meaning(tuple(kept), tuple(shown[name] for name in kept), labels, coloured)


def _are_numbers(found: Survey) -> bool:
    """Whether clean masks have values too close for levels of grey: numbers, as the check has."""
    return not doubt(found) and not {*found.values, VOID} <= {*found.centres(), VOID}


def _levels(found: Survey, names: Sequence[str], folder: Path) -> dict[int, str]:
    """Which number stands for which name."""
    centres = sorted(found.centres())
    small = [value for value in found.values if value != VOID]
    if names and max(small, default=0) < len(names):
        return {**dict(enumerate(names)), VOID: "void"}
    if found.is_crowded_together() or (len(centres) < 2 and not names):
        raise ValueError(
            f"{folder}: the values {first_few(list(map(str, sorted(found.values))))} are too close "
            "for a label to be told from the blur of another; save the masks again as PNG, without "
            "JPEG in between and resized by nearest neighbour"
        )
    if names and len(centres) != len(names):
        raise ValueError(
            f"{folder}: the values cluster at {', '.join(map(str, centres))}, which are "
            f"{len(centres)}, but there are {len(names)} names; name one class for each"
        )
    return dict(zip(centres, names or [f"class {i}" for i in range(len(centres))], strict=True))


def _labels(path: Path, meaning: _Meaning) -> tuple[NDArray[np.uint8], int]:
    """Labels (H, W) of a mask, and how many pixels were of no label's value."""
    pixels = _read(path, meaning.coloured)
    keys = np.array(sorted(meaning.labels))
    named = np.array([meaning.labels[int(key)] for key in keys], np.uint8)
    values = coded(pixels) if meaning.coloured else pixels[..., 0].astype(np.int32)
    place = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
    labels = named[place]
    strange = keys[place] != values
    off = int(strange.sum())
    if off:
        labels[strange] = _nearest(pixels, strange, labels, keys, named, meaning)
    return labels, off


def _nearest(
    pixels: NDArray[np.uint8],
    strange: NDArray[np.bool_],
    labels: NDArray[np.uint8],
    keys: NDArray[np.int64],
    named: NDArray[np.uint8],
    meaning: _Meaning,
) -> NDArray[np.uint8]:
    """Labels of the pixels that have no label's value."""
    from scipy.ndimage import distance_transform_edt, maximum_filter

    levels = np.array([colour(int(k)) if meaning.coloured else (int(k),) * 3 for k in keys])
    kinds, inverse = np.unique(pixels[strange], axis=0, return_inverse=True)
    inverse = inverse.ravel()
    apart = np.abs(kinds[:, None].astype(np.int32) - levels).max(-1)  # (kinds, labels)
    sure = (apart.min(1) <= _SURE) | (len(keys) == 2)  # between two labels there is no third
    nearest: NDArray[np.uint8] = named[apart.argmin(1)][inverse]
    certain = ~strange
    certain[strange] = sure[inverse]
    if certain.all() or not certain.any():
        return nearest
    # A pixel of a border is one of what lies around it, and of these the one of nearest value.
    whole = labels.copy()
    whole[strange] = nearest
    place = distance_transform_edt(~certain, return_distances=False, return_indices=True)
    best = np.where(sure[inverse], nearest, whole[tuple(place)][strange])
    least = np.where(sure[inverse], -1, np.iinfo(np.int32).max)
    for key, label in enumerate(named):
        around = maximum_filter(certain & (whole == label), size=_AROUND)[strange]
        distance = apart[inverse, key]
        closer = around & (distance < least)
        best[closer], least[closer] = label, distance[closer]
    return np.asarray(best, np.uint8)


def _read(path: Path, coloured: bool) -> NDArray[np.uint8]:
    """Pixels (H, W, 3), the numbers of a palette image as equal channels unless colours count."""
    if not coloured:
        with picture(path) as image:
            if image.mode == "P":
                return np.repeat(np.array(image)[..., None], 3, -1)
    return read_painted(path)[0]


def _fit(labels: NDArray[np.uint8], image: Path, mask: Path) -> NDArray[np.uint8]:
    """The labels as the upright photo lies: turned as it was, or resized to its size."""
    with picture(image) as photo:
        width, height = photo.size
    turned = orientation(image)
    upright = (width, height) if turned in (5, 6, 7, 8) else (height, width)
    if labels.shape == upright:
        return labels
    if labels.shape == (height, width):  # drawn on the pixels of the file
        return turn(labels, turned)
    ratio = labels.shape[0] * upright[1] / (labels.shape[1] * upright[0])
    if abs(ratio - 1) > 0.02:
        raise ValueError(
            f"{mask} is {labels.shape[1]}×{labels.shape[0]}, but {image} is "
            f"{upright[1]}×{upright[0]}, of another shape: no label would lie on its pixel"
        )
    return np.array(Image.fromarray(labels).resize(upright[::-1], Image.Resampling.NEAREST))


def _write(path: Path, labels: NDArray[np.uint8], colours: Sequence[Colour]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels)
    shown = [*colours, *[(0, 0, 0)] * (VOID - len(colours)), (255, 255, 255)]
    image.putpalette([level for rgb in shown for level in rgb])
    with replacing(path) as partial:
        image.save(partial)
