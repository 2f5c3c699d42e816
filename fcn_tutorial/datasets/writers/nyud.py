"""Scenes as NYUDv2: one large .mat of images, depths and labels, and the files that explain it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fcn_tutorial.datasets.readers.nyud import NYUDv2
from fcn_tutorial.datasets.scenes import Scene
from fcn_tutorial.datasets.writers._common import (
    appearing,
    relabel,
    scenes,
    write_lines,
    write_mat,
)

# Rooms have no streets: each class becomes something with its shape and place in a room.
CLASSES = {
    "sky": "ceiling", "road": "floor", "pavement": "floor mat", "grass": "bed", "water": "table",
    "building": "wall", "tree": "otherprop", "fence": "blinds", "car": "sofa", "person": "person",
    "pole": "lamp", "sign": "picture",
}  # fmt: skip
_NAMES = 894  # labels in the official file, which classMapping40.mat maps to 40
_RANGE = np.float32(10)  # metres that a Kinect sees
_FIRST = 5001  # number of frame 0 in the lists
_USER_BLOCK = 512  # bytes before the HDF5 part, where MATLAB 7.3 introduces itself
_SPLITS = ("train", "val", "test")


def write_nyud(
    root: str | Path, n: int = 20, size: tuple[int, int] = (480, 640), seed: int = 0
) -> Path:
    """Write `root/nyud`: `n` frames each for train, val and test, taken by the Kinect's camera.

    nyu_depth_v2_labeled.mat (HDF5; images, depths, rawDepths, labels 0–894, accelData),
    classMapping40.mat, splits.mat, train.txt and val.txt. Up to 10 m, the range of a Kinect, both
    depths are those of the geometry; beyond and in the sky, `rawDepths` is 0 and `depths` is filled
    in with 10 m. Which of the 894 labels stands for a class changes from frame to frame, so that
    only the mapping gives the 40 classes (`CLASSES`). The size is 3:4, because only then has the
    scaled Kinect square pixels.

    Returns the folder. Raises FileExistsError where it is there and not empty, and ValueError for
    another shape and as `Scenes` for n, size and seed.
    """
    if 4 * size[0] != 3 * size[1]:
        raise ValueError(f"size={size}: NYUDv2's frames are 3:4, as 480×640 is")
    root = Path(root)
    with appearing(root, [NYUDv2.folder], n, size, seed) as workshop:
        folder = workshop / NYUDv2.folder
        folder.mkdir()
        path = folder / "nyu_depth_v2_labeled.mat"
        with h5py.File(path, "w", userblock_size=_USER_BLOCK) as file:
            arrays = _arrays(file, len(_SPLITS) * n, size)
            camera = NYUDv2.camera.scaled(size[0] / 480, size[1] / 640)
            # One frame of each split in turn, so that no split is a range of numbers.
            for place, split in enumerate(_SPLITS):
                for number, scene in enumerate(scenes(split, n, size, seed, camera)):
                    _store(arrays, len(_SPLITS) * number + place, scene)
        with path.open("r+b") as opened:
            opened.write(b"MATLAB 7.3 MAT-file, fcn_tutorial".ljust(124) + b"\0\2IM")
        _explain(folder, n)
    return root / NYUDv2.folder


def _arrays(file: h5py.File, frames: int, size: tuple[int, int]) -> dict[str, Any]:
    """Empty arrays, last index of MATLAB's first: image (3, W, H)."""
    height, width = size
    kinds = {"images": "u1", "depths": "f4", "rawDepths": "f4", "labels": "u2"}
    arrays = {}
    for name, kind in kinds.items():
        shape = (3, width, height) if name == "images" else (width, height)
        arrays[name] = file.create_dataset(
            name, (frames, *shape), kind, chunks=(1, *shape), compression=3
        )
    file["accelData"] = np.zeros((4, frames), np.float32)  # roll, yaw, pitch, tilt: level
    return arrays


def _store(arrays: dict[str, Any], frame: int, scene: Scene) -> None:
    classes = relabel(scene.labels, CLASSES, NYUDv2.classes)
    cycle = frame % (_NAMES // len(NYUDv2.classes))
    named = classes.astype(np.uint16) + 1 + len(NYUDv2.classes) * cycle
    arrays["labels"][frame] = np.where(classes == NYUDv2.ignore_index, 0, named).T
    arrays["images"][frame] = scene.pixels.T
    raw = np.where(scene.depth > _RANGE, 0, scene.depth)
    arrays["rawDepths"][frame] = raw.T
    arrays["depths"][frame] = np.where(raw == 0, _RANGE, raw).T


def _explain(folder: Path, n: int) -> None:
    mapping = np.arange(_NAMES) % len(NYUDv2.classes) + 1.0
    write_mat(folder / "classMapping40.mat", {"mapClass": mapping[None]})
    frames = np.arange(len(_SPLITS) * n)
    of = {split: frames[frames % len(_SPLITS) == i] for i, split in enumerate(_SPLITS)}
    training = np.sort(np.concatenate([of["train"], of["val"]]))
    columns = {"trainNdxs": training, "testNdxs": of["test"]}
    write_mat(
        folder / "splits.mat",
        {name: (numbers + 1.0)[:, None] for name, numbers in columns.items()},
    )
    for split in ("train", "val"):
        write_lines(folder / f"{split}.txt", [str(_FIRST + frame) for frame in of[split]])
