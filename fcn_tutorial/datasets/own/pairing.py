"""Which mask belongs to which image: by name, whatever folders, prefixes and endings surround it.

A pair has a key: the path below its folder, without the file's ending and without the prefix and
suffix that `Names` states, in Unicode's composed form (macOS stores "é" as two characters).
"""

from __future__ import annotations

import glob
import os
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from fcn_tutorial.files import first_few

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")
SPLITS = ("train", "val", "test")
#: Folders that part a data set, as they are called.
SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_TRIED = 12  # images, and masks for each, by which a missing prefix or suffix is guessed


@dataclass(frozen=True)
class Names:
    """What file names have before and after the part that an image and its mask share.

    `Names(image_suffix="_leftImg8bit", mask_suffix="_gtFine_labelIds")` pairs
    `a_leftImg8bit.png` with `a_gtFine_labelIds.png`; files that lack them are passed over.
    """

    image_prefix: str = ""
    image_suffix: str = ""
    mask_prefix: str = ""
    mask_suffix: str = ""

    def __repr__(self) -> str:
        given = [f"{key}={value!r}" for key, value in vars(self).items() if value]
        return f"Names({', '.join(given)})"

    def image(self, stem: str) -> str | None:
        """The shared part of an image's name, None where the name is not of that form."""
        return _between(stem, self.image_prefix, self.image_suffix)

    def mask(self, stem: str) -> str | None:
        """The same of a mask's name."""
        return _between(stem, self.mask_prefix, self.mask_suffix)


def _between(stem: str, prefix: str, suffix: str) -> str | None:
    prefix, suffix = composed(prefix), composed(suffix)
    inner = len(stem) - len(prefix) - len(suffix)
    if inner > 0 and stem.startswith(prefix) and stem.endswith(suffix):
        return stem[len(prefix) : len(prefix) + inner]
    return None


@dataclass(frozen=True)
class Files:
    """The images and masks of a folder by key, and where they lie."""

    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    folders: tuple[Path, Path]

    def part(self, key: str) -> str | None:
        """The split that a key's outermost folder names."""
        folder, slash, _ = key.partition("/")
        return SPLIT_FOLDERS.get(folder.lower()) if slash else None

    @property
    def parted(self) -> bool:
        """Whether folders part all images: `train` and at least one other."""
        parts = {self.part(key) for key in self.images}
        return None not in parts and "train" in parts and len(parts) > 1


def find(images: Path, masks: Path, names: Names, endings: Sequence[str] = MASK_SUFFIXES) -> Files:
    """Images and masks by key.

    Subfolders are looked into; names that begin with a dot are passed over. Both may be one folder:
    then what lies below folders called `images` and `masks` is taken, or, without such, masks lie
    beside their images and are told by their prefix or suffix, or by JPEG images and PNG masks.
    `endings`: of mask files.

    Raises:
        FileNotFoundError, ValueError: where a folder is no place to find them, for links that
            lead nowhere, for two files of one key and for masks saved as JPEG or WebP.
    """
    for name, folder in (("images", images), ("masks", masks)):
        if not folder.is_dir():
            raise FileNotFoundError(f"{name}={folder}: no such folder")
    inner = (images / "images", images / "masks")
    if images.resolve() == masks.resolve() and not (inner[0].is_dir() and inner[1].is_dir()):
        ours, theirs = _together(images, names)
    else:
        if images.resolve() == masks.resolve():
            images, masks = inner
        ours, theirs = ([(p, p) for p in _walk(folder)] for folder in (images, masks))
    found = _keyed(images, ours, IMAGE_SUFFIXES, "images", names)
    refused = {*LOSSY_SUFFIXES} - {*endings}
    lossy = [
        str(path)
        for path, _ in theirs
        if path.suffix.lower() in refused and names.mask(composed(path.stem)) is not None
    ]
    if lossy:
        raise ValueError(refusal(masks, lossy))
    labels = _keyed(masks, theirs, endings, "masks", names)
    files = Files(found, _as_images_lie(found, labels), (images, masks))
    return _without_unlabelled_test(files)


