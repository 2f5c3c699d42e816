"""What is wrong with photos and masks whatever the masks mean: partners, formats, sizes, damage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from fcn_tutorial.datasets.formats.images import picture
from fcn_tutorial.datasets.own import pairing
from fcn_tutorial.datasets.own.folder import explain_sizes, read_upright
from fcn_tutorial.datasets.own.pairing import LOSSY_SUFFIXES, MASK_SUFFIXES, Names


def unfit(images: Path, masks: Path, names: Names) -> Iterator[str]:
    """One message for each thing that is wrong; every photo that has a mask is read.

    Labels are not looked at, so their values may still be without names.

    Raises:
        FileNotFoundError, ValueError: as `pairing.find`.
    """
    found = pairing.find(images, masks, names, MASK_SUFFIXES + LOSSY_SUFFIXES)
    pairs = [(path, found.masks[key]) for key, path in found.images.items() if key in found.masks]
    # Where nothing fits together, names are why: of the masks the same would be said once more.
    yield from islice(pairing.without_partner(found), None if pairs else 1)
    folder = found.folders[1]
    lossy = [m for _, m in pairs if m.suffix.lower() in LOSSY_SUFFIXES]
    if lossy:
        yield pairing.refusal(folder, [str(mask.relative_to(folder)) for mask in lossy])
    with ThreadPoolExecutor(4) as pool:
        yield from filter(None, pool.map(lambda pair: _fault(*pair), pairs))


def _fault(image: Path, mask: Path) -> str:
    try:
        shape = read_upright(image).shape
        with picture(mask) as labels:
            width, height = labels.size
    except (ValueError, OSError) as error:
        return str(error)
    return (
        "" if shape[:2] == (height, width) else explain_sizes(image, mask, shape, (height, width))
    )
