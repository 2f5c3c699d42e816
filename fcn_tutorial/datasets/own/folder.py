"""Your own data: a folder of images, a folder of masks, paired by file name."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import Transforms, picture, read_image, sample
from fcn_tutorial.datasets.own.labelling import (
    VOID,
    Colour,
    Labelling,
    Numbers,
    check_not_binary,
    colour_code,
    numbering,
)
from fcn_tutorial.files import numbered_lines, require

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
_LOSSY = (".jpg", ".jpeg", ".webp")
_SHOWN = 5  # names that a message lists before it counts the others
_PROBED = 8  # masks looked at when the data set is opened

Pair = tuple[Path, Path]


class Folder(torch.utils.data.Dataset[tuple[Any, Any]]):
    """Images and masks of your own, paired by stem: `images/a.jpg` with `masks/a.png`.

    Args:
        images, masks: two folders. Images: .jpg .jpeg .png .bmp .tif .tiff .webp, turned upright as
            their EXIF says. Masks: .png .bmp .tif .tiff .gif of the same size. Subfolders and names
            that begin with a dot are not looked at.
        classes: the names of labels 0, 1, 2, … of masks that hold numbers (palette, grey, or RGB
            with equal channels), as a list or a text file with one name a line. 255 is void. A name
            "void", "ignore", "unlabelled" or "unlabeled" makes its label void too, and later ones
            move up.

            - None: the names in `colours`; without it, `classes.txt` in the folder of masks or in
              the folder above; without that, all masks are read once and the labels 0 to the
              highest found are named "class 0", "class 1", ….
        split: None for all pairs. "train", "val" or "test" for a part drawn by `val_fraction`,
            `test_fraction` and `seed`: a file's part depends on its stem alone, so files added
            later move no other (of very few pairs, each part gets one where it can). Otherwise a
            text file with one stem or image name a line; files it does not name may stay without a
            partner.
        transforms: joint transform of (image, mask).
        colours: for masks painted in colours: a mapping {"road": (128, 64, 128), …}, a CSV file of
            lines name,r,g,b, or a YAML file of lines name: [r, g, b]. A name may have several
            colours, as a list of them in a mapping and in YAML, as several lines in CSV. Alpha is
            ignored.
        mask_suffix: what the stem of a mask has more than its image's, such as "_mask".

    Items are (Image uint8 (3, H, W), Mask uint8 (H, W)), void 255, before `transforms`. `files`
    lists (image, mask) paths. Opening the folder checks names and pairs and looks at eight masks;
    an item checks its own contents. Raises FileNotFoundError and ValueError naming what is wrong
    and what to do about it.
    """

    ignore_index: ClassVar[int] = VOID
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        classes: Sequence[str] | str | Path | None = None,
        split: str | Path | None = None,
        transforms: Transforms = None,
        colours: Mapping[str, Any] | str | Path | None = None,
        *,
        mask_suffix: str = "",
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.images, self.masks = Path(images), Path(masks)
        self.split, self.transforms = split, transforms
        image_files, mask_files = _find(self.images, self.masks, mask_suffix)
        listed = split is not None and str(split) not in self.splits
        stems = _read_list(Path(str(split)), image_files) if listed else list(image_files)
        _check_partners(stems, image_files, mask_files, self.masks, complete=not listed)
        self.labelling: Labelling = (
            numbering(classes, self.masks, [mask_files[s] for s in image_files if s in mask_files])
            if colours is None
            else colour_code(colours, classes)
        )
        if split is not None and not listed:
            stems = _draw(stems, str(split), val_fraction, test_fraction, seed)
        self.files: list[Pair] = [(image_files[s], mask_files[s]) for s in stems]
        self._probe()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1, 2, …."""
        return self.labelling.classes

    @property
    def palette(self) -> tuple[Colour, ...]:
        """A colour for each class, those of `colours`, of the first mask's palette, or VOC's."""
        return self.labelling.palette

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, mask = self.files[index]
        pixels, labels = read_upright(image), self.labelling.read(mask)
        if labels.shape != pixels.shape[:2]:
            raise ValueError(_explain_sizes(image, mask, pixels.shape, labels.shape))
        return sample(pixels, labels, self.transforms, (image, mask))

    def _probe(self) -> None:
        """Look at a few masks for the mistake that no single item shows."""
        if not isinstance(self.labelling, Numbers):
            return
        found: set[int] = set()
        step = -(-len(self.files) // _PROBED)
        for _, mask in self.files[::step]:
            try:
                found |= set(np.unique(self.labelling.read(mask)).tolist())
            except (ValueError, OSError):
                return  # the item says what is wrong with it
        check_not_binary(self.masks, found, self.classes)


def _find(images: Path, masks: Path, mask_suffix: str) -> tuple[dict[str, Path], dict[str, Path]]:
    """Files of both folders by stem. Raises where a folder is no place to find them."""
    for name, folder in (("images", images), ("masks", masks)):
        if not folder.is_dir():
            raise FileNotFoundError(f"{name}={folder}: no such folder")
    if images.resolve() == masks.resolve():
        raise ValueError(
            f"images and masks are both {images}; put the masks into a folder of their own, under "
            "the names of their images"
        )
    image_files = _by_stem(images, IMAGE_SUFFIXES, "images", "")
    lossy = [p for p in _listing(masks) if p.suffix.lower() in _LOSSY]
    if lossy:
        raise ValueError(
            f"{masks}: {_some([p.name for p in lossy])}: masks must not be JPEG or WebP, whose "
            "compression changes labels. Export them again as PNG"
        )
    return image_files, _by_stem(masks, MASK_SUFFIXES, "masks", mask_suffix)


def _listing(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_file())


def _by_stem(folder: Path, suffixes: Sequence[str], what: str, ending: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _listing(folder):
        if path.suffix.lower() not in suffixes or not path.stem.endswith(ending):
            continue
        stem = path.stem.removesuffix(ending)
        if stem in found:
            raise ValueError(
                f"{folder}: {found[stem].name} and {path.name} have the same stem; remove or "
                "rename one of them"
            )
        found[stem] = path
    if found:
        return found
    named = f" whose stems end in {ending!r}" if ending else ""
    text = f"{folder}: holds no {what}{named} ({' '.join(suffixes)})"
    if others := sorted({p.suffix.lower() or p.name for p in _listing(folder)}):
        text += f"; it holds {_some(others)} files, convert them"
    elif inner := sorted(p.name for p in folder.iterdir() if p.is_dir()):
        text += f"; it holds folders ({_some(inner)}), name one of them"
    else:
        text += "; it is empty, name the folder that holds them"
    raise ValueError(text)


def _read_list(path: Path, images: Mapping[str, Path]) -> list[str]:
    """Stems that a list names, in its order. Nothing is opened by a name from the list."""
    parts = "a split is 'train', 'val', 'test', or a text file with one stem a line"
    stems: dict[str, int] = {}
    unknown = []
    for number, line in numbered_lines(require(path, parts)):
        name = Path(line)
        stem = name.stem if name.suffix.lower() in IMAGE_SUFFIXES and name.name == line else line
        if stem in stems:
            raise ValueError(f"{path}, line {number}: {line!r} was named in line {stems[stem]}")
        stems[stem] = number
        if stem not in images:
            unknown.append(line)
    if unknown:
        raise ValueError(
            f"{path}: {len(unknown)} of {len(stems)} names are no images: {_some(unknown)}. "
            "Write one stem a line, without folders, as the image files are called"
        )
    if not stems:
        raise ValueError(f"{path}: names no images; write one stem a line")
    return list(stems)


def _check_partners(
    stems: Sequence[str],
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    folder: Path,
    complete: bool,
) -> None:
    """Raise ValueError for images without a mask and, where `complete`, masks without an image."""
    if alone := [stem for stem in stems if stem not in masks]:
        text = f"{len(alone)} of {len(stems)} images have no mask in {folder}: "
        text += _some([images[stem].name for stem in alone])
        endings = Counter(m[len(s) :] for s in alone for m in masks if m.startswith(s) and m != s)
        ending, times = endings.most_common(1)[0] if endings else ("", 0)
        if ending and 2 * times > len(alone):
            raise ValueError(f"{text}. The masks' names end in {ending!r}: give {_option(ending)}")
        if {s.lower() for s in alone} & {m.lower() for m in masks}:
            raise ValueError(f"{text}. Names differ in upper and lower case: rename one side")
        raise ValueError(
            f"{text}. A mask has its image's name, as in a.jpg and a.png; add the missing masks, "
            "or name the images that have one in a text file and pass it as split"
        )
    if complete and (alone := [stem for stem in masks if stem not in images]):
        raise ValueError(
            f"{len(alone)} of {len(masks)} masks have no image: "
            f"{_some([masks[stem].name for stem in alone])}. Add the missing images, or remove "
            "these masks"
        )


def _option(ending: str) -> str:
    return f"mask_suffix={ending!r}"


def _draw(
    stems: Sequence[str], split: str, val_fraction: float, test_fraction: float, seed: int
) -> list[str]:
    """The stems of a drawn split, in alphabetical order."""
    fractions = {"val_fraction": val_fraction, "test_fraction": test_fraction}
    for name, fraction in fractions.items():
        if not 0 <= fraction < 1 or val_fraction + test_fraction >= 1:
            raise ValueError(f"{name}={fraction}: both fractions are at least 0, their sum below 1")
    place = {stem: _place(stem, seed) for stem in stems}
    order = sorted(stems, key=lambda stem: (place[stem], stem))
    limits = np.cumsum([test_fraction, val_fraction])
    test, both = (sum(place[stem] < limit for stem in order) for limit in limits)
    # A few pairs may all fall on one side; every part that is wanted gets one where it can.
    val_wanted = int(val_fraction > 0)
    test = max(0, min(max(test, int(test_fraction > 0)), len(stems) - 1 - val_wanted))
    both = max(0, min(max(both, test + val_wanted), len(stems) - 1))
    chosen = {"test": order[:test], "val": order[test:both], "train": order[both:]}[split]
    if not chosen:
        raise ValueError(
            f"split={split!r} of {len(stems)} pairs is empty with val_fraction={val_fraction} and "
            f"test_fraction={test_fraction}; change the fractions, or name the files in a list"
        )
    return sorted(chosen)


def _place(stem: str, seed: int) -> float:
    """A number in [0, 1) that depends on the stem and the seed alone."""
    digest = hashlib.sha256(f"{seed}/{stem}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def names_or_file(text: str) -> list[str] | str | None:
    """`classes` as a command line has it: names with commas, a file, or "" for none."""
    if "," in text and not Path(text).is_file():
        return [name.strip() for name in text.split(",")]
    return text or None


def read_upright(path: Path) -> NDArray[np.uint8]:
    """Pixels (H, W, 3), turned as EXIF says: annotation tools and viewers show them that way.

    Raises FileNotFoundError, and ValueError as `read_image` of the other data sets does.
    """
    pixels = read_image(path)
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}  # quarter turns to the left
    orientation = _orientation(path)
    if orientation == 1:
        return pixels
    pixels = np.rot90(pixels, turns.get(orientation, 0))
    if orientation in (2, 4):
        pixels = pixels[:, ::-1]
    elif orientation in (5, 7):
        pixels = pixels[::-1]
    return np.array(pixels, order="C")  # a copy: PyTorch takes no negative strides


def _orientation(path: Path) -> int:
    """EXIF orientation 1 to 8, 1 where nothing is to be turned. Source: Exif 2.3, tag 0x0112."""
    try:
        with picture(path) as image:
            if image.getexif().get(0x0112, 1) != 1:
                image.load()  # Pillow turns a TIFF itself, then drops the tag
            return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF: the pixels themselves could be read
        return 1


def _explain_sizes(image: Path, mask: Path, pixels: Sequence[int], labels: Sequence[int]) -> str:
    text = f"{mask} is {labels[1]}×{labels[0]}, but {image} is {pixels[1]}×{pixels[0]}"
    if tuple(labels) == (pixels[1], pixels[0]):
        turned = _orientation(image) in (5, 6, 7, 8)
        why = " as its EXIF orientation says" if turned else ""
        return f"{text}: one of them is turned by 90° (the image is shown upright{why}); turn it"
    return (
        f"{text} (width×height); export the mask at the image's size, or resize it with "
        "nearest-neighbour sampling"
    )


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
