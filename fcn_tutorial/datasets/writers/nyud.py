"""Rooms as NYUDv2: one large .mat of images, depths and labels, and the files that explain it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fcn_tutorial.datasets.readers.nyud import NYUDv2
from fcn_tutorial.datasets.rooms import Room, Rooms, render_room
from fcn_tutorial.datasets.scenes import void_borders
from fcn_tutorial.datasets.writers._common import appearing, progress, write_lines, write_mat

_NAMES = 894  # labels in the official file, which classMapping40.mat maps to 40
_FIRST = 5001  # number of frame 0 in the lists
_USER_BLOCK = 512  # bytes before the HDF5 part, where MATLAB 7.3 introduces itself
_SPLITS = ("train", "val", "test")


def write_nyud(
    root: str | Path, n: int = 20, size: tuple[int, int] = (480, 640), seed: int = 0
) -> Path:
    """Write `root/nyud`: frames for train, val and test, taken by the Kinect's camera.

    nyu_depth_v2_labeled.mat (HDF5; images, depths, rawDepths, labels 0–894, accelData),
    classMapping40.mat, splits.mat, train.txt and val.txt. `depths` is complete, `rawDepths` is 0
    where a Kinect measures nothing (`Room.missing`). Which of the 894 labels stands for a class
    changes from frame to frame, so that only the mapping gives the 40 classes, of which rooms have
    twelve. The size is 3:4, because only then has the scaled Kinect square pixels.

    Args:
        root: the folder that FCN_DATA names, made if needed.
        n: frames in each split.
        size: (H, W) of each in pixels, 3:4.
        seed: of the rooms, as in `Rooms`.

    Returns:
        The folder.

    Raises:
        FileExistsError: where the folder is there and not empty.
        ValueError: for another shape and as `Rooms` for n, size and seed.

    ::

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = write_nyud(root, n=1, size=(48, 64))
        ...     sorted(path.name for path in folder.glob("*.mat"))
        ['classMapping40.mat', 'nyu_depth_v2_labeled.mat', 'splits.mat']
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
                for number in progress(n, split):
                    room = render_room(seed, split, number, size, camera)
                    _store(arrays, len(_SPLITS) * number + place, room)
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


def _store(arrays: dict[str, Any], frame: int, room: Room) -> None:
    numbers = np.array([NYUDv2.classes.index(name) for name in Rooms.classes], np.uint8)
    void = NYUDv2.ignore_index
    classes = np.where(void_borders(room.labels) == void, np.uint8(void), numbers[room.labels])
    cycle = frame % (_NAMES // len(NYUDv2.classes))
    named = classes.astype(np.uint16) + 1 + len(NYUDv2.classes) * cycle
    arrays["labels"][frame] = np.where(classes == void, 0, named).T
    arrays["images"][frame] = room.pixels.T
    arrays["depths"][frame] = room.depth.T
    arrays["rawDepths"][frame] = np.where(room.missing, 0, room.depth).T


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