def refusal(folder: Path, lossy: Sequence[str]) -> str:
    """The message for masks in formats that change labels."""
    return (
        f"{folder}: {first_few(lossy)}: masks must not be JPEG or WebP, whose compression changes "
        "labels. Export them again as PNG, or let `fcn-tutorial data fix folder` write copies in "
        "which every pixel has the nearest label again"
    )


def composed(name: str) -> str:
    """A file name in Unicode's composed form."""
    return unicodedata.normalize("NFC", name)


Found = tuple[PurePosixPath, PurePosixPath]  # a file below its folder, and where its key has it


def _walk(folder: Path) -> list[PurePosixPath]:
    """Files below a folder, in order; a folder that a link leads back to is entered once."""
    found, seen, pending = [], set[str](), [(folder, PurePosixPath())]
    while pending:
        place, relative = pending.pop()
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                if entry.is_dir():
                    pending.append((place / entry.name, relative / entry.name))
                else:
                    found.append(relative / entry.name)
    return sorted(found)


def _together(folder: Path, names: Names) -> tuple[list[Found], list[Found]]:
    """Images and masks of one folder that holds both."""
    files = _walk(folder)
    below = {
        what: [(p, _without(p, what)) for p in files if what in _folders(p)]
        for what in ("images", "masks")
    }
    if below["images"] or below["masks"]:
        if missing := [what for what, inside in below.items() if not inside]:
            raise FileNotFoundError(
                f"{missing[0]}={folder / missing[0]}: no such folder, or nothing in it"
            )
        return below["images"], below["masks"]
    if names.mask_prefix or names.mask_suffix:
        marked = {p for p in files if names.mask(composed(p.stem)) is not None}
        return [(p, p) for p in files if p not in marked], [(p, p) for p in sorted(marked)]
    photos = [(p, p) for p in files if p.suffix.lower() in LOSSY_SUFFIXES]
    labels = [(p, p) for p in files if p.suffix.lower() in MASK_SUFFIXES]
    if not photos or not labels:
        inner = sorted({p.parts[0] for p in files if len(p.parts) > 1})
        holds = f", which holds the folders {first_few(inner)}" if inner else ""
        raise ValueError(
            f"images and masks are both {folder}{holds}; put the masks into a folder of their own, "
            "under the names of their images, or say by what their names differ: give "
            "names=Names(mask_suffix='_mask') or the like"
        )
    return photos, labels


def _folders(path: PurePosixPath) -> tuple[str, ...]:
    return tuple(part.lower() for part in path.parts[:-1])


def _without(path: PurePosixPath, what: str) -> PurePosixPath:
    """The path without its first folder of that name."""
    at = _folders(path).index(what)
    return PurePosixPath(*path.parts[:at], *path.parts[at + 1 :])


def _keyed(
    folder: Path, files: Sequence[Found], suffixes: Sequence[str], what: str, names: Names
) -> dict[str, Path]:
    cut = names.image if what == "images" else names.mask
    found: dict[str, Path] = {}
    broken = []
    for relative, place in files:
        if place.suffix.lower() not in suffixes or (core := cut(composed(place.stem))) is None:
            continue
        path = folder / relative
        if not path.exists():
            broken.append(path)
            continue
        key = composed(str(place.parent / core))
        if key in found:
            raise ValueError(
                f"{folder}: {found[key].relative_to(folder)} and {relative} have the same stem; "
                "remove or rename one of them"
            )
        found[key] = path
    if broken:
        text = f"{broken[0]}: a link to {os.readlink(broken[0])}, which is not there"
        more = f"; {len(broken) - 1} more links lead nowhere" if len(broken) > 1 else ""
        raise FileNotFoundError(f"{text}{more}. Bring the files back, or remove the links")
    if not found:
        raise ValueError(_nothing(folder, [p for p, _ in files], suffixes, what, names))
    return found


