"""Your own data: a folder of images, a folder of masks, paired by file name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import Transforms, picture, read_image, sample
from fcn_tutorial.datasets.own import pairing
from fcn_tutorial.datasets.own.classes import VOID
from fcn_tutorial.datasets.own.doubt import doubt
from fcn_tutorial.datasets.own.labelling import (
    Labelling,
    Numbers,
    beside,
    check_not_binary,
    colour_code,
    numbering,
    without_names,
)
from fcn_tutorial.datasets.own.lists import Pair, read_list
from fcn_tutorial.datasets.own.mask_files import Colour
from fcn_tutorial.datasets.own.pairing import Names
from fcn_tutorial.datasets.own.parts import Shares, part

_FIX = "or let `fcn-tutorial data fix folder` do so in a copy"
_PROBED = 8  # masks looked at when the data set is opened


class Folder(torch.utils.data.Dataset[tuple[Any, Any]]):
    """Images and masks of your own, paired by name: `images/a.jpg` with `masks/a.png`.

    Items are (Image uint8 (3, H, W), Mask uint8 (H, W)), void 255, before `transforms`. `files`
    lists (image, mask) paths. Opening the folder checks names and pairs and looks at eight masks;
    an item checks its own contents.

    Args:
        images, masks: two folders, whose subfolders are looked into; or one that holds both, in
            folders called `images` and `masks` or side by side. Images: .jpg .jpeg .png .bmp .tif
            .tiff .webp, turned upright as their EXIF says. Masks: .png .bmp .tif .tiff .gif of the
            same size.
        classes: the names of labels 0, 1, 2, … of masks that hold numbers (palette, grey, or RGB
            with equal channels), as a list or a text file with one name a line. 255 is void. A name
            such as "void", "ignore", "unlabelled", "unknown" or "don't care" makes its label void
            too, and later ones move up; labelme's "__ignore__" has no number. None: the names in
            `colours`; without it, `colours.csv` or `classes.txt` in the folder of masks or in the
            folder above; without those, all masks are read once and the labels 0 to the highest
            found are named "class 0", "class 1", ….
        split: None for all pairs. "train", "val" or "test": folders of these names, where all
            images lie in such, or a part drawn by `shares`: a file's part depends on its name
            alone, so files added later move no other. Otherwise a text file that names an image a
            line, or an image and its mask (see `own.lists`); files it does not name may stay
            without a partner.
        transforms: joint transform of (image, mask).
        colours: for masks painted in colours: a mapping {"road": (128, 64, 128), …}, a text
            "road=#804080,…", or a CSV, text or YAML file (see `own.colours`). A name may have
            several colours. What is transparent (alpha 0) is black.
        names: what file names have more than the part that an image and its mask share.
        shares: of the images, for val and for test. None: a fifth for val, no test.

    Raises:
        FileNotFoundError, ValueError: naming what is wrong and what to do about it.

    One photo, the left half of which is a cat::

        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("images", "masks"):
        ...         Path(folder, name).mkdir()
        ...     Image.new("RGB", (4, 2)).save(f"{folder}/images/tom.png")
        ...     Image.fromarray(np.uint8([[1, 1, 0, 255]] * 2)).save(f"{folder}/masks/tom.png")
        ...     photos = Folder(f"{folder}/images", f"{folder}/masks", classes=["other", "cat"])
        ...     photos[0][1].tolist()
        [[1, 1, 0, 255], [1, 1, 0, 255]]
    """

    ignore_index: ClassVar[int] = VOID
    splits: ClassVar[tuple[str, ...]] = pairing.SPLITS

    def __init__(
        self,
        images: str | Path,
        masks: str | Path,
        classes: Sequence[str] | str | Path | None = None,
        split: str | Path | None = None,
        transforms: Transforms = None,
        colours: Mapping[str, Any] | str | Path | None = None,
        names: Names | None = None,
        shares: Shares | None = None,
    ) -> None:
        self.split, self.transforms = split, transforms
        names, shares = names or Names(), shares or Shares()
        found = pairing.find(Path(images), Path(masks), names)
        self.images, self.masks = found.folders
        listed = split is not None and str(split) not in self.splits
        chosen = read_list(Path(str(split)), found, names) if listed else None
        pairing.check_partners(found, chosen)
        if colours is None and classes is None:
            colours = beside(self.masks, "colours.csv")
            classes = beside(self.masks, "classes.txt")
        self.labelling: Labelling = (
            numbering(classes, self.masks, _masks(found, chosen))
            if colours is None
            else colour_code(colours, classes)
        )
        if chosen is None:
            keys = list(found.images) if split is None else part(found, str(split), shares)
            chosen = {key: found.masks[key] for key in keys}
        self.files: list[Pair] = [(found.images[key], mask) for key, mask in chosen.items()]
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
            raise ValueError(explain_sizes(image, mask, pixels.shape, labels.shape))
        return sample(pixels, labels, self.transforms, (image, mask))

    def _probe(self) -> None:
        """Look at a few masks for the mistakes that no single item shows."""
        if not isinstance(self.labelling, Numbers):
            return
        step = -(-len(self.files) // _PROBED)
        found = self.labelling.survey([mask for _, mask in self.files[::step]])
        if found.faults:
            return  # the item says what is wrong with it
        if found.coloured:
            masks = [mask for _, mask in self.files]
            raise without_names(self.masks, self.labelling.survey(masks), masks)
        if why := doubt(found):
            raise ValueError(f"{self.masks}: {why}")
        check_not_binary(self.masks, set(found.pixels), self.labelling.names)


def _masks(found: pairing.Files, chosen: Mapping[str, Path] | None) -> list[Path]:
    """All masks that have an image, whatever the split, so that every split has equal classes."""
    paired = {found.masks[key] for key in found.images if key in found.masks}
    return sorted(paired | set((chosen or {}).values()))


def names_or_file(text: str) -> list[str] | str | None:
    """`classes` as a command line has it: names with commas, a file, or "" for none."""
    if "," in text and not os.path.isfile(text):  # False for names no file can have
        return [name.strip() for name in text.split(",")]
    return text or None


def read_upright(path: Path) -> NDArray[np.uint8]:
    """Pixels (H, W, 3), turned as EXIF says: annotation tools and viewers show them that way.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: as `read_image` of the other data sets.
    """
    return turn(read_image(path), orientation(path))


def turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Rows and columns (H, W, …) brought upright from an EXIF orientation, 1 to 8."""
    if orientation == 1:
        return pixels
    turns = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}  # quarter turns to the left
    pixels = np.rot90(pixels, turns.get(orientation, 0))
    if orientation in (2, 4):
        pixels = pixels[:, ::-1]
    elif orientation in (5, 7):
        pixels = pixels[::-1]
    return np.array(pixels, order="C")  # a copy: PyTorch takes no negative strides


def orientation(path: Path) -> int:
    """EXIF orientation 1 to 8, 1 where nothing is to be turned. Source: Exif 2.3, tag 0x0112."""
    try:
        with picture(path) as image:
            if image.getexif().get(0x0112, 1) != 1:
                image.load()  # Pillow turns a TIFF itself, then drops the tag
            return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF: the pixels themselves could be read
        return 1


def explain_sizes(image: Path, mask: Path, pixels: Sequence[int], labels: Sequence[int]) -> str:
    """The message for a mask (H, W) that is not of its photo's size (H, W, …)."""
    text = f"{mask} is {labels[1]}×{labels[0]}, but {image} is {pixels[1]}×{pixels[0]}"
    if tuple(labels) == (pixels[1], pixels[0]):
        turned = orientation(image) in (5, 6, 7, 8)
        why = " as its EXIF orientation says" if turned else ""
        return (
            f"{text}: one of them is turned by 90° (the image is shown upright{why}); turn it, "
            f"{_FIX}"
        )
    return (
        f"{text} (width×height); export the mask at the image's size, resize it with "
        f"nearest-neighbour sampling, {_FIX}"
    )
