"""Scenes as SIFT Flow: photographs with semantic and geometric labels in .mat files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets.readers.siftflow import SIFTFlow
from fcn_tutorial.datasets.scenes import Scene, Scenes
from fcn_tutorial.datasets.writers._common import (
    appearing,
    relabel,
    scenes,
    write_jpeg,
    write_lines,
    write_mat,
)

CLASSES = {name: name for name in Scenes.classes} | {"pavement": "sidewalk", "water": "river"}
_GROUND = ("road", "pavement", "grass", "water")
GEOMETRIC_CLASSES = {
    name: "sky" if name == "sky" else "horizontal" if name in _GROUND else "vertical"
    for name in Scenes.classes
}
_SUBFOLDER = "spatial_envelope_256x256_static_8outdoorcategories"


def write_siftflow(
    root: str | Path, n: int = 20, size: tuple[int, int] = (256, 256), seed: int = 0
) -> Path:
    """Write `root/SiftFlowDataset`: photographs for trainval and test, two without labels.

    `Images/…/*.jpg`, `SemanticLabels/…/*.mat` (S uint8: 0 void, 1–33), `GeoLabels/…/*.mat` (S
    int16: −1 void, 1–3) and TestSet1.txt with Windows paths. The two without labels have the names
    and the blank labels of the two real ones; readers leave them out. Eleven of the 33 classes
    occur.

    Args:
        root: the folder that FCN_DATA names, made if needed.
        n: photographs in each split.
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
        ...     folder = write_siftflow(root, n=1, size=(48, 64))
        ...     sorted(path.name for path in folder.iterdir() if path.is_dir())
        ['GeoLabels', 'Images', 'SemanticLabels']
    """
    root = Path(root)
    with appearing(root, [SIFTFlow.folder], n, size, seed) as workshop:
        folder = workshop / SIFTFlow.folder
        for kind in ("Images", "SemanticLabels", "GeoLabels"):
            (folder / kind / _SUBFOLDER).mkdir(parents=True)
        listed = []
        for split in ("train", "test"):
            for number, scene in enumerate(scenes(split, n, size, seed)):
                name = f"street_{split}{number}"
                _write_photo(folder, name, scene)
                if split == "test":
                    listed.append(f"{_SUBFOLDER}\\{name}.jpg")
        for name, scene in zip(SIFTFlow.unannotated, scenes("val", 2, size, seed), strict=True):
            _write_photo(folder, name, scene, annotated=False)
        write_lines(folder / "TestSet1.txt", listed, "\r\n")
    return root / SIFTFlow.folder


def _write_photo(folder: Path, name: str, scene: Scene, annotated: bool = True) -> None:
    write_jpeg(folder / "Images" / _SUBFOLDER / f"{name}.jpg", scene.pixels)
    semantic = relabel(scene.labels, CLASSES, SIFTFlow.classes)
    geometric = relabel(scene.labels, GEOMETRIC_CLASSES, SIFTFlow.geometric_classes)
    if not annotated:
        semantic[:], geometric[:] = SIFTFlow.ignore_index, SIFTFlow.ignore_index
    for kind, stored, names in (
        ("SemanticLabels", _counted(semantic, 0).astype(np.uint8), SIFTFlow.classes),
        ("GeoLabels", _counted(geometric, -1), SIFTFlow.geometric_classes),
    ):
        cell = np.array(names, object)[:, None]
        write_mat(folder / kind / _SUBFOLDER / f"{name}.mat", {"S": stored, "names": cell})


def _counted(labels: NDArray[np.uint8], void: int) -> NDArray[np.int16]:
    """From 0 on and void 255 to from 1 on and this `void`."""
    return np.where(labels == SIFTFlow.ignore_index, void, labels.astype(np.int16) + 1).astype("i2")
