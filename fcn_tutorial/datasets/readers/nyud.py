"""NYUDv2: 1,449 frames of indoor scenes with depth, 40 classes; 795 to train on, 654 to test.

Read from either of two folders.

The official one (cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html)::

    nyu_depth_v2_labeled.mat   images, depths, labels of 894 names; MATLAB 7.3, that is HDF5
    splits.mat                 trainNdxs (795) and testNdxs (654); same authors, indoor_seg_sup
    classMapping40.mat         mapClass, from 894 names to the 40 classes of Gupta et al. 2013;
                               from github.com/ankurhanda/nyuv2-meta-data
    train.txt, val.txt         381 and 414 of the 795; data/nyud of the authors' repository
                               shelhamer/fcn.berkeleyvision.org. Needed for "val"; without them
                               "train" is all 795

The authors' own (`nyud.tar.gz`, address in data/nyud/README.md of the same repository), already cut
to 425×560: `segmentation/img_5001.mat`, `data/images/`, `data/depth/` and `data/hha/img_5001.png`,
and the lists train, val, trainval and test.txt. Frame i of the .mat, from 0, is img_(5001 + i).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.hdf5 import opened, stored_array
from fcn_tutorial.datasets.formats.images import Transforms, picture, read_image
from fcn_tutorial.datasets.formats.mat import read_mat
from fcn_tutorial.datasets.hha import Camera, hha
from fcn_tutorial.datasets.readers.pascal import palette
from fcn_tutorial.datasets.readers.reader import Reader
from fcn_tutorial.datasets.spec import PARTS
from fcn_tutorial.files import number_of, numbered_lines, one_of, require
from fcn_tutorial.transforms import HHA, Depth
from fcn_tutorial.vision import tv_tensors

__all__ = ["NYUDv2"]

_LABELLED = "nyu_depth_v2_labeled.mat"
_MAPPING = "classMapping40.mat"
_SPLITS = "splits.mat"
_FIRST = 5001  # the lists and files of Gupta et al. count frames from here


class NYUDv2(Reader):
    """NYUDv2, 40 classes (Silberman et al. 2012; classes of Gupta et al. 2013).

    The first part of an item is what `modality` says, the second a Mask uint8 (H, W), 0–39, void
    255 (0 in the files). Depth is the filled-in one (`depths`); HHA fits no planes through pixels
    that `rawDepths` lacks. A file is opened for each item anew: worker processes share nothing.

    Args:
        root: one of the two folders that the module describes.
        split: "train", "val", "trainval" or "test".
        modality: what the first part of an item is:

            * "rgb": Image uint8 (3, H, W), red, green, blue;
            * "depth": `Depth` float32 (1, H, W), metres, 0 where unknown;
            * "hha": `HHA` uint8 (3, H, W), disparity, height, angle, computed from the depth, or
              read where the folder has it;
            * "rgbd": {"rgb": …, "depth": …} of the above; "rgb-hha": {"rgb": …, "hha": …}.
        transforms: joint transform of (input, mask); those of transforms.v2 take the dicts too,
            and their colour jitter changes "rgb" only.
        crop: (top, left, height, width) to cut from every frame. The labelled .mat has 480×640
            with a white border; the paper's numbers are on `NYUDv2.valid_region`, 425×560, which
            is what the authors' folder holds. None reads whole frames.
        camera: of the uncut frames, for HHA from the .mat; by default the colour camera of the
            Kinect (`NYUDv2.camera`), scaled to the size of the frames.

    Raises:
        ValueError: for an unknown split or modality, and naming a file that is damaged.
        FileNotFoundError: naming the file that is missing.

    On generated pictures in its layout::

        >>> import tempfile
        >>> from fcn_tutorial.datasets import writers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = writers.write_nyud(folder, n=1, size=(48, 64))
        ...     parts, mask = NYUDv2(root, "test", modality="rgb-hha")[0]
        >>> {name: tuple(part.shape) for name, part in parts.items()}
        {'rgb': (3, 48, 64), 'hha': (3, 48, 64)}
    """

    classes: ClassVar[tuple[str, ...]] = (
        "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
        "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
        "floor mat", "clothes", "ceiling", "books", "refridgerator", "television", "paper", "towel",
        "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
        "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
    )  # fmt: skip  # spelt as in the files
    palette: ClassVar[tuple[tuple[int, int, int], ...]] = palette(41)[1:]
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "trainval", "test")
    counts: ClassVar[dict[str, int]] = {"train": 381, "val": 414, "trainval": 795, "test": 654}
    modalities: ClassVar[tuple[str, ...]] = tuple(PARTS)
    folder: ClassVar[str] = "nyud"  # inside the folder that FCN_DATA names
    citation: ClassVar[str] = (
        "N. Silberman, D. Hoiem, P. Kohli, R. Fergus. Indoor Segmentation and Support Inference "
        "from RGBD Images. ECCV 2012. 40 classes: S. Gupta, P. Arbeláez, J. Malik. Perceptual "
        "Organization and Recognition of Indoor Scenes from RGB-D Images. CVPR 2013."
    )
    licence: ClassVar[str] = "none stated; its authors ask for a citation"
    source: ClassVar[str] = "https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html"
    sensor: ClassVar[tuple[int, int]] = (480, 640)  # of whole frames, as the official .mat has them
    # Rows 46–470 and columns 41–600 counted from 1 (Gupta et al., cropIt.m).
    valid_region: ClassVar[tuple[int, int, int, int]] = (45, 40, 425, 560)
    # The data set's toolbox, camera_params.m, which counts pixels from 1.
    camera: ClassVar[Camera] = Camera(518.857901, 519.469611, 324.582449, 252.736166)

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        modality: str = "rgb",
        transforms: Transforms = None,
        crop: tuple[int, int, int, int] | None = None,
        camera: Camera | None = None,
    ) -> None:
        super().__init__(root, split, transforms)
        self.modality = one_of("modality", modality, self.modalities)
        self.crop = _checked(crop)
        self._frames: _Labelled | _Prepared
        if (self.root / _LABELLED).is_file():
            self._frames = _Labelled(self.root, camera)
        elif (self.root / "segmentation").is_dir():
            self._frames = _Prepared(self.root)
        else:
            raise FileNotFoundError(
                f"{self.root / _LABELLED} not found, nor the folder segmentation/ of the FCN "
                f"authors' nyud.tar.gz; {self.root} must hold one of them"
            )
        self.frames = _read_split(self.root, split)
        self._frames.check(self.frames)

    @property
    def frame_size(self) -> tuple[int, int]:
        """(H, W) of the first frame as it is stored, before `crop`."""
        return self._frames.size(self.frames[0])

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        frame = self.frames[index]
        names = PARTS[self.modality]
        source, labels, parts = self._frames.read(frame, names, self.crop)
        for name in names:
            if parts[name].shape[:2] != labels.shape:
                raise ValueError(
                    f"{source}: frame {frame} has {labels.shape} labels for "
                    f"{parts[name].shape[:2]} pixels of {name}"
                )
        tensors = {name: _as_tensor(name, parts[name]) for name in names}
        mask = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(labels) - np.uint8(1)))
        item = (tensors[names[0]] if len(names) == 1 else tensors, mask)
        return item if self.transforms is None else self.transforms(*item)


def _as_tensor(name: str, values: NDArray[Any]) -> Any:
    kind = {"rgb": tv_tensors.Image, "depth": Depth, "hha": HHA}[name]
    planes = values[..., None] if values.ndim == 2 else values
    return kind(torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1))))


# --- Which frames -------------------------------------------------------------------------------


def _read_split(root: Path, split: str) -> list[int]:
    """Frame numbers from 0. Lists win over splits.mat, which knows 795 and 654 only."""
    if (root / f"{split}.txt").is_file():
        return _read_list(root / f"{split}.txt")
    lists = [root / "train.txt", root / "val.txt"]
    if split == "trainval" and all(path.is_file() for path in lists):
        return [frame for path in lists for frame in _read_list(path)]
    if split == "val":
        require(lists[1], "the 414 frames of val.txt are listed in data/nyud of the FCN authors")
    path = require(root / _SPLITS, f"it, or {split}.txt, lists the frames of split {split!r}")
    name = "testNdxs" if split == "test" else "trainNdxs"
    try:
        numbers = np.asarray(read_mat(path)[name]).ravel()
        with np.errstate(invalid="ignore"):  # nan, which the comparison then finds
            frames = numbers.astype(np.int64)
        if not len(frames) or (frames != numbers).any() or frames.min() < 1:
            raise ValueError("expected whole numbers from 1")
    except KeyError:
        raise ValueError(f"{path}: no variable {name}; is it the splits.mat of NYUDv2?") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {name} is no list of frames ({error})") from error
    held_out = set(_read_list(lists[1])) if split == "train" and lists[1].is_file() else set()
    kept = [frame for frame in (frames - 1).tolist() if frame not in held_out]
    if not kept:
        raise ValueError(f"{path}: {lists[1]} takes all of {name}, nothing is left to train on")
    return kept


def _read_list(path: Path) -> list[int]:
    frames = []
    for number, line in numbered_lines(path):
        digits = line.removeprefix("img_").removesuffix(".png")
        if not (digits.isascii() and digits.isdigit() and _FIRST <= int(digits[:9]) <= 99_999):
            raise ValueError(
                f"{path}, line {number}: {line[:40]!r}, expected a number from {_FIRST}"
            )
        frames.append(int(digits) - _FIRST)
    if not frames:
        raise ValueError(f"{path} names no frames")
    return frames


# --- The two folders ----------------------------------------------------------------------------


_ARRAYS = {"labels": "ui", "depths": "f", "rawDepths": "f"}  # kinds of number; the last may lack


class _Labelled:
    """The official .mat. Its arrays are MATLAB's, last index first: image (3, W, H)."""

    def __init__(self, root: Path, camera: Camera | None) -> None:
        self.path = root / _LABELLED
        self.given = camera
        self.class_of = _read_mapping(root / _MAPPING)

    def check(self, frames: list[int]) -> None:
        with opened(self.path) as file:
            images = stored_array(file, "images", "u", 4)
            if images.dtype != np.uint8 or images.shape[1] != 3:
                raise ValueError(f"images is {images.dtype} of shape {images.shape}")
            for name, kinds in _ARRAYS.items():
                shape = stored_array(file, name, kinds, 3).shape if name in file else None
                if shape != (images.shape[0], *images.shape[2:]) and (shape or name != "rawDepths"):
                    raise ValueError(f"images has the shape {images.shape}, {name} has {shape}")
            if max(frames) >= len(images):
                raise ValueError(
                    f"{number_of(len(images), 'frame')}, "
                    f"and the split asks for frame {max(frames) + 1}"
                )

    def size(self, frame: int) -> tuple[int, int]:
        with opened(self.path) as file:
            width, height = stored_array(file, "labels", _ARRAYS["labels"], 3).shape[1:]
        return height, width

    def read(
        self, frame: int, names: tuple[str, ...], crop: tuple[int, int, int, int] | None
    ) -> tuple[Path, NDArray[np.uint8], dict[str, NDArray[Any]]]:
        parts: dict[str, NDArray[Any]] = {}
        with opened(self.path) as file:
            numbers = _cut(stored_array(file, "labels", _ARRAYS["labels"], 3)[frame].T, crop)
            if numbers.min() < 0 or numbers.max() >= len(self.class_of):
                raise ValueError(
                    f"frame {frame} has labels {numbers.min()} to {numbers.max()}, and "
                    f"{_MAPPING} knows 0 to {len(self.class_of) - 1}"
                )
            if "rgb" in names:
                parts["rgb"] = _cut(stored_array(file, "images", "u", 4)[frame].T, crop)
            if "depth" in names or "hha" in names:
                whole = _plausible(stored_array(file, "depths", "f", 3)[frame].T)
                depth = _cut(whole, crop)
                missing = depth == 0
            if "hha" in names and "rawDepths" in file:
                raw = stored_array(file, "rawDepths", "f", 3)[frame].T
                missing = _cut(_plausible(raw), crop) == 0
        if "depth" in names:
            parts["depth"] = depth
        if "hha" in names:
            camera = self.given or NYUDv2.camera.scaled(whole.shape[0] / 480, whole.shape[1] / 640)
            parts["hha"] = hha(depth, camera.cropped(*crop[:2]) if crop else camera, missing)
        return self.path, self.class_of[numbers], parts


