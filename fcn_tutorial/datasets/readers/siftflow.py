"""SIFT Flow: 2,688 outdoor photos of 256×256 with 33 semantic and 3 geometric classes.

The layout of SiftFlowDataset.zip (www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow)::

    Images/spatial_envelope_256x256_static_8outdoorcategories/*.jpg
    SemanticLabels/spatial_envelope_256x256_static_8outdoorcategories/*.mat   S: 0 void, 1–33
    GeoLabels/spatial_envelope_256x256_static_8outdoorcategories/*.mat        S: −1 void, 1–3
    TestSet1.txt                                                              200 images

Lists `trainval.txt` and `test.txt`, as in data/sift-flow of the FCN authors' repository
shelhamer/fcn.berkeleyvision.org, come before TestSet1.txt where they are in the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fcn_tutorial.datasets.formats.images import Transforms, read_image, sample
from fcn_tutorial.datasets.formats.mat import read_mat
from fcn_tutorial.datasets.readers.reader import Reader
from fcn_tutorial.datasets.spec import GEOMETRIC, of_task
from fcn_tutorial.files import inside, numbered_lines, one_of, require

__all__ = ["SIFTFlow"]

_SUBFOLDER = "spatial_envelope_256x256_static_8outdoorcategories"
_FOLDERS = {"semantic": "SemanticLabels", "geometric": "GeoLabels"}
_OFFICIAL_TEST = "TestSet1.txt"


class SIFTFlow(Reader):
    """SIFT Flow (Liu et al. 2011), with the geometric labels of Tighe and Lazebnik 2010.

    Items are (Image uint8 (3, 256, 256), Mask uint8 (256, 256)), void 255, before `transforms`; the
    mask of `task="both"` is a dict of two, {"semantic": …, "geometric": …}, and so are `classes`
    and `palette` of such a data set.

    Without `trainval.txt`, trainval is every photo that is not in the test list and has a semantic
    label anywhere; of 2,488, the two in `unannotated` have none. This reads all label files once,
    which takes seconds. The classes in `absent_in_test` have no pixel in the 200 test images: their
    IU is undefined, so leave them out of the mean or say how they count.

    Args:
        root: the folder holding Images/, SemanticLabels/ and GeoLabels/.
        split: "trainval", 2,486 images, or "test", 200.
        task: "semantic" (33 classes), "geometric" (sky, horizontal, vertical) or "both".
        transforms: joint transform of (image, mask).

    Raises:
        ValueError: for an unknown split or task, and naming a file that is damaged.
        FileNotFoundError: naming the file that is missing.

    On generated pictures in its layout::

        >>> import tempfile
        >>> from fcn_tutorial.datasets import writers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = writers.write_siftflow(folder, n=1, size=(48, 64))
        ...     image, masks = SIFTFlow(root, "test", task="both")[0]
        >>> image.shape, {task: tuple(mask.shape) for task, mask in masks.items()}
        (torch.Size([3, 48, 64]), {'semantic': (48, 64), 'geometric': (48, 64)})
    """

    classes: ClassVar[Any] = (
        "awning", "balcony", "bird", "boat", "bridge", "building", "bus", "car", "cow",
        "crosswalk", "desert", "door", "fence", "field", "grass", "moon", "mountain", "person",
        "plant", "pole", "river", "road", "rock", "sand", "sea", "sidewalk", "sign", "sky",
        "staircase", "streetlight", "sun", "tree", "window",
    )  # fmt: skip
    palette: ClassVar[Any] = (
        (240, 120, 160), (190, 140, 110), (255, 255, 255), (0, 90, 130), (120, 100, 140),
        (150, 80, 40), (230, 110, 0), (200, 20, 60), (90, 50, 50), (255, 250, 150), (240, 200, 120),
        (110, 50, 20), (250, 200, 180), (180, 200, 60), (120, 200, 60), (220, 220, 240),
        (100, 110, 100), (255, 80, 0), (60, 150, 80), (60, 60, 60), (70, 130, 220), (90, 90, 100),
        (130, 120, 110), (230, 220, 160), (30, 60, 200), (225, 170, 225), (255, 230, 0),
        (135, 206, 235), (170, 170, 180), (0, 0, 0), (255, 190, 60), (0, 100, 40), (60, 200, 200),
    )  # fmt: skip
    geometric_classes: ClassVar[tuple[str, ...]] = tuple(GEOMETRIC)
    geometric_palette: ClassVar[tuple[tuple[int, int, int], ...]] = tuple(GEOMETRIC.values())
    splits: ClassVar[tuple[str, ...]] = ("trainval", "test")
    counts: ClassVar[dict[str, int]] = {"trainval": 2486, "test": 200}
    tasks: ClassVar[tuple[str, ...]] = ("semantic", "geometric", "both")
    unannotated: ClassVar[tuple[str, ...]] = ("highway_bost181", "street_urb506")
    absent_in_test: ClassVar[tuple[str, ...]] = ("cow", "desert", "moon")
    folder: ClassVar[str] = "SiftFlowDataset"  # inside the folder that FCN_DATA names
    citation: ClassVar[str] = (
        "C. Liu, J. Yuen, A. Torralba. Nonparametric Scene Parsing via Label Transfer. PAMI 2011. "
        "Geometric labels and split: J. Tighe, S. Lazebnik. SuperParsing: Scalable Nonparametric "
        "Image Parsing with Superpixels. ECCV 2010."
    )
    licence: ClassVar[str] = "none stated; photos from LabelMe"
    source: ClassVar[str] = (
        "http://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip"
    )

    def __init__(
        self,
        root: str | Path,
        split: str = "trainval",
        task: str = "semantic",
        transforms: Transforms = None,
    ) -> None:
        super().__init__(root, split, transforms)
        self.task = one_of("task", task, self.tasks)
        # These shadow the class attributes: code that asks finds the labels the data set serves.
        self.classes = of_task(task, self.classes, self.geometric_classes)  # type: ignore[misc]
        self.palette = of_task(task, self.palette, self.geometric_palette)  # type: ignore[misc]
        self.names = _read_split(self.root, split)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        name = self.names[index]
        path = _image(self.root, name)
        pixels = read_image(path)
        tasks = list(_FOLDERS) if self.task == "both" else [self.task]
        files = [_label_file(self.root, task, name) for task in tasks]
        items = [
            sample(pixels, _read_labels(file, task), None, (path, file))
            for task, file in zip(tasks, files, strict=True)
        ]
        image = items[0][0]
        masks = {task: mask for task, (_, mask) in zip(tasks, items, strict=True)}
        mask = masks if self.task == "both" else masks[self.task]
        return (image, mask) if self.transforms is None else self.transforms(image, mask)


def _image(root: Path, name: str) -> Path:
    return root / "Images" / _SUBFOLDER / f"{name}.jpg"


def _label_file(root: Path, task: str, name: str) -> Path:
    return root / _FOLDERS[task] / _SUBFOLDER / f"{name}.mat"


def _read_labels(path: Path, task: str) -> NDArray[np.uint8]:
    """(H, W) uint8 from 0, void 255. Void is 0 in the semantic files, −1 in the geometric ones."""
    labels = np.asarray(read_mat(path).get("S"))
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "uif":
        raise ValueError(f"{path}: no label image in the variable S")
    last = len(SIFTFlow.classes if task == "semantic" else SIFTFlow.geometric_classes)
    lowest = 0 if task == "semantic" else -1
    if not np.isin(labels, np.arange(lowest, last + 1)).all():
        raise ValueError(
            f"{path}: labels {labels.min()} to {labels.max()}, expected whole numbers {lowest} "
            f"to {last}"
        )
    # In the type they are stored in: a file of few bytes may hold millions of them.
    shifted: NDArray[np.uint8] = np.where(labels > 0, labels - 1, 255).astype(np.uint8)
    return shifted


def _read_split(root: Path, split: str) -> list[str]:
    """Names of images, without folder and ending."""
    path = root / f"{split}.txt"
    if path.is_file():
        return _read_list(root, path)
    official = root / _OFFICIAL_TEST
    test = root / "test.txt"
    held_out = _read_list(root, test if test.is_file() and not official.is_file() else official)
    if split == "test":
        return held_out
    photos = sorted(file.stem for file in (root / "Images" / _SUBFOLDER).glob("*.jpg"))
    names = [name for name in photos if name not in set(held_out) and _annotated(root, name)]
    if not names:
        raise FileNotFoundError(
            f"{root / 'Images' / _SUBFOLDER} holds no annotated photo that is not in the test list"
        )
    return names


def _annotated(root: Path, name: str) -> bool:
    if name in SIFTFlow.unannotated:
        return False
    return bool((_read_labels(_label_file(root, "semantic", name), "semantic") != 255).any())


def _read_list(root: Path, path: Path) -> list[str]:
    """One name a line, as in `coast_art1` or `spatial_envelope_…\\coast_art1.jpg`."""
    require(path, f"{root} must be the SiftFlowDataset folder; see fcn_tutorial.datasets.SIFTFlow")
    names = []
    for number, line in numbered_lines(path):
        at = f"{path}, line {number}"
        names.append(inside(root, line, at).name.removesuffix(".jpg"))
        require(_image(root, names[-1]), f"{at} names it")
    if not names:
        raise ValueError(f"{path} names no images")
    return names
