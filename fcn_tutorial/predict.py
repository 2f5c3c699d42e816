"""From image files to label files, at the size of the image: palette PNGs, overlays, probabilities.

For each image STEM.png holds the labels (a palette PNG whose values are the labels) and
STEM-overlay.png shows them over the image; a network of several tasks writes STEM-TASK.png and
STEM-TASK-overlay.png for each. STEM.npz, if asked for, holds the class probabilities: float16
(C, H, W) under "probabilities" and the names of the classes under "classes"; for several tasks
under TASK and "TASK_classes".
"""

from __future__ import annotations

import glob
import math
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.lib.format import write_array
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from fcn_tutorial import models, visualize
from fcn_tutorial.crf import DenseCRF
from fcn_tutorial.datasets.own.classes import VOID
from fcn_tutorial.datasets.own.folder import read_upright
from fcn_tutorial.files import replacing, reserve, sweep
from fcn_tutorial.models import Card, Network, inference
from fcn_tutorial.models.inference import Combine, Part
from fcn_tutorial.models.network import ONLY, restored, size_of
from fcn_tutorial.transforms import map_sample

#: What an image may be given as (see `as_image`).
Picture: TypeAlias = Tensor | NDArray[np.uint8] | Image.Image | Path | str

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
#: Rows of an overlay that are drawn at once.
_BAND = 512


class Task(NamedTuple):
    """What a network tells apart, as `Predictor.tasks` lists it.

    Attributes:
        classes: names.
        palette: a colour (r, g, b) for each.
        channels: where its scores are among those of the network.

    The second task of a network with one class before it::

        >>> import torch
        >>> task = Task(("sky", "ground"), ((0, 0, 255), (0, 128, 0)), slice(1, 3))
        >>> scores = torch.tensor([9.0, 0.5, 2.0])
        >>> task.classes[scores[task.channels].argmax()]
        'ground'
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    channels: slice


@dataclass(frozen=True)
class Predictor:
    """A trained network and what it says of itself; `predictor.label(image)` labels.

    Attributes:
        model: in evaluation mode.
        card: what its weights file says of it.
        scales: as `models.inference.scores` takes them, like the three below.
        flip: likewise.
        tile: likewise.
        combine: likewise.
        crf: refines the probabilities at the size that the network sees, if given.

    With the small network that travels with the package, on a generated scene::

        >>> from fcn_tutorial import assets, datasets
        >>> predictor = Predictor.load(assets.path("weights/scene-fcn8s.safetensors"))
        >>> image, truth = datasets.Scenes(n=1, split="test")[0]
        >>> labels = predictor.label(image)  # (128, 128), as the image
        >>> print(f"{(labels == truth)[truth != 255].float().mean():.1f} of the pixels are right")
        0.9 of the pixels are right
        >>> predictor.with_settings(flip=True).flip
        True
    """

    model: Network
    card: Card
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    tile: int | None = None
    combine: Combine = "mean"
    crf: DenseCRF | None = None

    @classmethod
    def load(cls, source: Path | str, device: torch.device | str = "cpu") -> Predictor:
        """From a run folder or a weights file.

        Raises:
            FileNotFoundError, ValueError: naming the file.
        """
        source = Path(source)
        path = source / "best.safetensors" if source.is_dir() else source
        model, card = models.load(path, device)
        return cls(model.to(memory_format=torch.channels_last), card)

    def with_settings(
        self,
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        tile: int | None = None,
        crf: DenseCRF | None = None,
        combine: Combine = "mean",
    ) -> Predictor:
        """The same network with other settings of inference."""
        return replace(self, scales=tuple(scales), flip=flip, tile=tile, combine=combine, crf=crf)

    @property
    def tasks(self) -> dict[str, Task]:
        """Classes by task; `models.network.ONLY` is the task of a network of one.

        Raises:
            ValueError: where the card does not have a name and a colour for every class.
        """
        if self.model.num_classes != len(self.card.classes):
            raise ValueError(
                f"the network scores {self.model.num_classes} classes, its card names "
                f"{len(self.card.classes)}"
            )
        found, first = {}, 0
        for task, count in self.model.tasks.items():
            here = slice(first, first + count)
            found[task] = Task(self.card.classes[here], self.card.palette[here], here)
            first += count
        return found

    def label(self, image: Picture) -> Tensor | dict[str, Tensor]:
        """Class indices int64 (H, W) of an image, at its own size; {task: indices} for several.

        Args:
            image: RGB uint8 (3, H, W), or a picture in another form (see `as_image`).

        Raises:
            ValueError: for a network that does not read RGB, and as `as_image`.
            FileNotFoundError: as `as_image`.
        """
        self.check()
        found = self.predict_tasks(as_image(image))
        return self.model.unnamed({task: labels.cpu() for task, labels in found.items()})

    def predict_tasks(self, inputs: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{task: class indices} of an image uint8 (3, H, W), or of the dict of its parts."""
        model, seen = self.model, map_sample(self.model.limited, inputs)
        like = next(model.parameters()).new_empty(size_of(seen), dtype=torch.int64)
        found = {task: torch.empty_like(like) for task in model.tasks}
        for part, values in self._seen(seen):
            for task, mine in model.split(values, 0).items():
                found[task][part.slices] = mine.argmax(0)
        return {task: restored(labels, size_of(inputs)) for task, labels in found.items()}

    def probabilities(self, image: Picture) -> Iterator[tuple[Part, Tensor]]:
        """Class probabilities of an image, part by part: (part, (ΣC, h, w)).

        An image that was shrunk has at each pixel those of the pixel it was shrunk to. Arguments
        and errors as those of `label`.
        """
        self.check()
        given = as_image(image)
        if self.crf is None:
            settings = self.scales, self.flip, self.tile, self.combine
            yield from inference.probabilities(self.model, given, *settings)
        else:
            ((_, refined),) = self._seen(self.model.limited(given))
            yield from inference.spread(refined, size_of(given))

    def _seen(self, image: Tensor | Mapping[str, Tensor]) -> Iterator[tuple[Part, Tensor]]:
        """Probabilities of an image that the network sees as it is; with a CRF, in one part."""
        settings = self.scales, self.flip, self.tile, self.combine
        parts = inference.probabilities(self.model, image, *settings)
        if self.crf is None:
            yield from parts
            return
        height, width = size_of(image)
        if height * width > inference.LARGE:
            raise ValueError(
                f"an image of {height}×{width} pixels: the CRF takes {inference.LARGE} at most; "
                "shrink it, or leave the CRF out"
            )
        whole = torch.empty(self.model.num_classes, height, width)
        for part, values in parts:
            whole[part.slices] = values.cpu()
        colours = (image if isinstance(image, Tensor) else image["rgb"]).cpu().numpy()
        for mine in self.model.split(whole, 0).values():
            mine.copy_(torch.from_numpy(self.crf(mine.numpy(), colours)))
        yield Part(0, height, 0, width), whole

    def check(self) -> None:
        """Check that the network labels RGB images.

        Raises:
            ValueError: for one that does not, saying what it reads.
        """
        read = self.model.inputs
        if read != ("rgb",) or self.model.in_channels != 3:
            raise ValueError(
                f"this network reads {' and '.join(read)} ({self.model.in_channels} channels), and "
                "an image file has colour only: score it on its data set with "
                "`fcn-tutorial evaluate`, or give `model.predict` the dict of its parts"
            )


