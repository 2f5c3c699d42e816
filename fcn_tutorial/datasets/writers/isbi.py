"""Scenes as the ISBI 2012 stack of membranes and cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fcn_tutorial.datasets.readers.isbi import ISBIEM
from fcn_tutorial.datasets.writers._common import appearing, scenes

_DARK = 40  # grey level of a membrane, about


def write_isbi_em(
    root: str | Path, n: int = 5, size: tuple[int, int] = (512, 512), seed: int = 0
) -> Path:
    """Write `root/ISBI-EM`: frames for train, val and test, as grey PNG.

    `image/*.png` and `label/*.png` (0 on membranes, 255 on cells), numbered from 0: what a scene
    shows in grey, with the borders between its regions drawn dark, as membranes.

    Args:
        root: the folder that FCN_DATA names, made if needed.
        n: frames in val and in test, a quarter of those in train.
        size: (H, W) of each in pixels.
        seed: of the scenes, as in `Scenes`.

    Returns:
        The folder.

    Raises:
        FileExistsError: where the folder is there and not empty.
        ValueError: as `Scenes` for n, size and seed.

    ::

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = write_isbi_em(root, n=1, size=(48, 64))
        ...     sorted(path.name for path in folder.iterdir() if path.is_dir())
        ['image', 'label']
    """
    root = Path(root)
    with appearing(root, [ISBIEM.folder], n, size, seed) as workshop:
        folder = workshop / ISBIEM.folder
        for part in ("image", "label"):
            (folder / part).mkdir(parents=True)
        for number, scene in enumerate(scenes("train", 6 * n, size, seed)):
            membrane = _borders(scene.labels)
            grey = np.array(Image.fromarray(scene.pixels).convert("L"))
            grey[membrane] = _DARK + grey[membrane] // 8
            cells = np.where(membrane, np.uint8(0), np.uint8(255))
            Image.fromarray(grey).save(folder / "image" / f"{number}.png")
            Image.fromarray(cells).save(folder / "label" / f"{number}.png")
    return root / ISBIEM.folder


def _borders(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour, or that of whose, is of another region."""
    found = np.zeros(labels.shape, bool)
    rows, columns = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    found[1:] |= rows
    found[:-1] |= rows
    found[:, 1:] |= columns
    found[:, :-1] |= columns
    return found