def _nothing(
    folder: Path, files: Sequence[PurePosixPath], suffixes: Sequence[str], what: str, names: Names
) -> str:
    singular = what[:-1]
    prefix, suffix = (getattr(names, f"{singular}_{end}") for end in ("prefix", "suffix"))
    ends = [f"begin with {prefix!r}"] * bool(prefix) + [f"end in {suffix!r}"] * bool(suffix)
    named = f" whose stems {' and '.join(ends)}" if ends else ""
    text = f"{folder}: holds no {what}{named} ({' '.join(suffixes)})"
    others = sorted({p.suffix.lower() or p.name for p in files} - set(suffixes))
    if others:
        return f"{text}; it holds {first_few(others)} files, convert them"
    if files:
        return f"{text}; it holds {first_few([str(p) for p in files])}"
    if inner := sorted(p.name for p in folder.iterdir() if p.is_dir()):
        return f"{text}, and neither do its folders ({first_few(inner)})"
    return f"{text}; it is empty, name the folder that holds them"


def _as_images_lie(images: Mapping[str, Path], masks: Mapping[str, Path]) -> Mapping[str, Path]:
    """Masks under the keys of images that lie in other folders, where names alone tell them apart.

    As in `images/day/a.jpg` with `masks/a.png`.
    """
    if images.keys() & masks.keys():
        return masks
    ours, theirs = ({key.rpartition("/")[2]: key for key in side} for side in (images, masks))
    if len(ours) < len(images) or len(theirs) < len(masks) or not ours.keys() & theirs.keys():
        return masks
    return {ours.get(name, key): masks[key] for name, key in theirs.items()}


def _without_unlabelled_test(files: Files) -> Files:
    """Without the images of a test folder none of which has a mask, as published sets have them."""
    if not files.parted:
        return files
    test = {key: path for key, path in files.images.items() if files.part(key) == "test"}
    if not test or test.keys() & files.masks.keys():
        return files
    kept = {key: path for key, path in files.images.items() if key not in test}
    return Files(kept, files.masks, files.folders)


def check_partners(files: Files, chosen: Mapping[str, Path] | None = None) -> None:
    """Check that images have masks and, where all are asked for, the other way round.

    chosen: {key of an image: its mask}, those that are needed. None: all images and all masks.

    Raises:
        ValueError: for those that have none.
    """
    if fault := next(without_partner(files, chosen), ""):
        raise ValueError(fault)


def without_partner(files: Files, chosen: Mapping[str, Path] | None = None) -> Iterator[str]:
    """What `check_partners` raises, one message for the images and one for the masks."""
    images, masks = files.images, files.masks
    there = set(masks.values())
    wanted = {key: masks.get(key) for key in images} if chosen is None else chosen
    if alone := [key for key, mask in wanted.items() if mask not in there]:
        have = "has" if len(alone) == 1 else "have"
        yield (
            f"{len(alone)} of {len(wanted)} images {have} no mask in {files.folders[1]}: "
            f"{first_few([images[key].name for key in alone])}. "
            f"{_remedy(alone, [key for key in masks if key not in images])}"
        )
    if chosen is None and (left := [key for key in masks if key not in images]):
        have = "has" if len(left) == 1 else "have"
        yield (
            f"{len(left)} of {len(masks)} masks {have} no image: "
            f"{first_few([masks[key].name for key in left])}. "
            f"{_unread(files.folders[0], left) or 'Add what is missing, or move these masks away'}"
        )


def _unread(folder: Path, keys: Sequence[str]) -> str:
    """What to do where files of these keys are there, in a format that is not read; else ""."""
    there = [
        p
        for key in keys[:_TRIED]
        for p in (folder / key).parent.glob(f"{glob.escape(Path(key).name)}.*")
    ]
    if not there:
        return ""
    return f"{first_few([p.name for p in there])} cannot be read: convert to JPEG or PNG"