class _Prepared:
    """The FCN authors' folder: one file a frame and kind."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def file(self, kind: str, frame: int) -> Path:
        folder = Path("segmentation") if kind == "labels" else Path("data") / kind
        return self.root / folder / f"img_{_FIRST + frame}{'.mat' if kind == 'labels' else '.png'}"

    def check(self, frames: list[int]) -> None:
        for frame in frames:
            require(self.file("labels", frame), "the split names it")
            require(self.file("images", frame), "the split names it")

    def size(self, frame: int) -> tuple[int, int]:
        with picture(self.file("images", frame)) as image:
            return image.height, image.width

    def read(
        self, frame: int, names: tuple[str, ...], crop: tuple[int, int, int, int] | None
    ) -> tuple[Path, NDArray[np.uint8], dict[str, NDArray[Any]]]:
        path = self.file("labels", frame)
        labels = np.asarray(read_mat(path).get("segmentation"))
        if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "uif":
            raise ValueError(f"{path}: no label image in the variable segmentation")
        if not np.isin(labels, np.arange(41)).all():
            raise ValueError(f"{path}: a label other than 0 to 40")
        parts: dict[str, NDArray[Any]] = {}
        if "rgb" in names:
            parts["rgb"] = read_image(self.file("images", frame))
        if "depth" in names:
            parts["depth"] = _read_millimetres(self.file("depth", frame)) / np.float32(1000)
        if "hha" in names:
            parts["hha"] = read_image(self.file("hha", frame))
        cut = {name: _cut(values, crop) for name, values in parts.items()}
        return path, _cut(labels.astype(np.uint8), crop), cut


def _plausible(depth: NDArray[Any]) -> NDArray[np.float32]:
    known: NDArray[np.float32] = np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype("f4")
    return known


def _checked(crop: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
    if crop is not None and (len(crop) != 4 or min(crop) < 0 or not crop[2] or not crop[3]):
        raise ValueError(f"crop={crop}: expected (top, left, height, width) in pixels")
    return crop


def _cut(values: NDArray[Any], crop: tuple[int, int, int, int] | None) -> NDArray[Any]:
    if crop is None:
        return values
    top, left, height, width = crop
    if top + height > values.shape[0] or left + width > values.shape[1]:
        raise ValueError(f"crop={crop} does not fit frames of {values.shape[:2]} pixels")
    return values[top : top + height, left : left + width]


def _read_mapping(path: Path) -> NDArray[np.uint8]:
    """classMapping40.mat → (895,) uint8: class 1–40 of each of 894 labels, 0 for 0."""
    require(path, "it maps the 894 labels of NYUDv2 to 40; see fcn_tutorial.datasets.NYUDv2")
    classes = np.asarray(read_mat(path).get("mapClass"))
    if classes.dtype.kind not in "uif" or not np.isin(classes, np.arange(41)).all():
        raise ValueError(f"{path}: no variable mapClass of classes 1 to 40")
    return np.concatenate([[0], classes.ravel()]).astype(np.uint8)


def _read_millimetres(path: Path) -> NDArray[np.float32]:
    """A 16-bit grey PNG → (H, W) float32. `read_image` refuses more than 8 bits."""
    with picture(path) as image:
        if not image.mode.startswith(("I", "L")):
            raise ValueError(f"mode {image.mode}, expected 16-bit grey")
        millimetres: NDArray[np.float32] = np.asarray(image).astype(np.float32)
        return np.maximum(millimetres, 0, out=millimetres)