def read_image(path: Path | str) -> Tensor:
    """A picture file as RGB, turned upright as its EXIF says.

    Args:
        path: of a file that Pillow reads.

    Returns:
        uint8 (3, H, W).

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: naming a file that cannot be read.

    ::

        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (6, 4), "red").save(f"{folder}/red.png")  # 6 wide, 4 high
        ...     image = read_image(f"{folder}/red.png")
        >>> image.shape, image[:, 0, 0].tolist()
        (torch.Size([3, 4, 6]), [255, 0, 0])
    """
    return torch.from_numpy(read_upright(Path(path))).permute(2, 0, 1)


def as_image(picture: Picture) -> Tensor:
    """A picture in any of the forms that pictures come in, as RGB.

    Args:
        picture: a tensor uint8 (3, H, W), a NumPy array uint8 (H, W, 3), either of them grey (H, W)
            too, a PIL image of any mode, turned upright as its EXIF says, or the path of a file.

    Returns:
        uint8 (3, H, W).

    Raises:
        ValueError: for anything else, saying what it got and what it wants, and as `read_image`.
        FileNotFoundError: as `read_image`.

    ::

        >>> import numpy as np
        >>> as_image(np.zeros((4, 6, 3), np.uint8)).shape
        torch.Size([3, 4, 6])
        >>> as_image(np.array([[7]], np.uint8)).tolist()  # grey
        [[[7]], [[7]], [[7]]]
    """
    if isinstance(picture, str | Path):
        return read_image(picture)
    if isinstance(picture, Image.Image):
        if picture.mode[0] in "IF":
            raise ValueError(f"an image of PIL mode {picture.mode}: give one of 8 bits a channel")
        upright = ImageOps.exif_transpose(picture).convert("RGB")
        return torch.from_numpy(np.array(upright)).permute(2, 0, 1)
    if isinstance(picture, np.ndarray):
        tensor, wanted = torch.from_numpy(np.array(picture)), "an array (H, W, 3)"
        tensor = tensor.permute(2, 0, 1) if picture.ndim == 3 else tensor
    elif isinstance(picture, Tensor):
        tensor, wanted = picture, "a tensor (3, H, W)"
    else:
        raise ValueError(
            f"an image of type {type(picture).__name__}: give a tensor, a NumPy array, a PIL image "
            "or the path of a file"
        )
    if tensor.ndim == 2:
        tensor = tensor.expand(3, -1, -1)
    if tensor.ndim != 3 or tensor.shape[0] != 3 or tensor.dtype != torch.uint8:
        given = f"{tuple(picture.shape)} of {picture.dtype}"
        raise ValueError(f"one image of shape {given}: expected {wanted} of uint8, one at a time")
    return tensor


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """The picture files that paths mean, each once.

    Args:
        paths: files, taken as given; folders, for the pictures directly inside, without those whose
            names begin with a dot; and patterns, which are paths that are not there and hold *, ?
            or [, where ** goes through folders of any depth.

    Returns:
        Files in the order of `paths`, those of a folder or a pattern by name.

    Raises:
        FileNotFoundError: for a path that is not there.
        ValueError: for a folder or a pattern without pictures.

    ::

        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.JPG", "notes.txt"):
        ...         Path(folder, name).touch()
        ...     found = find_images([folder, f"{folder}/*.png"])
        >>> [path.name for path in found]
        ['a.JPG', 'b.png']
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = _pictures(path.iterdir())
        elif path.exists():
            inside = [path]
        elif glob.has_magic(str(path)):
            inside = _pictures(map(Path, glob.glob(str(path), recursive=True)))
        else:
            raise FileNotFoundError(f"{path} not found")
        if not inside:
            raise ValueError(f"{path} holds no pictures ({', '.join(SUFFIXES)})")
        found += inside
    once: dict[str, Path] = {}
    for path in found:
        once.setdefault(os.path.realpath(path), path)
    return list(once.values())


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(
        p
        for p in paths
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


class Outcome(NamedTuple):
    """What became of one image; `write_predictions` yields them.

    Attributes:
        image: its file.
        files: those that were written.
        error: why it could not be read; None where it could.

    ::

        >>> from pathlib import Path
        >>> outcomes = [
        ...     Outcome(Path("a.png"), (Path("out/a.png"), Path("out/a-overlay.png"))),
        ...     Outcome(Path("b.png"), (), ValueError("b.png is cut off")),
        ... ]
        >>> [outcome.image.name for outcome in outcomes if outcome.error]
        ['b.png']
    """

    image: Path
    files: tuple[Path, ...]
    error: ValueError | OSError | None = None


def write_predictions(
    predictor: Predictor,
    images: Iterable[Path | str],
    out: Path | str,
    probabilities: bool = False,
) -> Iterator[Outcome]:
    """Label image files one by one; see the module for what is written.

    An image that cannot be read is an `Outcome` with its error, and the others go on. Every file
    appears whole or not at all.

    Args:
        predictor: reads RGB.
        images: files, such as `find_images` gives.
        out: the folder that is written into; made where there is none.
        probabilities: whether STEM.npz is written too.

    Yields:
        An `Outcome` for each image, in their order.

    Raises:
        ValueError: before anything is written, where two images would write the same file or one
            would be written over, for a network that does not read RGB and for one of more classes
            than a label picture has numbers.
        OSError: naming a file that cannot be written, which ends the run.

    ::

        >>> import tempfile
        >>> from PIL import Image
        >>> from fcn_tutorial import assets
        >>> predictor = Predictor.load(assets.path("weights/scene-fcn8s.safetensors"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (64, 32)).save(f"{folder}/a.png")
        ...     for outcome in write_predictions(predictor, [f"{folder}/a.png"], f"{folder}/out"):
        ...         print(*(file.name for file in outcome.files))
        a.png a-overlay.png
    """
    paths, out = [Path(image) for image in images], Path(out)
    predictor.check()
    for task, spec in predictor.tasks.items():
        if len(spec.classes) > VOID:
            raise ValueError(
                f"{task} has {len(spec.classes)} classes, and a label picture has numbers for "
                f"{VOID} of them (the last number is void): take Predictor.label in Python instead"
            )
    written = [_Files.of(path, out, predictor.tasks, probabilities) for path in paths]
    _check_names(paths, [file for files in written for file in files.all])
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    for path, files in zip(paths, written, strict=True):
        try:
            image = read_image(path)
        except (ValueError, OSError) as error:
            yield Outcome(path, (), error)
            continue
        _write(predictor, image, files)
        yield Outcome(path, files.all)


@dataclass(frozen=True)
class _Files:
    """What is written of one image: labels and overlay by task, and the probabilities."""

    pictures: Mapping[str, tuple[Path, Path]]
    archive: Path | None

    @classmethod
    def of(cls, image: Path, out: Path, tasks: Iterable[str], probabilities: bool) -> _Files:
        stems = {t: image.stem if t == ONLY else f"{image.stem}-{t}" for t in tasks}
        pictures = {t: (out / f"{s}.png", out / f"{s}-overlay.png") for t, s in stems.items()}
        return cls(pictures, out / f"{image.stem}.npz" if probabilities else None)

    @property
    def all(self) -> tuple[Path, ...]:
        pictures = [file for pair in self.pictures.values() for file in pair]
        return (*pictures, *([self.archive] if self.archive else []))


def _check_names(images: Sequence[Path], files: Sequence[Path]) -> None:
    for stem, count in Counter(path.stem for path in images).items():
        if count > 1:
            raise ValueError(f"two images are called {stem!r}; predict their folders one by one")
    for file, count in Counter(files).items():
        if count > 1:
            raise ValueError(f"two images would write {file}; predict them one by one")
    inputs = {os.path.realpath(image) for image in images}
    for file in files:
        if os.path.realpath(file) in inputs:
            raise ValueError(f"--out: {file} is one of the images to label; name another folder")


def _write(predictor: Predictor, image: Tensor, files: _Files) -> None:
    tasks = predictor.tasks
    size = image.shape[-2], image.shape[-1]
    labels = {task: np.empty(size, np.uint8) for task in tasks}
    nothing: AbstractContextManager[dict[str, NDArray[np.float16]]] = nullcontext({})
    archive = _archive(files.archive, tasks, size) if files.archive else nothing
    with archive as arrays:
        for part, values in predictor.probabilities(image):
            for task, spec in tasks.items():
                mine = values[spec.channels].cpu()
                labels[task][part.slices] = mine.argmax(0).numpy()
                if task in arrays:
                    arrays[task][part.slices] = mine.numpy()
    for task, (picture, laid_over) in files.pictures.items():
        palette = tasks[task].palette
        with replacing(picture) as path:
            visualize.save_mask(labels[task], palette, path)
        with replacing(laid_over) as path:
            Image.fromarray(_overlay(image, labels[task], palette)).save(path)


@contextmanager
def _archive(
    path: Path, tasks: Mapping[str, Task], size: tuple[int, int]
) -> Iterator[dict[str, NDArray[np.float16]]]:
    """Arrays (C, H, W) by task that become the .npz at `path`; until then they lie on disk.

    They lie there without a name, in space that is theirs before the first byte is written: a full
    disk is an OSError, and nothing is left of a process that is killed.
    """
    with ExitStack() as held:
        partial = held.enter_context(replacing(path))
        arrays: dict[str, NDArray[np.float16]] = {}
        members: dict[str, NDArray[Any]] = {}
        for task, spec in tasks.items():
            file = held.enter_context(TemporaryFile(dir=path.parent, prefix=".fcn-"))
            shape = (len(spec.classes), *size)
            reserve(file.fileno(), 2 * math.prod(shape))
            arrays[task] = np.memmap(file, np.float16, "r+", shape=shape)
            prefix = "" if task == ONLY else f"{task}_"
            members["probabilities" if task == ONLY else task] = arrays[task]
            members[f"{prefix}classes"] = np.array(spec.classes)
        if len(members) < 2 * len(tasks):
            raise ValueError(f"{path}: tasks {', '.join(tasks)} would overwrite each other in it")
        yield arrays
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            for name, array in members.items():
                with packed.open(f"{name}.npy", "w", force_zip64=True) as member:
                    write_array(member, array)


def _overlay(
    image: Tensor, labels: NDArray[np.uint8], palette: Sequence[Sequence[int]]
) -> NDArray[np.uint8]:
    """`visualize.overlay` in bands of rows: its intermediate values are floats."""
    drawn = np.empty((*labels.shape, 3), np.uint8)
    for top in range(0, len(labels), _BAND):
        band = slice(top, top + _BAND)
        drawn[band] = visualize.overlay(image[:, band], labels[band], palette)
    return drawn