def _remedy(alone: Sequence[str], masks: Sequence[str]) -> str:
    """What to do about images that have no mask, though there are these masks without an image."""
    if {key.lower() for key in alone} & {key.lower() for key in masks}:
        return "Names differ in upper and lower case: rename one side"
    return _guess(alone, masks) or (
        "A mask has its image's name, as in a.jpg and a.png; add what is missing, move these "
        "images away, or name the images that have one in a text file and pass it as split"
    )


def _guess(images: Sequence[str], masks: Iterable[str]) -> str:
    """The prefixes and suffixes by which more than half of the images would get a mask, in words.

    Looks at a few images only, and at masks that lie beside them in alphabetical order or whose
    names hold an image's, so that tens of thousands of names take a second.
    """
    known = set(masks)
    best: tuple[int, int, str] | None = None
    for image_prefix, image_suffix in _own_ends([key.rpartition("/")[2] for key in images]):
        cut = Names(image_prefix=image_prefix, image_suffix=image_suffix)
        cores = [(f, c) for f, c in _split_keys(images, cut.image) if c]
        for (prefix, suffix), _ in _ends_around(cores, known).most_common(2):
            hits = sum(f"{f}{prefix}{c}{suffix}" in known for f, c in cores)
            given = Names(image_prefix, image_suffix, prefix, suffix)
            count = len([value for value in vars(given).values() if value])
            if 2 * hits > len(images) and count and (best is None or (hits, -count) > best[:2]):
                what = f"The masks' names {_describe(prefix, suffix)}: " if prefix + suffix else ""
                best = (hits, -count, f"{what}give names={given!r}")
    return best[2] if best else ""


def _describe(prefix: str, suffix: str) -> str:
    ends = [f"begin with {prefix!r}"] * bool(prefix) + [f"end in {suffix!r}"] * bool(suffix)
    return " and ".join(ends)


def _own_ends(stems: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Prefixes and suffixes that all stems have, digits left to the part that tells them apart."""
    prefix = _start(stems).rstrip("0123456789")
    suffix = _start([stem[::-1] for stem in stems])[::-1].lstrip("0123456789")
    yield from dict.fromkeys((p, s) for p in ("", prefix) for s in ("", suffix))


def _start(texts: Sequence[str]) -> str:
    """The characters with which all texts begin."""
    first, last = min(texts), max(texts)
    same = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]


def _split_keys(keys: Iterable[str], cut: Callable[[str], str | None]) -> Iterator[tuple[str, str]]:
    for key in keys:
        folder, slash, stem = key.rpartition("/")
        core = cut(stem)
        if core is not None:
            yield f"{folder}{slash}", core


def _ends_around(cores: Sequence[tuple[str, str]], masks: set[str]) -> Counter[tuple[str, str]]:
    """How often what stands before and after an image's name in the names of masks."""
    found: Counter[tuple[str, str]] = Counter()
    ordered = sorted(masks)
    step = max(1, len(cores) // _TRIED)
    for folder, core in cores[::step]:
        start = bisect_left(ordered, folder + core)
        beside = islice(ordered, start, start + _TRIED)
        holding = (mask for mask in ordered if core in mask)
        for mask in dict.fromkeys([*beside, *islice(holding, _TRIED)]):
            if mask.startswith(folder) and "/" not in (name := mask[len(folder) :]):
                prefix, _, suffix = name.partition(core)
                # photo1 in photo10, and 1 in 11
                counted = (core[-1:] + suffix[:1]).isdecimal() and len(suffix) > 0
                counted |= (prefix[-1:] + core[:1]).isdecimal() and len(prefix) > 0
                if prefix + core + suffix == name and not counted:
                    found[prefix, suffix] += 1
    return found
